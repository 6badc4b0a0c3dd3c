"""Initializers of given values, and of a given width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.activations.pieces import require_order
from fnn.initializers.drawing import Draw, draw_flat, maker, require_finite, resolve_dtype
from fnn.typing import Array, ArrayLike, DType, Initializer, Key

__all__ = ["constant", "identity", "normal", "ones", "truncated_normal", "uniform", "zeros"]


def zeros(key: Key | None, shape: Sequence[int], dtype: DType | None = None, out_sharding: Any = None) -> Array:
    """$w = 0$.

    Args:
        key: unused.
        shape: shape of the array.
        dtype: dtype of the array; None is the default precision.
        out_sharding: of the array, on a mesh with explicit axes.

    Example:
        >>> import fnn
        >>> fnn.initializers.zeros(None, (2,)).tolist()
        [0.0, 0.0]
    """
    return jnp.zeros(shape, resolve_dtype(dtype), out_sharding=out_sharding)


def ones(key: Key | None, shape: Sequence[int], dtype: DType | None = None, out_sharding: Any = None) -> Array:
    """$w = 1$.

    Args:
        key, shape, dtype, out_sharding: as for `zeros`.

    Example:
        >>> import fnn
        >>> fnn.initializers.ones(None, (2,)).tolist()
        [1.0, 1.0]
    """
    return jnp.ones(shape, resolve_dtype(dtype), out_sharding=out_sharding)


@maker
def constant(value: ArrayLike, dtype: DType | None = None) -> Initializer:
    """$w = c$. For biases: kernels that start equal stay equal, and their units never learn different things.

    Args:
        value: $c$, a number or anything that broadcasts to the shape.
        dtype: dtype unless the call gives one.

    Example:
        >>> import fnn
        >>> fnn.initializers.constant(3)(None, (2,)).tolist()
        [3.0, 3.0]
    """
    require_finite("constant", "value", value, array=True)

    def init(key: Key | None, shape: Sequence[int], dtype: DType | None = dtype) -> Array:
        entries = np.asarray(value) if isinstance(value, list | tuple) else value
        return jnp.full(shape, entries, resolve_dtype(dtype))

    return init


@maker
def identity(gain: ArrayLike = 1.0, dtype: DType | None = None) -> Initializer:
    """$W = g I$: the layer starts as the identity; a recurrent kernel keeps its state.

    A matrix that is not square gets an identity in its corner and zeros beside it.

    Args:
        gain: $g$.
        dtype: dtype unless the call gives one.

    Example:
        >>> import fnn
        >>> fnn.initializers.identity()(None, (2, 3)).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]

    References:
        Le, Jaitly and Hinton, A simple way to initialize recurrent networks of rectified linear units, 2015.
    """
    require_finite("identity", "gain", gain)

    def init(key: Key | None, shape: Sequence[int], dtype: DType | None = dtype) -> Array:
        if len(shape) != 2:
            raise ValueError(f"identity: expected the shape of a matrix, got {tuple(shape)}")
        return jnp.asarray(gain, resolve_dtype(dtype)) * jnp.eye(shape[0], shape[1], dtype=resolve_dtype(dtype))

    return init


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
