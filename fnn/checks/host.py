"""Data from the host: looked at in the dtype they come in, then cast."""

from __future__ import annotations

import math
import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checks.rows import IN_FLOAT64, no_value, one_array, place_of
from fnn.checks.words import describe
from fnn.typing import Array


def as_numbers(where: str, name: str, x: Any, repair: str = "encode it as a number first") -> Any:
    """What was given: a JAX array as it is, anything else as a NumPy array of numbers in the dtype it came in."""
    if isinstance(x, jax.Array):
        return x
    if hasattr(x, "toarray"):
        raise TypeError(f"{where}: expected {name} to be a dense array, got {type(x).__name__}; write {name}.toarray()")
    if hasattr(x, "select_dtypes"):
        x = _table(where, name, x)
    if isinstance(x, (list, tuple)) and any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(x)):
        return jnp.asarray(x)
    host = one_array(where, name, x)
    if not host.dtype.isnative:
        host = host.astype(host.dtype.newbyteorder("="))
    if host.dtype == bool or (jnp.issubdtype(host.dtype, np.number) and host.dtype.char not in "gGm"):
        return host
    entries = zip(np.ndindex(host.shape), host.ravel().tolist(), strict=True)
    place, entry = next(((i, e) for i, e in entries if not isinstance(e, numbers.Number)), (None, None))
    first = "" if place is None else f", {entry!r} at {place_of(x, place)}"
    repair = f"write {name}.astype(float)" if place is None else repair
    raise TypeError(f"{where}: expected numeric {name}, got {host.dtype}{first}; {repair}")


def _table(where: str, name: str, table: Any) -> Any:
    """A table of numbers, booleans and nullable numbers as one array; anything else is left to its entries."""
    kinds = [str(dtype) for dtype in table.dtypes]
    if "category" in kinds:
        column = table.columns[kinds.index("category")]
        raise TypeError(
            f"{where}: expected numeric {name}, got categories in column {column!r}; write pandas.get_dummies({name})"
        )
    numeric = [k.lower().startswith(("int", "uint", "float", "bool")) for k in kinds]
    if not all(numeric) or np.asarray(table[:0]).dtype != object:
        return table
    missing = np.asarray(table.isna())
    if missing.any():
        row, column = (int(i) for i in np.argwhere(missing)[0])
        raise no_value(where, name, table, (row, column))
    wide = any(k.lower() in ("float64", "int64", "uint64", "int32", "uint32") for k in kinds)
    return table.to_numpy(dtype=np.float64 if wide else np.float32)


def cast(where: str, name: str, x: Any, dtype: Any = None, *, distinct: bool = False) -> Array:
    """Check, then cast: `x` as a JAX array of `dtype`, by default of the dtype in which JAX computes with it.

    What comes from the host, an array, a table or nested lists, is looked at in its own dtype (int64, float64, …), so
    that no number wraps around or becomes infinite; JAX arrays, traced or not, pass. With `distinct` numbers that
    differ must still do so, in every column, to 1e-4 of its range.
    """
    given = as_numbers(where, name, x)
    if isinstance(given, jax.Array):
        _require_real(where, name, given, given.dtype if dtype is None else dtype)
        return given if dtype is None else given.astype(dtype)
    return own(host_cast(where, name, x, given, dtype, distinct=distinct))


