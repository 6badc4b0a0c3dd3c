"""What every metric shares: the direction it states, its weights, its class numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, TypeVar

import jax.numpy as jnp

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

    Raises:
        ValueError: for another word.

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


def equal(a: Array, b: Array) -> Array:
    """1 where two arrays of class numbers agree, also where only one of them is unsigned."""
    if a.dtype != b.dtype:
        wide = jnp.uint64 if 8 in (a.dtype.itemsize, b.dtype.itemsize) else jnp.uint32
        return ((a.astype(wide) == b.astype(wide)) & (a >= 0) & (b >= 0)).astype(float)
    return (a == b).astype(float)
