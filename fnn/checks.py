"""Argument checks: what was expected, what came, what to write instead.

Every check names the function it speaks for (`where`). A value that is being traced by JAX cannot be
compared and passes unchecked, so that rates, decays and learning rates may be `vmap`ped or differentiated.
"""

from __future__ import annotations

import numbers
import sys
import warnings
from collections.abc import Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.typing import Array, ArrayLike

_BETWEEN = frozenset({"fnn", "jax", "jaxlib", "importlib", "contextlib", "functools", "sklearn", "joblib"})
"""Packages that may stand between a user's line and the place where fnn warns."""


def warn(message: str, category: type[Warning] = RuntimeWarning) -> None:
    """Warn at the user's line: the innermost frame that is neither in fnn nor in a package that called it."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        frame = frame.f_back
    module = frame.f_globals.get("__name__", "<unknown>")
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, category, frame.f_code.co_filename, frame.f_lineno, module, registry)


def is_concrete(value: Any) -> bool:
    """Whether `value` can be compared now: it is not traced by jit, grad or vmap."""
    return not isinstance(value, jax.core.Tracer)


def known(value: Any) -> Any:
    """A JAX array as a NumPy array: inside `jit` even a comparison of a concrete JAX array is traced."""
    return np.asarray(value) if isinstance(value, jax.Array) and is_concrete(value) else value


def describe(x: Any) -> str:
    """`float32[128,10]` for an array, the type's name for anything else."""
    if isinstance(x, list) and x and all(isinstance(leaf, numbers.Number) for leaf in jax.tree.leaves(x)):
        return f"list of {len(x)}"
    if isinstance(x, (tuple, list)):
        return "(" + ", ".join(map(describe, x)) + ")"
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return f"{x.dtype}[{','.join(map(str, x.shape))}]"
    return type(x).__name__


def in_range(
    where: str, name: str, value: Any, low: float | None = None, high: float | None = None, *, open: str = ""
) -> None:
    """Require low <= value <= high; `open` is "low", "high" or "both" where an end is excluded."""
    if callable(value):
        raise TypeError(
            f"{where}: expected {name} to be a number, got {called(value)}; a schedule stands only where "
            "a learning rate or a weight decay is asked for"
        )
    if not is_concrete(value):
        return
    value = known(value)
    if not np.issubdtype(np.asarray(value).dtype, np.number) and not isinstance(value, bool | np.bool_):
        raise TypeError(f"{where}: expected {name} to be a number, got {value!r}")
    below = low is not None and np.any(value <= low if open in ("low", "both") else value < low)
    above = high is not None and np.any(value >= high if open in ("high", "both") else value > high)
    if below or above or np.any(value != value):
        left = "(" if open in ("low", "both") or low is None else "["
        right = ")" if open in ("high", "both") or high is None else "]"
        bounds = f"{left}{'-inf' if low is None else low}, {'inf' if high is None else high}{right}"
        raise ValueError(f"{where}: expected {name} in {bounds}, got {value}")


def number_or_schedule(where: str, name: str, value: Any, low: float = 0) -> None:
    """Require a number of at least `low`, or a function of the step."""
    if not callable(value):
        in_range(where, name, value, low)


def schedule(where: str, name: str, value: Any) -> None:
    """Require a function of the step."""
    if not callable(value):
        raise TypeError(
            f"{where}: expected {name} to be a schedule, a function step -> number, got {value!r}; "
            f"write fnn.schedules.constant_schedule({value!r}) for a constant"
        )


def function(where: str, name: str, value: Any, signature: str, instead: str) -> None:
    """Require a function, or None for none; `instead` is what to write."""
    if value is not None and not callable(value):
        raise TypeError(f"{where}: expected {name} to be a function {signature}, got {value!r}; write {instead}")


def called(value: Any) -> str:
    """What to call something that was passed without being called, or called without being passed."""
    name = getattr(value, "__name__", type(value).__name__)
    return f"the function {name}" if callable(value) and not isinstance(value, type) else f"{type(value).__name__}"


def not_an_array(where: str, name: str, x: Any) -> TypeError:
    """The error about something that has no shape or dtype."""
    kind = type(x).__name__
    home = type(x).__module__.partition(".")[0]
    if home == "torch":
        repair = f"write jax.numpy.asarray({name}.numpy()), channels last"
    elif hasattr(x, "toarray"):
        repair = f"write {name}.toarray()"
    elif hasattr(x, "to_numpy"):
        repair = f'write {name}.to_numpy(dtype="float32")'
    elif isinstance(x, tuple):
        repair = "write fnn.Padded(x, lengths) for sequences of several lengths"
    elif isinstance(x, list):
        repair = f"write jax.numpy.asarray({name})"
    else:
        repair = f"give {name} as an array of jax.numpy or numpy"
    return TypeError(f"{where}: expected {name} to be an array, got {kind}; {repair}")


