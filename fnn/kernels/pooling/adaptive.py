"""Pooling to a given size: adaptive windows, and one window over everything."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.kernels.mesh_axes import auto_axes, rows_and_features
from fnn.kernels.pooling.max_pool import is_largest
from fnn.kernels.sizes import is_static
from fnn.kernels.sliding_windows import PerAxis, per_axis, spatial_axes
from fnn.precision import widen
from fnn.typing import Array

__all__ = ["adaptive_avg_pool", "adaptive_max_pool", "global_avg_pool", "global_max_pool"]


def global_avg_pool(x: Array) -> Array:
    """The mean over all spatial axes: (batch, *spatial, channels) to (batch, channels).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.global_avg_pool(jnp.array([1.0, 3.0]).reshape(1, 2, 1)).tolist()
        [[2.0]]
    """
    axes = spatial_axes("global_avg_pool", x)
    return jnp.mean(widen(x), axes).astype(x.dtype)


def global_max_pool(x: Array) -> Array:
    """The largest value over all spatial axes: (batch, *spatial, channels) to (batch, channels).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.global_max_pool(jnp.array([1.0, 3.0]).reshape(1, 2, 1)).tolist()
        [[3.0]]
    """
    return _maximum(x, spatial_axes("global_max_pool", x))


def adaptive_avg_pool(x: Array, output_size: PerAxis) -> Array:
    """Means over as many windows as asked for: the layer `fnn.adaptive_avg_pool` of an array.

    Args:
        x: (batch, *spatial, channels).
        output_size: an int or one per spatial axis.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.adaptive_avg_pool(jnp.arange(5.0).reshape(1, 5, 1), 2).ravel().tolist()
        [1.0, 3.0]
    """
    sizes = _adaptive("adaptive_avg_pool", x, output_size)
    y = widen(x)
    for axis, m in enumerate(sizes, 1):
        # Window by window: in a product with weights an inf of one window, times 0, is NaN in all others.
        windows = zip(*_ends(x.shape[axis], m), strict=True)
        y = jnp.stack([jnp.mean(jax.lax.slice_in_dim(y, *window, axis=axis), axis) for window in windows], axis)
    return y.astype(x.dtype)


def adaptive_max_pool(x: Array, output_size: PerAxis) -> Array:
    """The largest values of as many windows as asked for: the layer `fnn.adaptive_max_pool` of an array.

    Args:
        x: (batch, *spatial, channels).
        output_size: an int or one per spatial axis.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.adaptive_max_pool(jnp.arange(5.0).reshape(1, 5, 1), 2).ravel().tolist()
        [2.0, 4.0]
    """
    sizes = _adaptive("adaptive_max_pool", x, output_size)
    split = rows_and_features("adaptive_max_pool", x)
    return auto_axes(functools.partial(_adaptive_maximum, sizes=sizes), split)(x)


def _adaptive_maximum(x: Array, *, sizes: tuple[int, ...]) -> Array:
    rank, y, outside = len(sizes), x, np.zeros((), bool)
    for axis, m in enumerate(sizes):
        starts, ends = _ends(x.shape[1 + axis], m)
        inside = np.arange((ends - starts).max())
        members = starts[:, None] + inside  # (m, longest)
        missing = members >= ends[:, None]
        # axes of y so far: batch, (m, longest) per axis done, the other spatial axes, channels
        y = jnp.take(y, jnp.asarray(np.minimum(members, x.shape[1 + axis] - 1)), axis=1 + 2 * axis)
        shape = [1] * (2 * rank + 2)
        shape[1 + 2 * axis : 3 + 2 * axis] = missing.shape
        outside = outside | missing.reshape(shape)
    if outside.any():
        y = jnp.where(jnp.asarray(outside), jnp.asarray(-jnp.inf, y.dtype), y)
    return _maximum(y, tuple(2 + 2 * axis for axis in range(rank)))


def _ends(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of m windows over n inputs begins and ends."""
    return np.arange(m) * n // m, -(-(np.arange(m) + 1) * n // m)


def _adaptive(where: str, x: Any, output_size: PerAxis) -> tuple[int, ...]:
    axes = spatial_axes(where, x)
    if not is_static(*x.shape[1:-1]):
        raise ValueError(
            f"{where}: expected spatial sizes that are numbers, got {checks.describe(x)}: the windows are others for "
            f"every size; write fnn.{where.replace('adaptive', 'global')}() for one window over everything"
        )
    return per_axis(where, "output_size", output_size, len(axes))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _maximum(x: Array, axes: tuple[int, ...]) -> Array:
    """max over `axes`, whose derivative is the mean of the tangents of all that are equal to it."""
    return jnp.max(x, axes)


@_maximum.defjvp
def _maximum_jvp(axes: tuple[int, ...], primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    y = _maximum(x, axes)
    here = is_largest(x, jnp.expand_dims(y, axes))
    count = jnp.sum(widen(here.astype(x.dtype)), axes, keepdims=True)
    return y, jnp.sum(jnp.where(here, dx * (1 / jnp.maximum(count, 1)).astype(x.dtype), 0), axes)
