"""What every metric shares: the direction it states, its weights, its class numbers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.losses.labels import full_width
from fnn.losses.reduction import along, follow, weighted_mean
from fnn.typing import Array, ArrayLike

__all__ = ["metric"]

Mode: TypeAlias = Literal["min", "max"]
F = TypeVar("F", bound=Callable[..., Any])


def metric(mode: Mode) -> Callable[[F], F]:
    """State whether small or large values of a metric are better: `metric.mode`, read by early stopping and searches.

    Args:
        mode: "min" for errors, "max" for scores.

    Returns:
        A decorator that returns the function itself, with `mode` as an attribute.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> @fnn.metrics.metric("min")
        ... def largest_error(outputs, targets, *, weights=None):
        ...     errors = jnp.abs(outputs - targets)
        ...     return errors.max() if weights is None else jnp.where(weights > 0, errors, 0).max()
        >>> largest_error.mode, fnn.metrics.accuracy.mode
        ('min', 'max')
    """
    checks.one_of("metric", "mode", mode, ("min", "max"))

    def state(function: F) -> F:
        function.mode = mode  # type: ignore[attr-defined]
        return function

    return state


def mode_of(function: Any) -> Mode | None:
    """The direction that a metric states, also through `functools.partial` and wrappers; None if it states none."""
    while function is not None:
        if (mode := getattr(function, "mode", None)) in ("min", "max"):
            return mode
        function = getattr(function, "func", None) or getattr(function, "__wrapped__", None)
    return None


def measure_all(
    metrics: Mapping[str, Callable[..., Any]], outputs: Any, targets: Any, weights: Array | None
) -> dict[str, Any]:
    """What every metric says, by its name."""
    for name, function in metrics.items():
        _require_weights(name, function)
    return {name: function(outputs, targets, weights=weights) for name, function in metrics.items()}


def _require_weights(name: str, function: Any) -> None:
    """Require a function that can be called with weights, where it says what it takes."""
    try:
        inspect.signature(function, follow_wrapped=False).bind(None, None, weights=None)
    except ValueError:  # one that is written in C
        return
    except TypeError:
        came = checks.describe_given(function)
        if callable(function):
            taken = inspect.signature(function, follow_wrapped=False)
            came = f"one of {taken}; write weights=None as its third argument, where a row of weight 0 does not count"
        raise TypeError(
            f"expected the metric {name!r} to be a function (outputs, targets, *, weights=None), got {came}"
        ) from None


def broadcast_weights(name: str, weights: ArrayLike | None, like: Array) -> Array:
    """Weights in the shape of `like`, ones if there are none."""
    if weights is None:
        return jnp.ones_like(like)
    return jnp.broadcast_to(along(name, "weights", follow(name, "weights", weights, like), like.shape), like.shape)


def mean(name: str, values: Array, weights: ArrayLike | None) -> Array:
    return weighted_mean(values, broadcast_weights(name, weights, values))


def class_numbers(name: str, argument: str, x: ArrayLike) -> Array:
    """Class numbers as integers of at least 32 bits."""
    x = checks.cast(name, argument, x)
    if not (jnp.issubdtype(x.dtype, jnp.integer) or x.dtype == bool):
        raise TypeError(
            f"{name}: expected integer class numbers as {argument}, got {checks.describe(x)}; "
            f"write jnp.argmax(scores, -1), or ({argument} > 0.5).astype(jnp.int32)"
        )
    return full_width(x)


def in_order(name: str, argument: str, x: ArrayLike) -> Array:
    """Real scores that stand in their rows as they came: numbers of the host whose digits a cast would drop, so that
    some that differ became equal, are their ranks along the last axis."""
    given = checks.as_numbers(name, argument, x)
    checks.real(name, argument, given)
    dtype = jax.dtypes.canonicalize_dtype(given.dtype)
    if isinstance(given, jax.Array) or given.dtype == dtype or not given.ndim or dtype.kind != "f":
        return checks.cast(name, argument, x)
    with np.errstate(over="ignore"):
        cast = given.astype(dtype)
    return checks.own(cast if (cast == given).all() else _ranks(given).astype(dtype))


def _ranks(scores: np.ndarray) -> np.ndarray:
    """How many different numbers of its row are below each; NaN stays."""
    order = np.argsort(scores, axis=-1)
    ascending, ranks = np.take_along_axis(scores, order, -1), np.zeros(scores.shape)
    steps = np.cumsum(ascending[..., 1:] > ascending[..., :-1], axis=-1)
    np.put_along_axis(ranks, order[..., 1:], steps, -1)
    return np.where(np.isnan(scores), np.nan, ranks)


def equal(a: Array, b: Array) -> Array:
    """1 where two arrays of class numbers agree, also where only one of them is unsigned."""
    if a.dtype != b.dtype:
        wide = jnp.uint64 if 8 in (a.dtype.itemsize, b.dtype.itemsize) else jnp.uint32
        return ((a.astype(wide) == b.astype(wide)) & (a >= 0) & (b >= 0)).astype(float)
    return (a == b).astype(float)