def keeps_some(where: str, name: str, rate: Any) -> None:
    """Require a rate below 1 in training: where everything is dropped, no gradient is left to learn from."""
    if rate is not None and is_concrete(rate) and jnp.ndim(rate) == 0 and rate == 1:
        raise ValueError(
            f"{where}: {name}=1 drops everything, so that nothing before it is trained; write a {name} below 1, or "
            "leave the layer out"
        )


def integer(where: str, name: str, value: Any, low: int | None = 1) -> int:
    """Require a Python integer (it decides a shape, so it cannot be traced) of at least `low`."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or not is_concrete(value):
        raise TypeError(f"{where}: expected {name} to be a Python int, got {describe(value)} {value!r}")
    value = int(value.__index__())
    if low is not None and value < low:
        raise ValueError(f"{where}: expected {name} >= {low}, got {value}")
    return value


def one_of(where: str, name: str, value: Any, options: Collection[Any]) -> None:
    """Require `value` to be one of `options`."""
    if value not in options:
        raise ValueError(f"{where}: expected {name} to be one of {', '.join(map(repr, options))}, got {value!r}")


def floating(where: str, name: str, x: ArrayLike) -> None:
    """Require a real floating-point array."""
    if not (hasattr(x, "dtype") or isinstance(x, numbers.Number)) or hasattr(x, "numpy") or hasattr(x, "to_numpy"):
        raise not_an_array(where, name, x)
    dtype = jnp.result_type(x)
    if not jnp.issubdtype(dtype, jnp.floating):
        scaled = " / 255" if dtype == jnp.uint8 else ""
        raise TypeError(
            f"{where}: expected {name} to be floating-point, got {describe(x)}; "
            f"write {name}.astype(jnp.float32){scaled}"
        )


def rank(where: str, name: str, x: Any, ranks: int | Collection[int], layout: str) -> None:
    """Require `x.ndim` in `ranks`; `layout` names the axes, "(batch, features)"."""
    allowed = (ranks,) if isinstance(ranks, int) else ranks
    if not hasattr(x, "shape"):
        raise not_an_array(where, name, x)
    if len(x.shape) not in allowed:
        raise ValueError(f"{where}: expected {name} of shape {layout}, got {describe(x)}")


def same_shape(where: str, first: str, a: Any, second: str, b: Any) -> None:
    """Require equal shapes: nothing is broadcast silently."""
    if jnp.shape(a) != jnp.shape(b):
        hint = ""
        if sorted(str(d) for d in jnp.shape(a) if d != 1) == sorted(str(d) for d in jnp.shape(b) if d != 1):
            hint = f"; write {second}.reshape({first}.shape) if they mean the same"
        raise ValueError(
            f"{where}: expected {first} and {second} of the same shape, got {jnp.shape(a)} and {jnp.shape(b)}{hint}"
        )


def looks_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether these seem to be square images of one or three channels with the channels before height and width."""
    return len(shape) == 4 and shape[1] in (1, 3) and shape[2] == shape[3] and shape[3] > 4


def images(where: str, x: Any) -> None:
    """Require (batch, height, width, channels)."""
    if len(x.shape) != 4 or looks_channels_first(x.shape):
        repair = "jnp.moveaxis(x, 1, -1)" if len(x.shape) == 4 else "x[..., None]" if len(x.shape) == 3 else "x[None]"
        raise ValueError(
            f"{where}: expected images of shape (batch, height, width, channels), got {describe(x)}; write {repair}"
        )


def key_given(where: str, key: Array | None, why: str) -> Array:
    """Require a random key where randomness is asked for."""
    if key is None:
        raise ValueError(f"{where}: {why} needs a random key; write key=jax.random.key(0)")
    return key


def arrived(where: str, name: str, x: Any, repair: str = "encode it as a number first") -> Any:
    """What was given: a JAX array as it is, anything else as a NumPy array of numbers in the dtype it came in.

    Raises:
        TypeError: for text, dates and objects, naming the first entry that is no number.
    """
    if isinstance(x, jax.Array):
        return x
    if hasattr(x, "toarray"):
        raise TypeError(f"{where}: expected {name} to be a dense array, got {type(x).__name__}; write {name}.toarray()")
    if hasattr(x, "select_dtypes"):
        x = _table(where, name, x)
    if isinstance(x, (list, tuple)) and any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(x)):
        return jnp.asarray(x)
    host = np.asarray(x)
    if host.dtype == bool or jnp.issubdtype(host.dtype, np.number):
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
    if not all(numeric) or (len({np.asarray(table[:0]).dtype}) and np.asarray(table[:0]).dtype != object):
        return table
    missing = np.asarray(table.isna())
    if missing.any():
        row, column = (int(i) for i in np.argwhere(missing)[0])
        raise ValueError(
            f"{where}: {name} has no value at row {row}, column {table.columns[column]!r}; "
            "remove the row or fill the value in"
        )
    wide = any(k.lower() in ("float64", "int64", "uint64", "int32", "uint32") for k in kinds)
    return table.to_numpy(dtype=np.float64 if wide else np.float32)


