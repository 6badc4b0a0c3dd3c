"""Pooling to a given size: adaptive windows, and one window over everything."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.kernels.mesh_axes import auto_axes, rows_and_features
from fnn.kernels.pooling.windows import is_largest
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
    return _adaptive("adaptive_avg_pool", _adaptive_mean, x, output_size)


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
    return _adaptive("adaptive_max_pool", _adaptive_maximum, x, output_size)


def _adaptive_mean(x: Array, sizes: tuple[int, ...]) -> Array:
    y = widen(x)
    for axis, m in enumerate(sizes, 1):
        # Not a product with weights: an inf of one window, times 0, would be NaN in all others.
        y, outside = _windows(y, axis, m)
        counts = (~outside).sum(axis + 1)
        y = (jnp.where(jnp.asarray(outside), 0, y) if outside.any() else y).sum(axis + 1) / jnp.asarray(counts, y.dtype)
    return y.astype(x.dtype)


def _adaptive_maximum(x: Array, sizes: tuple[int, ...]) -> Array:
    rank, y, missing = len(sizes), x, np.zeros((), bool)
    for axis, m in enumerate(sizes):
        # axes of y so far: batch, (m, longest) per axis done, the other spatial axes, channels
        y, outside = _windows(y, 1 + 2 * axis, m)
        missing = missing | outside.reshape(*outside.shape[: 3 + 2 * axis], *[1] * (2 * rank - 1 - 2 * axis))
    if missing.any():
        y = jnp.where(jnp.asarray(missing), jnp.asarray(-jnp.inf, y.dtype), y)
    return _maximum(y, tuple(2 + 2 * axis for axis in range(rank)))


def _windows(x: Array, axis: int, m: int) -> tuple[Array, np.ndarray]:
    """The inputs of each of m windows in the place of an axis, (m, longest), and those that are behind a window's end,
    in as many axes."""
    n = x.shape[axis]
    starts, ends = np.arange(m) * n // m, -(-(np.arange(m) + 1) * n // m)
    members = starts[:, None] + np.arange((ends - starts).max())
    if n % m:
        y = jnp.take(x, jnp.asarray(np.minimum(members, n - 1)), axis)
    else:
        y = x.reshape(*x.shape[:axis], *members.shape, *x.shape[axis + 1 :])
    return y, np.expand_dims(members >= ends[:, None], (*range(axis), *range(axis + 2, y.ndim)))


def _adaptive(where: str, pool: Callable[[Array, tuple[int, ...]], Array], x: Any, output_size: PerAxis) -> Array:
    axes = spatial_axes(where, x)
    if not is_static(*x.shape[1:-1]):
        raise ValueError(
            f"{where}: expected spatial sizes that are numbers, got {checks.describe(x)}: the windows are others for "
            f"every size; write fnn.{where.replace('adaptive', 'global')}() for one window over everything"
        )
    sizes = per_axis(where, "output_size", output_size, len(axes))
    return auto_axes(lambda x: pool(x, sizes), rows_and_features(where, x))(x)


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
