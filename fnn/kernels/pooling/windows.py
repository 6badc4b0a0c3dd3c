"""Pooling over windows of one size: the largest value, with a gradient that is elementwise, the mean, the p-norm."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.kernels import placement
from fnn.kernels.mesh_axes import auto_axes, rows_and_features
from fnn.kernels.sizes import is_static, less
from fnn.kernels.sliding_windows import (
    Padding,
    PerAxis,
    Windows,
    along,
    pad,
    pads,
    per_axis,
    positions,
    require_fit,
    spatial_axes,
    taps,
    taps_by_phase,
)
from fnn.precision import widen
from fnn.typing import Array, Shape

__all__ = ["avg_pool", "lp_pool", "max_pool"]


def _pool(
    kernel: Callable[..., Array],
    where: str,
    x: Any,
    window: PerAxis,
    stride: PerAxis | None,
    padding: Padding,
    dilation: PerAxis,
    *static: Any,
    integers: bool = False,
) -> Array:
    """The compiled kernel of `x`, the windows that are described and `static`; `integers` says that these are taken."""
    rank = len(spatial_axes(where, x, integers=integers))
    size, dilation = per_axis(where, "window", window, rank), per_axis(where, "dilation", dilation, rank)
    strides = size if stride is None else per_axis(where, "stride", stride, rank)
    windows = Windows(size, strides, pads(where, padding, x.shape[1:-1], size, strides, dilation), dilation)
    require_fit(where, windows, x)
    if not _all_see_input(x.shape[1:-1], windows):
        raise ValueError(f"{where}: expected every window to see some input, got padding {windows.padding}")
    return auto_axes(lambda x: kernel(x, windows, *static), rows_and_features(where, x))(x)


def _all_see_input(spatial: Shape, windows: Windows) -> bool:
    """Whether no window has nothing but padding; where sizes are open, whether that holds for all of them."""
    if is_static(*spatial):
        return bool((_counts_inside(spatial, windows) > 0).all())
    axes = zip(windows.size, windows.padding, windows.dilation, strict=True)
    return all((lo, hi) == (0, 0) or (d == 1 and less(lo, k) and less(hi, k)) for k, (lo, hi), d in axes)


def _tiles(windows: Windows) -> bool:
    """Whether the windows lie side by side."""
    return windows.size == windows.strides and max(windows.dilation) == 1


def _blocks(x: Array, size: Shape) -> tuple[Array, tuple[int, ...]]:
    """x as (batch, n₁/k₁, k₁, …, channels) without the rest that fills no window, and the axes k₁, …"""
    counts = [(n - k) // k + 1 for n, k in zip(x.shape[1:-1], size, strict=True)]  # in the form of `Windows.counts`
    x = x[(slice(None), *(slice(0, n * k) for n, k in zip(counts, size, strict=True)))]
    shape = [length for pair in zip(counts, size, strict=True) for length in pair]
    return x.reshape(x.shape[0], *shape, x.shape[-1]), tuple(2 + 2 * i for i in range(len(size)))


def _counts_inside(spatial: Shape, windows: Windows) -> np.ndarray:
    """How many positions of each window are not padding: (*windows, 1)."""
    counts = np.ones((1,) * (len(spatial) + 1))
    axes = zip(spatial, windows.size, windows.strides, windows.padding, windows.dilation, strict=True)
    for axis, (n, k, s, (lo, hi), d) in enumerate(axes):
        inside = np.pad(np.ones(n), (max(lo, 0), max(hi, 0)))[max(-lo, 0) : n + lo + hi + max(-lo, 0)]
        starts = np.arange(0, n + lo + hi - d * (k - 1), s)
        here = inside[starts[:, None] + d * np.arange(k)].sum(1)
        counts = counts * np.expand_dims(here, [i for i in range(len(spatial) + 1) if i != axis])
    return counts


def max_pool(
    x: Array, window: PerAxis, *, stride: PerAxis | None = None, padding: Padding = "VALID", dilation: PerAxis = 1
) -> Array:
    """The largest value in each window: the layer `fnn.max_pool` of an array.

    Args:
        x: (batch, *spatial, channels); of integers the padding is the least one.
        window, stride, padding, dilation: as for `fnn.max_pool`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.max_pool(jnp.array([1.0, 3.0, 2.0, 0.0]).reshape(1, 4, 1), 2).ravel().tolist()
        [3.0, 2.0]
    """
    return _pool(_max_pool, "max_pool", x, window, stride, padding, dilation, integers=True)


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
    if _tiles(windows):
        (parts, axes), (moved, _) = _blocks(x, windows.size), _blocks(dx, windows.size)
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

    if _tiles(windows) or less(x.shape[0], 2) or placement.devices("cpu") > 1:
        return of(x)
    return jax.lax.platform_dependent(x, cpu=one_by_one, default=of)


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

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.avg_pool(jnp.array([1.0, 3.0, 2.0, 0.0]).reshape(1, 4, 1), 2).ravel().tolist()
        [2.0, 1.0]
    """
    return _pool(_avg_pool, "avg_pool", x, window, stride, padding, dilation, count_include_pad)


