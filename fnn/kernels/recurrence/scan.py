"""The generic recurrence: any cell over time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec, reshard

from fnn import checks
from fnn.kernels import placement
from fnn.kernels.mesh_axes import alike, explicit_mesh, split_of
from fnn.kernels.recurrence.chunks import iteration_size, scan_in_chunks
from fnn.kernels.recurrence.sequences import Layout, check_loop, valid_steps
from fnn.typing import ArrayLike, PyTree

__all__ = ["scan_cell"]


def scan_cell(
    step: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    carry: PyTree,
    x: PyTree,
    *,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reverse: bool = False,
    time_major: bool = False,
    unroll: int | None = None,
    remat: int | None = None,
) -> tuple[PyTree, PyTree]:
    """Run any cell over time: `carry, y_t = step(carry, x_t)` for t = 1 … time.

    Args:
        step: (carry, x_t) -> (carry, y_t), on arrays with the batch first.
        carry: the state before the first step; any pytree of arrays with the batch first.
        x: pytree of arrays (batch, time, …).
        lengths, mask, reverse, time_major, unroll, remat: as for `fnn.kernels.lstm`, the carry for its state.

    Returns:
        The outputs, a pytree of (batch, time, …), and the final carry.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> def add(total, x):
        ...     return total + x, total + x
        >>> outputs, total = fnn.kernels.scan_cell(add, jnp.zeros(2), jnp.ones((2, 4)), lengths=jnp.array([4, 2]))
        >>> outputs.tolist(), total.tolist()
        ([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 0.0, 0.0]], [4.0, 2.0])
    """
    layout = _layout(x, time_major)
    unroll, remat = check_loop("scan_cell", layout.time, unroll, remat)
    at_once = layout.time if remat is None else min(layout.time, remat)
    steps = iteration_size(unroll, at_once, placement.platform() == "cpu")
    valid = valid_steps("scan_cell", layout, lengths, mask)
    if not time_major:
        x, valid = jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), (x, valid))

    def valid_step(carry: PyTree, inputs: tuple[PyTree, Any]) -> tuple[PyTree, PyTree]:
        x, valid = inputs
        if valid is None:
            return step(carry, x)
        # A step over padding is computed and thrown away: with zeros in, it cannot spoil the gradient either.
        new, y = step(carry, _where(valid, x, jax.tree.map(jnp.zeros_like, x)))
        return _where(valid, new, carry), _where(valid, y, jax.tree.map(jnp.zeros_like, y))

    carry = _as_after_a_step(valid_step, carry, (x, valid))
    run: Callable[..., tuple[PyTree, PyTree]] = functools.partial(lax.scan, valid_step, reverse=reverse, unroll=steps)
    if remat is not None:
        segment = jax.checkpoint(run, prevent_cse=False)
        run = functools.partial(scan_in_chunks, segment, time=layout.time, size=remat, reverse=reverse)
    carry, outputs = run(carry, (x, valid))
    return (outputs if time_major else jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), outputs)), carry


def _as_after_a_step(step: Callable[..., tuple[PyTree, PyTree]], carry: PyTree, inputs: PyTree) -> PyTree:
    """The carry, over the mesh as the step returns it: zeros that are whole on every device, as the inputs are."""
    carry = alike((carry, inputs))[0]
    mesh = explicit_mesh((carry, inputs))
    if mesh is None:
        return carry
    splits = []

    def first(carry: PyTree, inputs: PyTree) -> PyTree:
        new, _ = step(carry, jax.tree.map(lambda a: a[0], inputs))
        splits.append(jax.tree.map(lambda a: NamedSharding(mesh, PartitionSpec(*split_of(a))), new))
        return new

    jax.eval_shape(first, carry, inputs)
    return reshard(carry, splits[0])


def _layout(x: PyTree, time_major: bool) -> Layout:
    axes = "(time, batch, ...)" if time_major else "(batch, time, ...)"
    shapes = {jnp.shape(leaf)[:2] for leaf in jax.tree.leaves(x)}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise checks.wrong_shape("scan_cell", "x", axes, jax.tree.leaves(x))
    first, second = shapes.pop()
    batch, time = (second, first) if time_major else (first, second)
    return Layout(batch, time, time_major)


def _where(valid: Any, new: PyTree, old: PyTree) -> PyTree:
    return jax.tree.map(lambda n, o: jnp.where(valid.reshape(-1, *[1] * (n.ndim - 1)), n, o), new, old)
