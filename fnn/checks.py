"""Argument checks: what was expected, what came, what to write instead.

Every check names the function it speaks for (`where`). A value that is being traced by JAX cannot be
compared and passes unchecked, so that rates, decays and learning rates may be `vmap`ped or differentiated.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Collection
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
    if isinstance(x, (tuple, list)):
        return "(" + ", ".join(map(describe, x)) + ")"
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return f"{x.dtype}[{','.join(map(str, x.shape))}]"
    return type(x).__name__


def in_range(
    where: str, name: str, value: Any, low: float | None = None, high: float | None = None, *, open: str = ""
) -> None:
    """Require low <= value <= high; `open` is "low", "high" or "both" where an end is excluded."""
    if callable(value) or not is_concrete(value):
        return
    if isinstance(value, str) or value is None:
        raise TypeError(f"{where}: expected {name} to be a number, got {value!r}")
    value = known(value)
    below = low is not None and np.any(value <= low if open in ("low", "both") else value < low)
    above = high is not None and np.any(value >= high if open in ("high", "both") else value > high)
    if below or above or np.any(value != value):
        left = "(" if open in ("low", "both") or low is None else "["
        right = ")" if open in ("high", "both") or high is None else "]"
        bounds = f"{left}{'-inf' if low is None else low}, {'inf' if high is None else high}{right}"
        raise ValueError(f"{where}: expected {name} in {bounds}, got {value}")


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
    dtype = jnp.result_type(x)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"{where}: expected {name} to be floating-point, got {describe(x)}; write {name}.astype(jnp.float32)"
        )


def rank(where: str, name: str, x: Any, ranks: int | Collection[int], layout: str) -> None:
    """Require `x.ndim` in `ranks`; `layout` names the axes, "(batch, features)"."""
    allowed = (ranks,) if isinstance(ranks, int) else ranks
    if len(x.shape) not in allowed:
        raise ValueError(f"{where}: expected {name} of shape {layout}, got {describe(x)}")


def same_shape(where: str, first: str, a: Any, second: str, b: Any) -> None:
    """Require equal shapes: nothing is broadcast silently."""
    if jnp.shape(a) != jnp.shape(b):
        hint = ""
        if sorted(d for d in jnp.shape(a) if d != 1) == sorted(d for d in jnp.shape(b) if d != 1):
            hint = f"; write {second}.reshape({first}.shape) if they mean the same"
        raise ValueError(
            f"{where}: expected {first} and {second} of the same shape, got {jnp.shape(a)} and {jnp.shape(b)}{hint}"
        )


def key_given(where: str, key: Array | None, why: str) -> Array:
    """Require a random key where randomness is asked for."""
    if key is None:
        raise ValueError(f"{where}: {why} needs a random key; write key=jax.random.key(0)")
    return key
