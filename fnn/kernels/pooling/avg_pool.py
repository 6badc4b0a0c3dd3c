"""The mean of each window."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from fnn.kernels.mesh_axes import auto_axes, rows_and_features
from fnn.kernels.pooling.windows import blocks, counts_inside, pool_windows, tiles
from fnn.kernels.sizes import is_static
from fnn.kernels.sliding_windows import Padding, PerAxis, Windows, along, pad, positions, taps
from fnn.precision import widen
from fnn.typing import Array

__all__ = ["avg_pool"]


def avg_pool(
    x: Array,
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "VALID",
    dilation: PerAxis = 1,
    count_include_pad: bool = True,
) -> Array:
    """The mean of each window: the layer `fnn.avg_pool` of an array.

    Args:
        x: (batch, *spatial, channels).
        window, stride, padding, dilation, count_include_pad: as for `fnn.avg_pool`.

    Returns:
        (batch, *`conv_output_size`, channels).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.avg_pool(jnp.array([1.0, 3.0, 2.0, 0.0]).reshape(1, 4, 1), 2).ravel().tolist()
        [2.0, 1.0]
    """
    windows = pool_windows("avg_pool", x, window, stride, padding, dilation)
    return auto_axes(lambda x: _avg_pool(x, windows, count_include_pad), rows_and_features("avg_pool", x))(x)


@functools.partial(jax.jit, static_argnames=("windows", "count_include_pad"))
def _avg_pool(x: Array, windows: Windows, count_include_pad: bool) -> Array:
    total = _window_sum(widen(x), windows)
    if count_include_pad:
        return (total / positions(windows)).astype(x.dtype)
    if is_static(*x.shape):
        counts = jnp.asarray(counts_inside(x.shape[1:-1], windows)[None], total.dtype)
    else:
        counts = _window_sum(jnp.ones((1, *x.shape[1:-1], 1), total.dtype), windows)
    return (total / counts).astype(x.dtype)


def _window_sum(x: Array, windows: Windows) -> Array:
    """Sum over each window, one axis after another."""
    x = pad(x, windows.padding)
    if tiles(windows):
        return jnp.sum(*blocks(x, windows.size))
    for axis in range(len(windows.size)):
        x = functools.reduce(jnp.add, taps(x, along(windows, axis)))
    return x