@functools.partial(jax.jit, static_argnames=("windows", "count_include_pad"))
def _avg_pool(x: Array, windows: Windows, count_include_pad: bool) -> Array:
    total = _window_sum(widen(x), windows)
    if count_include_pad:
        return (total / positions(windows)).astype(x.dtype)
    if is_static(*x.shape):
        counts = jnp.asarray(_counts_inside(x.shape[1:-1], windows)[None], total.dtype)
    else:
        counts = _window_sum(jnp.ones((1, *x.shape[1:-1], 1), total.dtype), windows)
    return (total / counts).astype(x.dtype)


def _window_sum(x: Array, windows: Windows) -> Array:
    """Sum over each window, one axis after another."""
    x = pad(x, windows.padding)
    if _tiles(windows):
        return jnp.sum(*_blocks(x, windows.size))
    for axis in range(len(windows.size)):
        x = functools.reduce(jnp.add, taps(x, along(windows, axis)))
    return x


def lp_pool(
    x: Array,
    window: PerAxis,
    p: float = 2,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "VALID",
    dilation: PerAxis = 1,
) -> Array:
    """The p-norm of each window, of which no sum overflows: the layer `fnn.lp_pool` of an array.

    Args:
        x: (batch, *spatial, channels).
        window, p, stride, padding, dilation: as for `fnn.lp_pool`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.lp_pool(jnp.array([3.0, -4.0]).reshape(1, 2, 1), 2).ravel().tolist()
        [5.0]
    """
    if not checks.is_concrete(p) or np.ndim(p):
        raise TypeError(f"lp_pool: expected p to be a Python number, got {checks.describe(p)}")
    checks.in_range("lp_pool", "p", p, 1)
    p = np.asarray(checks.to_host(p)).item()
    return _pool(_lp_pool, "lp_pool", x, window, stride, padding, dilation, p)


@functools.partial(jax.jit, static_argnames=("windows", "p"))
def _lp_pool(x: Array, windows: Windows, p: float) -> Array:
    seen = list(taps(pad(widen(x), windows.padding), windows))
    # The norm is homogeneous: dividing a window by its largest value can neither overflow nor lose small ones.
    scale = jax.lax.stop_gradient(functools.reduce(jnp.maximum, map(jnp.abs, seen)))
    scale = jnp.where((scale > 0) & jnp.isfinite(scale), scale, 1)
    total = functools.reduce(jnp.add, [_power(tap / scale, p) for tap in seen])
    some = total != 0  # NaN is some
    norm = jnp.where(some, jnp.where(some, total, 1) ** (1 / p), 0)
    return (scale * norm).astype(x.dtype)


def _power(x: Array, p: float) -> Array:
    """|x|^p, with the derivatives of 0 at 0 (the true ones for p = 2, 4, … and p > 2)."""
    if p == int(p) and int(p) % 2 == 0:
        return jax.lax.integer_pow(x, int(p))
    zero = x == 0
    return jnp.where(zero, 0, jnp.abs(jnp.where(zero, 1, x)) ** p)
