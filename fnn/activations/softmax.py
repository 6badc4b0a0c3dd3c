"""Softmax and its logarithm."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.activations.pieces import as_floating, of_arrays
from fnn.precision import widen
from fnn.typing import Array, ArrayLike

__all__ = ["log_softmax", "softmax"]


@of_arrays
def softmax(x: ArrayLike, axis: int | tuple[int, ...] | None = -1, where: ArrayLike | None = None) -> Array:
    r"""$f(x)_i = \frac{e^{x_i}}{\sum_j e^{x_j}}$, with $\partial f_i/\partial x_j = f_i(δ_{ij} - f_j)$.

    Args:
        x: floating-point array.
        axis: the axis, or axes, that sum to 1; None for all.
        where: booleans of the shape of x; what is left out becomes 0. A row that is left out as a whole, or holds
            only -inf, is 0 with a gradient of 0.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.softmax(jnp.array([1e4, 1e4])).tolist()
        [0.5, 0.5]

    References:
        Bridle, Probabilistic interpretation of feedforward classification network outputs, 1990.
    """
    x = as_floating("softmax", x)
    axis = None if axis is None else checks.axes("softmax", "axis", axis, x.ndim)
    kept, filled = _mask_and_fill(widen(x), where)
    powers = jnp.where(kept, jnp.exp(_shift(filled, kept, axis)), 0)
    total = powers.sum(axis, keepdims=True)
    return (powers / jnp.where(total == 0, 1, total)).astype(x.dtype)


def _mask_and_fill(x: Array, mask: ArrayLike | None) -> tuple[Array, Array]:
    """The entries that count, and x with the largest number there is for "all of the mass", shared among several."""
    kept = (x != -jnp.inf) | jnp.isnan(x)
    if mask is not None:
        kept = kept & jnp.broadcast_to(jnp.asarray(mask, bool), x.shape)
    return kept, jnp.where(x == jnp.inf, jnp.finfo(x.dtype).max, x)


def _shift(x: Array, kept: Array, axis: Any) -> Array:
    """x less its largest counting entry, 0 where an entry does not count."""
    largest = jnp.max(x, axis, keepdims=True, where=kept, initial=jnp.finfo(x.dtype).min)
    return jnp.where(kept, x, 0) - jnp.where(kept, jax.lax.stop_gradient(largest), 0)


@of_arrays
def log_softmax(x: ArrayLike, axis: int | tuple[int, ...] | None = -1, where: ArrayLike | None = None) -> Array:
    r"""$f(x)_i = x_i - \log\sum_j e^{x_j}$.

    Args:
        x: floating-point array.
        axis: the axis, or axes, of the sum; None for all.
        where: booleans of the shape of x; what is left out becomes -inf, with a gradient of 0.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.log_softmax(jnp.array([0.0, -1e4])).tolist()
        [0.0, -10000.0]
    """
    x = as_floating("log_softmax", x)
    axis = None if axis is None else checks.axes("log_softmax", "axis", axis, x.ndim)
    kept, filled = _mask_and_fill(widen(x), where)
    infinite = (kept & (x == jnp.inf)).any(axis, keepdims=True)
    # Beside an infinite entry nothing is left for a finite one: the limit, and not the largest number below 0.
    return jnp.where(infinite & (x < jnp.inf), -jnp.inf, _log_softmax(filled, kept, axis)).astype(x.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _log_softmax(x: Array, kept: Array, axis: Any) -> Array:
    shifted = _shift(x, kept, axis)
    # The largest entry's e^0 = 1 stays out of the sum, which would round the others away beside it.
    largest = kept & (shifted == 0)
    others = jnp.where(kept & ~largest, jnp.exp(shifted), 0).sum(axis, keepdims=True)
    others = others + jnp.maximum(largest.sum(axis, keepdims=True) - 1, 0).astype(shifted.dtype)
    return jnp.where(kept, shifted - jnp.log1p(others), -jnp.inf)


@_log_softmax.defjvp
def _log_softmax_jvp(axis: Any, primals: tuple[Array, Array], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    (x, kept), (t, _) = primals, tangents
    y = _log_softmax(x, kept, axis)
    mean = jnp.sum(jnp.where(kept, jnp.exp(y) * t, 0), axis, keepdims=True)
    return y, jnp.where(kept, t - mean, 0)