def allocate(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Memory at a multiple of 64 bytes, where a CPU computes with it as it lies; all of it is to be written."""
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + 64, np.uint8)
    begin = -raw.ctypes.data % 64
    return raw[begin : begin + size].view(dtype).reshape(shape)


def own(host: jax.Array | np.ndarray) -> jax.Array:
    """The numbers as a JAX array that no later write to `host` reaches; one of JAX's is that already.

    `jnp.asarray` and `jnp.array` lend aligned memory and copy it only when the device comes to it. Given memory that
    nobody else has and its dtype, JAX takes it as it is, and compiles nothing for a new shape.
    """
    if isinstance(host, jax.Array):
        return host
    copy = allocate(host.shape, host.dtype)
    copy[...] = host
    return jnp.asarray(copy, host.dtype)


def host_cast(
    where: str, name: str, x: Any, host: np.ndarray, dtype: Any = None, *, distinct: bool = False
) -> np.ndarray:
    """`cast` of the values `host` of `x`, left on the host."""
    target = jax.dtypes.canonicalize_dtype(host.dtype if dtype is None else dtype)
    _require_real(where, name, host, target)
    if host.dtype == target or host.dtype == bool or not host.size:
        return host.astype(target, copy=False)
    if jnp.issubdtype(target, np.integer) and jnp.issubdtype(host.dtype, np.integer):
        _require_fit(where, name, x, host, jnp.iinfo(target).min, jnp.iinfo(target).max, target)
    elif jnp.issubdtype(target, jnp.floating):
        largest = float(jnp.finfo(target).max)
        if not (jnp.issubdtype(host.dtype, jnp.floating) and float(jnp.finfo(host.dtype).max) <= largest):
            _require_fit(where, name, x, host, -largest, largest, target)
        if distinct and host.ndim and (lost := loss_of_digits(name, x, host, target)):
            raise LostDigits(f"{where}: {lost}")
    return host.astype(target)


def _require_real(where: str, name: str, given: Any, target: Any) -> None:
    """A cast from complex to real numbers drops one of two parts."""
    if jnp.issubdtype(given.dtype, jnp.complexfloating) and not jnp.issubdtype(target, jnp.complexfloating):
        raise TypeError(
            f"{where}: expected real {name}, got {describe(given)}; write {name}.real, or both parts as two columns"
        )


def _require_fit(where: str, name: str, x: Any, host: np.ndarray, low: Any, high: Any, target: Any) -> None:
    """NaN and infinities are what they are in every floating-point dtype."""
    if low <= host.min() and host.max() <= high:
        return
    outside = ((host < low) | (host > high)) & (np.isfinite(host) if host.dtype.kind == "f" else True)
    if outside.any():
        place = tuple(int(i) for i in np.argwhere(outside)[0])
        repair = (
            f"write {name} - {name}.min() for numbers counted from 0, {name}.astype(numpy.float32) for measurements"
            if jnp.issubdtype(target, np.integer)
            else f"scale {name} first"
        )
        raise ValueError(
            f"{where}: expected {name} that fit {target}, got {host[place]} at {place_of(x, place)}; {repair}, or "
            f"{IN_FLOAT64}"
        )


def loss_of_digits(name: str, x: Any, host: np.ndarray, target: Any) -> str | None:
    """The first column of which numbers become equal in `target`, and what to write; None where there is none.

    Columns that are constant up to rounding in float64, and those resolved to 1e-4 of their range, are left alone.
    """
    table = host.reshape(len(host), -1)
    for column in np.flatnonzero(is_coarse(table.min(axis=0), table.max(axis=0), target)):
        before, after = (len(np.unique(part)) for part in (table[:, column], table[:, column].astype(target)))
        if after < before:
            of = "" if host.ndim == 1 or host[0].size == 1 else f" in {place_of(x, (0, column)).partition(', ')[2]}"
            return (
                f"{name} has {before} distinct values{of}, of which {target} keeps {after}; centre and scale it in "
                f"float64 first, write ({name} - {name}.mean(axis=0)) / {name}.std(axis=0)"
            )
    return None


class LostDigits(ValueError):
    """Numbers that differ become equal in the dtype they are cast to."""


def is_coarse(low: np.ndarray, high: np.ndarray, target: Any) -> np.ndarray:
    """Of which columns, that reach from `low` to `high`, the dtype resolves less than 1e-4 of their range."""
    low, high = low.astype(np.float64), high.astype(np.float64)
    size, spread = np.maximum(np.abs(low), np.abs(high)), high - low
    return (size * float(jnp.finfo(target).eps) > 1e-4 * spread) & (spread > 1e-12 * size)
