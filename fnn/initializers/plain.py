"""Initializers of a given width."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.activations.pieces import require_order
from fnn.initializers.drawing import Draw, draw_flat, maker, resolve_dtype
from fnn.typing import Array, ArrayLike, DType, Initializer, Key

__all__ = ["normal", "truncated_normal", "uniform"]


@maker
def uniform(scale: ArrayLike = 1e-2, dtype: DType | None = None) -> Initializer:
    """$w \\sim U[0, s)$.

    Args:
        scale: $s$.
        dtype: dtype unless the call gives one.

    Example:
        >>> import jax, fnn
        >>> w = fnn.initializers.uniform(5.0)(jax.random.key(0), (100,))
        >>> bool((w >= 0).all() & (w < 5).all())
        True
    """
    checks.in_range("uniform", "scale", scale, 0)
    return _times(scale, jax.random.uniform, dtype)


@maker
def normal(stddev: ArrayLike = 1e-2, dtype: DType | None = None) -> Initializer:
    """$w \\sim N(0, σ^2)$.

    Args:
        stddev: $σ$.
        dtype: dtype unless the call gives one.

    Example:
        >>> import jax, fnn
        >>> bool(abs(fnn.initializers.normal(2.0)(jax.random.key(0), (10_000,)).std() - 2) < 0.05)
        True
    """
    checks.in_range("normal", "stddev", stddev, 0)
    return _times(stddev, jax.random.normal, dtype)


@maker
def truncated_normal(
    stddev: ArrayLike = 1e-2, dtype: DType | None = None, lower: ArrayLike = -2.0, upper: ArrayLike = 2.0
) -> Initializer:
    """$w \\sim N(0, σ^2)$ between `lower` σ and `upper` σ; its standard deviation is smaller than σ.

    Args:
        stddev: $σ$ before truncation.
        dtype: dtype unless the call gives one.
        lower, upper: bounds in units of σ.

    Example:
        >>> import jax, fnn
        >>> bool(abs(fnn.initializers.truncated_normal(1.0)(jax.random.key(0), (1000,))).max() <= 2)
        True
    """
    checks.in_range("truncated_normal", "stddev", stddev, 0)
    require_order("truncated_normal", lower, upper)
    return _times(stddev, lambda k, s, d: jax.random.truncated_normal(k, lower, upper, s, d), dtype)


def _times(scale: ArrayLike, draw: Draw, dtype: DType | None) -> Initializer:
    def init(key: Key, shape: Sequence[int], dtype: DType | None = dtype) -> Array:
        dtype = resolve_dtype(dtype)
        return draw_flat(draw, key, shape, dtype) * jnp.asarray(scale, dtype)

    return init
