"""The forms of a convolution in one group on a CPU, each brought to where XLA is fast; `forms` says which is taken."""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax

from fnn.kernels import placement
from fnn.kernels.convolution import plain
from fnn.kernels.sizes import is_static, less
from fnn.kernels.sliding_windows import Windows, along, pad, positions, taps
from fnn.typing import Array


def patches(x: Array, windows: Windows) -> Array:
    """(N, *windows, positions · C): every window laid out as a row."""
    return jnp.concatenate(list(taps(pad(x, windows.padding), windows)), axis=-1)


def widen_axis(a: Array, axis: int, length: int) -> Array:
    if length == a.shape[axis]:
        return a
    widths = [(0, 0)] * a.ndim
    widths[axis] = (0, length - a.shape[axis])
    return jnp.pad(a, widths)


def with_axis(windows: Windows) -> Windows:
    """The same windows with one more axis of length 1 before the others."""
    return Windows((1, *windows.size), (1, *windows.strides), ((0, 0), *windows.padding), (1, *windows.dilation))


def batch_parts(batch: int, products: int) -> int:
    """Into how many convolutions to cut the batch so that they keep all cores busy.

    With several CPU devices the batch is spread over those already, and cutting it would gather it again. A part
    below some ten million products costs more to start than it saves.
    """
    if not is_static(batch, products):
        return 1
    cores = placement.cores() if placement.devices("cpu") == 1 else 1
    wanted = 2 * cores if cores > 1 else 1
    return next(p for p in range(int(max(min(wanted, products / 1e7, 16), 1)), 0, -1) if batch % p == 0)


def in_parts(x: Array, w: Array, windows: Windows) -> Array:
    counts = windows.counts(x.shape[1:-1])
    if any(less(lo, 0) or less(hi, 0) for lo, hi in windows.padding) or any(
        less(n, out) for out, n in zip(counts, x.shape[1:-1], strict=True)
    ):
        # The fast path cuts nothing off and gives no more than it gets; the barrier keeps the padding out of it.
        x, windows = lax.optimization_barrier(pad(x, windows.padding)), windows.unpadded
    if placement.threads_convolutions():
        return plain.convolve(x, w, windows)
    each = math.prod(w.shape[:-1])
    products = x.shape[0] * math.prod(counts) * each * w.shape[-1]
    # Below two hundred products per output, joining the parts costs more than computing them.
    parts = batch_parts(x.shape[0], products) if each >= 200 else 1
    return jnp.concatenate([plain.convolve(part, w, windows) for part in jnp.split(x, parts)])


ROW_BYTES = 2 * 2**20
"""Rows of patches laid out at a time: they must stay in the cache between being written and being multiplied."""


def over_rows(x: Array, g: Array, windows: Windows) -> Array:
    """The kernel gradient as gᵀ times patches of a few examples at a time, one product per row of the kernel.

    What the windows see in one row is laid out once for all of them: a third of the patches of 3×3.
    """
    (batch, _, places, features), size = g.shape, windows.size[1] * x.shape[-1]
    bytes_of_one = (x.shape[1] + sum(windows.padding[0])) * places * size * x.dtype.itemsize
    # At least as much as the sum itself takes, which every part reads and writes.
    fit = max(max(ROW_BYTES, windows.size[0] * features * size * x.dtype.itemsize) // max(bytes_of_one, 1), 1)
    few = -(-batch // -(-batch // fit))  # parts as equal as can be
    whole = batch - batch % few

    def add(totals: list[Array], part: tuple[Array, Array]) -> tuple[list[Array], None]:
        # The smaller factor is transposed, behind a barrier: the product is then one of two row-major arrays.
        g_t = lax.optimization_barrier(part[1].reshape(-1, features).T)
        rows = lax.optimization_barrier(patches(pad(part[0], windows.padding), along(windows, 1)))
        seen = [row.reshape(-1, size) for row in taps(rows, along(windows, 0))]
        return [total + g_t @ row for total, row in zip(totals, seen, strict=True)], None

    parts = jax.tree.map(lambda a: a[:whole].reshape(-1, few, *a.shape[1:]), (x, g))
    totals, _ = lax.scan(add, [jnp.zeros((features, size), x.dtype)] * windows.size[0], parts)
    if whole < batch:
        totals, _ = add(totals, (x[whole:], g[whole:]))
    return jnp.stack([total.T for total in totals]).reshape(*windows.size, x.shape[-1], features)


def over_batch(x: Array, g: Array, windows: Windows) -> Array:
    """The kernel gradient as a convolution that sums over the batch: channels are its batch, g is its kernel.

    w[t, c, f] = Σ_{o, n} x[n, o s + t d - p, c] g[n, o, f]: x as (C, *spatial, N) and g as (*windows, N, F) give
    (C, *positions, F), with stride and dilation exchanged.
    """
    outputs = g.shape[1:-1]
    axes = zip(x.shape[1:-1], windows.size, windows.strides, windows.padding, windows.dilation, outputs, strict=True)
    reach = tuple((lo, (k - 1) * d + (o - 1) * s + 1 - n - lo) for n, k, s, (lo, _), d, o in axes)
    if any(less(part, 0) for part in itertools.chain.from_iterable(reach)):
        x, reach = lax.optimization_barrier(pad(x, reach)), ((0, 0),) * len(reach)
    exchanged = Windows(outputs, windows.dilation, reach, windows.strides)
    products = g.size * x.shape[-1] * positions(windows)
    parts = batch_parts(x.shape[0], products)
    over = tuple(range(1, x.ndim - 1))
    sums = []
    for x_part, g_part in zip(jnp.split(x, parts), jnp.split(g, parts), strict=True):
        # The barrier keeps XLA from folding the transposes into a layout that no fast path takes.
        x_part, g_part = lax.optimization_barrier(
            (jnp.transpose(x_part, (x.ndim - 1, *over, 0)), jnp.transpose(g_part, (*over, 0, x.ndim - 1)))
        )
        sums.append(plain.convolve(x_part, g_part, exchanged))
    return jnp.moveaxis(functools.reduce(jnp.add, sums), 0, -2)
