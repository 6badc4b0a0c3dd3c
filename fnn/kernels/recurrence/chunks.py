"""A sequence in chunks of steps, each projected by one product."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fnn.kernels import placement
from fnn.kernels.sizes import is_static
from fnn.typing import Array, PyTree


def chunk_size(time: int, batch: int) -> int:
    """How many steps a CPU projects by one product: as many as stay in cache. Elsewhere, or of symbols, it is all."""
    if not is_static(time, batch):
        return time
    most = min(time, max(1, -(-640 // max(batch, 1))))
    even = [size for size in range(most, (most + 1) // 2 - 1, -1) if time % size == 0]
    return even[0] if even else most


def iteration_size(unroll: int | None, time: int, cpu: bool) -> int:
    """Steps per iteration of the loop over time.

    A GPU is given the few kernels of one step one by one, those of several steps together, as one graph. A CPU gains
    nothing. The gradient of an LSTM on an H100, TensorFloat-32, jax 0.11.2, batch × steps, features → hidden, ms, all
    in one run:

                                  1 step     8 steps    16 steps   32 steps
        64 × 100, 64 → 256         2.14       1.44       1.32       1.32
        128 × 25, 1024 → 1024      1.72       1.79       1.49       1.49
        16 × 150, 256 → 256        2.79       1.60       1.48       1.57

    The first compiles in 1.1, 2.9 and 3.6 s with 1, 8 and 16. In another run loops as graphs of their own
    (`xla_gpu_enable_command_buffer` with WHILE) took 2.74 for 1.99 ms (the first shape, bfloat16), and cuDNN's LSTM, by
    `jax.experimental.rnn`, 3.57, 2.17 and 5.53 ms. What is left of a loop of one iteration is a program of all steps,
    which compiled longest and was uneven in time; so there are three at least.
    """
    if unroll is not None or cpu:
        return unroll or 1
    return min(16, max(1, time // 3)) if is_static(time) else 1


def in_chunks(tree: PyTree, start: int, count: int, size: int) -> PyTree:
    """Steps start … start + count·size of time-major arrays, as (count, size, …)."""
    return jax.tree.map(lambda a: a[start : start + count * size].reshape(count, size, *a.shape[1:]), tree)


def chunk_parts(time: int, size: int, reverse: bool) -> list[tuple[int, int, int]]:
    """(start, number of chunks, steps per chunk): equal chunks, then what is left over, in order of running."""
    count, rest = divmod(time, size)
    parts = [(0, count, size)] + ([(count * size, 1, rest)] if rest else [])
    return parts[::-1] if reverse else parts


def join_parts(parts: list[Array], reverse: bool) -> Array:
    """The results of all parts as one time-major array."""
    flat = [
        part.reshape(part.shape[0] * part.shape[1], *part.shape[2:]) for part in (parts[::-1] if reverse else parts)
    ]
    return flat[0] if len(flat) == 1 else jnp.concatenate(flat)


def scan_in_chunks(
    run: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    carry: PyTree,
    inputs: PyTree,
    time: int,
    size: int,
    reverse: bool,
) -> tuple[PyTree, PyTree]:
    """`carry, outputs = run(carry, chunk)` over time-major inputs, `size` steps at a time."""
    parts = []
    for part in chunk_parts(time, min(size, max(time, 1)), reverse):
        carry, ys = jax.lax.scan(run, carry, in_chunks(inputs, *part), reverse=reverse)
        parts.append(ys)
    return carry, jax.tree.map(lambda *outputs: join_parts(list(outputs), reverse), *parts)


def merge_rows(tree: PyTree) -> PyTree:
    """Steps and batch merged into one axis: XLA then transposes the smaller factor of a weight gradient.

    Over several devices they stay apart, because a batch that is split would be gathered on every device for it.
    """
    if placement.devices() > 1:
        return tree
    return jax.tree.map(lambda a: a.reshape(a.shape[0] * a.shape[1], a.shape[2]), tree)
