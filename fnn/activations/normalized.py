"""Softmax and its logarithm."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fnn.activations.pieces import floating, of_arrays
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
    x, kept, shifted = _shifted("softmax", x, axis, where)
    powers = jnp.where(kept, jnp.exp(shifted), 0)
    total = powers.sum(axis, keepdims=True)
    return powers / jnp.where(total == 0, 1, total)


def _shifted(where: str, x: ArrayLike, axis: Any, mask: ArrayLike | None) -> tuple[Array, Array, Array]:
    """x, the entries that count, and x less its largest counting entry, 0 where an entry does not count."""
    x = floating(where, x)
    # +inf stands for "all of the mass": it is the largest number there is, shared among several.
    x = jnp.where(x == jnp.inf, jnp.finfo(x.dtype).max, x)
    kept = (x != -jnp.inf) | jnp.isnan(x)
    if mask is not None:
        kept = kept & jnp.broadcast_to(jnp.asarray(mask, bool), x.shape)
    largest = jnp.max(x, axis, keepdims=True, where=kept, initial=jnp.finfo(x.dtype).min)
    shifted = jnp.where(kept, x, 0) - jnp.where(kept, jax.lax.stop_gradient(largest), 0)
    return x, kept, shifted


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
    _, kept, shifted = _shifted("log_softmax", x, axis, where)
    total = jnp.where(kept, jnp.exp(shifted), 0).sum(axis, keepdims=True)
    return jnp.where(kept, shifted - jnp.log(jnp.where(total == 0, 1, total)), -jnp.inf)
