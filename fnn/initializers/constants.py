"""Initializers without chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnn.initializers.drawing import maker, require_finite, resolve_dtype
from fnn.typing import Array, ArrayLike, DType, Initializer, Key

__all__ = ["constant", "identity", "ones", "zeros"]


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

    Args:
        gain: $g$.
        dtype: dtype unless the call gives one.

    Returns:
        An initializer of matrices; one that is not square gets an identity in its corner and zeros beside it.

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
