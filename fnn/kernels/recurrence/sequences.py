"""Padded sequences: which steps count, and what fits together before a recurrence starts."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.kernels.sizes import is_static
from fnn.typing import Array, ArrayLike, DType

__all__ = ["reverse_sequences"]


class Layout(NamedTuple):
    """The sizes of one call."""

    batch: int
    time: int
    time_major: bool = False


def _axes(time_major: bool) -> str:
    return "(time, batch, features)" if time_major else "(batch, time, features)"


def check_sequence(where: str, x: Any, time_major: bool = False) -> Layout:
    """The sizes of floating-point `x`."""
    axes = _axes(time_major)
    checks.floating(where, "x", x)
    repair = (
        "write return_sequences=True in the recurrent layer before it, x[..., None] for one feature per step, "
        "x[None] for a single sequence"
    )
    checks.rank(where, "x", x, 3, axes, repair if len(x.shape) == 2 else "")
    batch, time = x.shape[:2][::-1] if time_major else x.shape[:2]
    checks.at_least_one(where, "time step", time, f"{checks.describe(x)} as {axes}")
    return Layout(batch, time, time_major)


def layout(
    where: str, x: Any, kernel: Any, recurrent_kernel: Any, bias: Any, *, gates: int, time_major: bool
) -> Layout:
    """The sizes, after checking that the weights fit the input and each other."""
    sizes = check_sequence(where, x, time_major)
    hidden = recurrent_kernel.shape[0]
    width = gates * hidden
    columns = f"{gates}*hidden" if gates > 1 else "hidden"
    expected = [
        ("recurrent_kernel", recurrent_kernel, (hidden, width), f"(hidden, {columns})"),
        ("kernel", kernel, (x.shape[-1], width), f"(features, {columns})"),
    ] + ([] if bias is None else [("bias", bias, (width,), f"({columns},)")])
    for name, array, shape, words in expected:
        if jnp.shape(array) != shape:
            raise ValueError(
                f"{where}: expected {name} of shape {words} = {shape} for x {checks.describe(x)}, "
                f"got {checks.describe(array)}"
            )
    return sizes


def _transpose_hint(layout: Layout, batch: int) -> str:
    """A hint, where the sizes say that time and batch were exchanged."""
    if batch != layout.time or layout.time == layout.batch:
        return ""
    first, second = ("batch", "time") if layout.time_major else ("time", "batch")
    now = "time_major=False" if layout.time_major else "time_major=True"
    return (
        f"; axis 0 of x seems to be {first} and axis 1 {second}, but x is read as {_axes(layout.time_major)}: "
        f"write {now} or x.swapaxes(0, 1)"
    )


def initial(
    where: str, layout: Layout, hidden: int, dtype: DType, state: Any, names: tuple[str, ...]
) -> tuple[Array, ...]:
    """The initial state as one array per name, zero where none is given."""
    shape = (layout.batch, hidden)
    if state is None:
        return tuple(jnp.zeros(shape, dtype) for _ in names)
    parts = (state,) if len(names) == 1 else tuple(state)
    if len(parts) != len(names):
        raise ValueError(f"{where}: expected initial_state ({', '.join(names)}), got {len(parts)} arrays")
    for name, part in zip(names, parts, strict=True):
        if jnp.shape(part) != shape:
            hint = _transpose_hint(layout, jnp.shape(part)[0]) if jnp.ndim(part) == 2 else ""
            raise ValueError(
                f"{where}: expected {name} of the initial state of shape (batch, hidden) = {shape}, "
                f"got {jnp.shape(part)}{hint}"
            )
    return tuple(jnp.asarray(part).astype(dtype) for part in parts)


def check_loop(where: str, time: int, unroll: int | None, remat: int | None) -> tuple[int | None, int | None]:
    """Steps per iteration and per segment: at least one. A time of any length is not cut."""
    unroll = None if unroll is None else checks.integer(where, "unroll", unroll)
    remat = None if remat is None else checks.integer(where, "remat", remat)
    return (unroll, remat) if is_static(time) else (1, None)


def valid_steps(where: str, layout: Layout, lengths: ArrayLike | None, mask: ArrayLike | None) -> Array | None:
    """Which steps count, bool with the axes of x, or None if all do."""
    if mask is not None:
        if lengths is not None:
            raise ValueError(f"{where}: expected lengths or mask, got both")
        expected = (layout.time, layout.batch) if layout.time_major else (layout.batch, layout.time)
        if jnp.shape(mask) != expected or jnp.result_type(mask) != jnp.bool_:
            raise ValueError(f"{where}: expected mask of bool{list(expected)} as x, got {checks.describe(mask)}")
        return jnp.asarray(mask)
    if lengths is None:
        return None
    check_lengths(where, lengths, layout)
    steps, lengths = jnp.arange(layout.time), jnp.asarray(lengths)
    return steps[:, None] < lengths[None] if layout.time_major else steps[None] < lengths[:, None]


def check_lengths(where: str, lengths: Any, layout: Layout) -> None:
    """Integers in [0, time], one per sequence."""
    checks.integers(where, "lengths", lengths)
    if jnp.shape(lengths) != (layout.batch,):
        hint = _transpose_hint(layout, jnp.shape(lengths)[0]) if jnp.ndim(lengths) == 1 else ""
        raise ValueError(
            f"{where}: expected lengths of shape (batch,) = ({layout.batch},), got {jnp.shape(lengths)}{hint}"
        )
    if checks.is_concrete(lengths) and layout.batch:
        host = np.asarray(lengths)
        if host.min() < 0 or host.max() > layout.time:
            bad = int(np.argmax((host < 0) | (host > layout.time)))
            raise ValueError(
                f"{where}: expected lengths from 0 to {layout.time}, the number of time steps, "
                f"got {host[bad]} for sequence {bad}; write numpy.clip(lengths, 0, {layout.time}) for what was cut off"
            )


def reverse_sequences(x: Array, lengths: ArrayLike | None = None) -> Array:
    """Each sequence from its own end to its beginning; padding stays where it is.

    Args:
        x: (batch, time, …).
        lengths: (batch,) integers from 0 to time; None is the whole time axis.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.reverse_sequences(jnp.array([[1, 2, 3, 0]]), jnp.array([3])).tolist()
        [[3, 2, 1, 0]]
    """
    x = jnp.asarray(x)
    if lengths is None:
        return jnp.flip(x, axis=1)
    batch, time = x.shape[:2]
    check_lengths("reverse_sequences", lengths, Layout(batch, time))
    steps, lengths = jnp.arange(time)[None], jnp.asarray(lengths)[:, None]
    source = jnp.where(steps < lengths, lengths - 1 - steps, steps)
    return jnp.take_along_axis(x, source.reshape(batch, time, *[1] * (x.ndim - 2)), axis=1)
