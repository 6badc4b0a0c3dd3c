"""The largest value in each window, with a gradient that is elementwise: equal maxima share theirs."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from fnn.kernels import placement
from fnn.kernels.mesh_axes import auto_axes, rows_and_features
from fnn.kernels.pooling.windows import blocks, pool_windows, tiles
from fnn.kernels.sizes import less
from fnn.kernels.sliding_windows import Padding, PerAxis, Windows, pad, taps, taps_by_phase
from fnn.precision import widen
from fnn.typing import Array

__all__ = ["max_pool"]


def max_pool(
    x: Array, window: PerAxis, *, stride: PerAxis | None = None, padding: Padding = "VALID", dilation: PerAxis = 1
) -> Array:
    """The largest value in each window: the layer `fnn.max_pool` of an array.

    Args:
        x: (batch, *spatial, channels); of integers the padding is the least one.
        window, stride, padding, dilation: as for `fnn.max_pool`.

    Returns:
        (batch, *`conv_output_size`, channels). NaN in a window gives NaN.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.max_pool(jnp.array([1.0, 3.0, 2.0, 0.0]).reshape(1, 4, 1), 2).ravel().tolist()
        [3.0, 2.0]
    """
    windows = pool_windows("max_pool", x, window, stride, padding, dilation, integers=True)
    return auto_axes(lambda x: _max_pool(x, windows), rows_and_features("max_pool", x))(x)


@functools.partial(jax.jit, static_argnames=("windows",))
def _max_pool(x: Array, windows: Windows) -> Array:
    if jnp.issubdtype(x.dtype, jnp.integer):
        return functools.reduce(jnp.maximum, taps(pad(x, windows.padding, jnp.iinfo(x.dtype).min), windows))
    return _window_maximum(pad(x, windows.padding, -jnp.inf), windows)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _window_maximum(x: Array, windows: Windows) -> Array:
    """The maximum of each window, whose derivative is the mean of the tangents of all that are equal to it.

    In milliseconds of one core, gradient inside a scan, 128×28×28×32: 2×2 4.0, by `reduce_window` 41.
    """
    return functools.reduce(jnp.maximum, taps(x, windows))


def is_largest(x: Array, largest: Array) -> Array:
    """Where the gradient of a maximum goes: NaN is equal to nothing, and is yet what came out."""
    return (x == largest) | jnp.isnan(x)


@_window_maximum.defjvp
def _window_maximum_jvp(windows: Windows, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    y, share = _maximum_and_share(x, windows)
    # Each tangent is multiplied by its share before they are summed: the sum of equal ones may overflow.
    if tiles(windows):
        (parts, axes), (moved, _) = blocks(x, windows.size), blocks(dx, windows.size)
        here = is_largest(parts, jnp.expand_dims(y, axes))
        return y, jnp.sum(jnp.where(here, moved * jnp.expand_dims(share, axes), 0), axes)
    pairs = zip(taps(x, windows), taps_by_phase(dx, windows), strict=True)
    return y, functools.reduce(jnp.add, [jnp.where(is_largest(tap, y), moved * share, 0) for tap, moved in pairs])


def _maximum_and_share(x: Array, windows: Windows) -> tuple[Array, Array]:
    """The maximum of each window, and 1 over the number of positions equal to it.

    Where windows overlap, on a CPU one example at a time: a loop writes its results, where XLA would compute them
    anew for each position that needs them (3×3 by 2: gradient 67 ms).
    """

    def of(x: Array) -> tuple[Array, Array]:
        y = _window_maximum(x, windows)
        # Counted in float32 at least: bfloat16 counts to 256.
        count = functools.reduce(jnp.add, [widen(is_largest(tap, y).astype(x.dtype)) for tap in taps(x, windows)])
        return y, (1 / jnp.maximum(count, 1)).astype(x.dtype)

    def one_by_one(x: Array) -> tuple[Array, Array]:
        y, share = jax.lax.map(lambda one: of(one[None]), x)
        return y[:, 0], share[:, 0]

    if tiles(windows) or less(x.shape[0], 2) or placement.devices("cpu") > 1:
        return of(x)
    return jax.lax.platform_dependent(x, cpu=one_by_one, default=of)