def place_of(x: Any, index: Sequence[Any]) -> str:
    """`row 3, column 'age'`: an entry of a table, in the words of whoever gave it."""
    if len(index) > 2:
        return f"index ({', '.join(map(str, index))})"
    names = getattr(x, "columns", None)
    column = [] if len(index) < 2 else [f"column {index[1] if names is None else repr(names[index[1]])}"]
    return ", ".join([f"row {index[0]}", *column] if len(index) else ["its only entry"])


def cast(where: str, name: str, x: Any, dtype: Any = None, *, distinct: bool = False) -> Array:
    """Check, then cast: `x` as a JAX array of `dtype`, by default of the dtype in which JAX computes with it.

    What comes from the host is looked at in its own dtype (int64, float64, …), so that no number wraps around or
    becomes infinite; JAX arrays, traced or not, pass.

    Args:
        where, name: of the function and the argument, for messages.
        x: an array, a table or nested lists of numbers.
        dtype: of the result.
        distinct: also require that numbers which differ still do, in every column, to 1e-4 of its range.

    Raises:
        TypeError: for what is no number.
        ValueError: for a number that the dtype cannot hold, naming its place.
    """
    given = arrived(where, name, x)
    if isinstance(given, jax.Array):
        return given if dtype is None else given.astype(dtype)
    return jnp.asarray(host_cast(where, name, x, given, dtype, distinct=distinct))


def host_cast(
    where: str, name: str, x: Any, host: np.ndarray, dtype: Any = None, *, distinct: bool = False
) -> np.ndarray:
    """`cast` of the values `host` of `x`, left on the host."""
    target = jax.dtypes.canonicalize_dtype(host.dtype if dtype is None else dtype)
    if host.dtype == target or host.dtype == bool or not host.size:
        return host.astype(target, copy=False)
    if jnp.issubdtype(target, np.integer) and jnp.issubdtype(host.dtype, np.integer):
        _require_fit(where, name, x, host, jnp.iinfo(target).min, jnp.iinfo(target).max, target)
    elif jnp.issubdtype(target, jnp.floating) and not jnp.issubdtype(host.dtype, np.complexfloating):
        largest = float(jnp.finfo(target).max)
        if not (jnp.issubdtype(host.dtype, jnp.floating) and float(jnp.finfo(host.dtype).max) <= largest):
            _require_fit(where, name, x, host, -largest, largest, target)
        if distinct:
            _require_distinct(where, name, x, host, target)
    return host.astype(target)


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
            'jax.config.update("jax_enable_x64", True)'
        )


def lost(host: np.ndarray, target: Any) -> tuple[int, int, int] | None:
    """The first column of which numbers become equal in `target`, and how many distinct ones were and are left.

    Columns that are constant up to rounding in float64, and those resolved to 1e-4 of their range, are left alone.
    """
    table = host.reshape(len(host), -1)
    low, high = table.min(axis=0).astype(np.float64), table.max(axis=0).astype(np.float64)
    size, spread = np.maximum(np.abs(low), np.abs(high)), high - low
    coarse = (size * float(jnp.finfo(target).eps) > 1e-4 * spread) & (spread > 1e-12 * size)
    for column in np.flatnonzero(coarse):
        before, after = (len(np.unique(part)) for part in (table[:, column], table[:, column].astype(target)))
        if after < before:
            return int(column), before, after
    return None


def _require_distinct(where: str, name: str, x: Any, host: np.ndarray, target: Any) -> None:
    if host.ndim and (found := lost(host, target)):
        raise ValueError(f"{where}: {said_of_lost(name, x, host, target, found)}")


def said_of_lost(name: str, x: Any, host: np.ndarray, target: Any, found: tuple[int, int, int]) -> str:
    """What is lost, and what to write."""
    column, before, after = found
    of = "" if host.ndim == 1 or host[0].size == 1 else f" in {place_of(x, (0, column)).partition(', ')[2]}"
    return (
        f"{name} has {before} distinct values{of}, of which {target} keeps {after}; centre and scale it in float64 "
        f"first, write ({name} - {name}.mean(axis=0)) / {name}.std(axis=0)"
    )
