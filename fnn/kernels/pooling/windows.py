"""Pooling of any rank, channels last. Every gradient is elementwise; equal maxima share theirs."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.kernels import placement
from fnn.kernels.mesh_axes import auto_axes, rows_and_features
from fnn.kernels.precision import widen
from fnn.kernels.sizes import known, less
from fnn.kernels.sliding_windows import (
    Padding,
    PerAxis,
    Windows,
    fitting,
    pad,
    pads,
    per_axis,
    phased_taps,
    positions,
    spatial_axes,
    taps,
)
from fnn.typing import Array, Shape

__all__ = [
    "avg_pool",
    "lp_pool",
    "max_pool",
]


def max_pool(
    x: Array, window: PerAxis, *, stride: PerAxis | None = None, padding: Padding = "VALID", dilation: PerAxis = 1
) -> Array:
    r"""The largest value in each window: $y[o] = \max_t x[o s + t d - p]$, where padding counts as $-\infty$.

    The gradient goes to the largest value; equal ones share it evenly. A NaN counts as the largest, as in torch.

    Args:
        x: (batch, *spatial, channels); of integers the padding is the least one.
        window: positions in the window, an int or one per spatial axis.
        stride: step between windows; None is the window.
        padding: "VALID", "SAME", an int, or an int or pair (low, high) per spatial axis.
        dilation: distance between the positions of a window.

    Returns:
        (batch, *`conv_output_size`, channels). NaN in a window gives NaN.

    Raises:
        ValueError: for a window larger than the padded input, or one that would see nothing but padding.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.max_pool(jnp.array([1.0, 3.0, 2.0, 0.0]).reshape(1, 4, 1), 2).ravel().tolist()
        [3.0, 2.0]
    """
    windows = _windows("max_pool", x, window, stride, padding, dilation, integers=True)
    return auto_axes(lambda x: _max_pool(x, windows), rows_and_features("max_pool", x))(x)


@functools.partial(jax.jit, static_argnames=("windows",))
def _max_pool(x: Array, windows: Windows) -> Array:
    inside = windows._replace(padding=((0, 0),) * (x.ndim - 2))
    if jnp.issubdtype(x.dtype, jnp.integer):
        return functools.reduce(jnp.maximum, taps(pad(x, windows.padding, jnp.iinfo(x.dtype).min), inside))
    return _window_maximum(pad(x, windows.padding, -jnp.inf), inside)


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
    if _tiles(windows):
        blocks, axes = _blocks(x, windows.size)
        here = is_largest(blocks, jnp.expand_dims(y, axes)).astype(x.dtype)
        return y, jnp.sum(here * jnp.expand_dims(share, axes) * _blocks(dx, windows.size)[0], axes)
    pairs = zip(taps(x, windows), phased_taps(dx, windows), strict=True)
    return y, functools.reduce(jnp.add, [jnp.where(is_largest(tap, y), moved, 0) for tap, moved in pairs]) * share


def _maximum_and_share(x: Array, windows: Windows) -> tuple[Array, Array]:
    """The maximum of each window, and 1 over the number of positions equal to it.

    Where windows overlap, on a CPU one example at a time: a loop writes its results, where XLA would compute them
    anew for each position that needs them (3×3 by 2: gradient 67 ms).
    """

    def of(x: Array) -> tuple[Array, Array]:
        y = _window_maximum(x, windows)
        count = functools.reduce(jnp.add, [is_largest(tap, y).astype(x.dtype) for tap in taps(x, windows)])
        return y, 1 / jnp.maximum(count, 1)

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
    r"""The mean of each window: $y[o] = \frac1{|t|} \sum_t x[o s + t d - p]$.

    Args:
        x: (batch, *spatial, channels).
        window: positions in the window, an int or one per spatial axis.
        stride: step between windows; None is the window.
        padding: "VALID", "SAME", an int, or an int or pair (low, high) per spatial axis.
        dilation: distance between the positions of a window.
        count_include_pad: whether padding counts as zeros; else the mean is over what is not padding.

    Returns:
        (batch, *`conv_output_size`, channels); sums are in float32 or better.

    Raises:
        ValueError: for a window larger than the padded input, or one that would see nothing but padding.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.avg_pool(jnp.array([1.0, 3.0, 2.0, 0.0]).reshape(1, 4, 1), 2).ravel().tolist()
        [2.0, 1.0]
    """
    windows = _windows("avg_pool", x, window, stride, padding, dilation)
    return auto_axes(lambda x: _avg_pool(x, windows, count_include_pad), rows_and_features("avg_pool", x))(x)


@functools.partial(jax.jit, static_argnames=("windows", "count_include_pad"))
def _avg_pool(x: Array, windows: Windows, count_include_pad: bool) -> Array:
    total = _window_sum(widen(x), windows)
    if count_include_pad:
        return (total / positions(windows)).astype(x.dtype)
    if known(*x.shape):
        counts = jnp.asarray(_counts(x.shape[1:-1], windows)[None], total.dtype)
    else:
        counts = _window_sum(jnp.ones((1, *x.shape[1:-1], 1), total.dtype), windows)
    return (total / counts).astype(x.dtype)


def _window_sum(x: Array, windows: Windows) -> Array:
    """Sum over each window, one axis after another."""
    x = pad(x, windows.padding)
    if _tiles(windows):
        blocks, axes = _blocks(x, windows.size)
        return jnp.sum(blocks, axes)
    rank = len(windows.size)
    for axis in range(rank):
        along = _along(windows, axis)
        x = functools.reduce(jnp.add, taps(x, along))
    return x


def _along(windows: Windows, axis: int) -> Windows:
    """The part of an unpadded window along one axis."""

    def only(values: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(v if i == axis else 1 for i, v in enumerate(values))

    rank = len(windows.size)
    return Windows(only(windows.size), only(windows.strides), ((0, 0),) * rank, only(windows.dilation))


def _counts(spatial: Shape, windows: Windows) -> np.ndarray:
    """How many positions of each window are not padding: (*windows, 1)."""
    counts = np.ones((1,) * (len(spatial) + 1))
    axes = zip(spatial, windows.size, windows.strides, windows.padding, windows.dilation, strict=True)
    for axis, (n, k, s, (lo, hi), d) in enumerate(axes):
        inside = np.pad(np.ones(n), (max(lo, 0), max(hi, 0)))[max(-lo, 0) : n + lo + hi + max(-lo, 0)]
        starts = np.arange(0, n + lo + hi - d * (k - 1), s)
        here = inside[starts[:, None] + d * np.arange(k)].sum(1)
        counts = counts * np.expand_dims(here, [i for i in range(len(spatial) + 1) if i != axis])
    return counts


def lp_pool(
    x: Array,
    window: PerAxis,
    p: float = 2,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "VALID",
    dilation: PerAxis = 1,
) -> Array:
    r"""The p-norm of each window: $y[o] = \left(\sum_t |x[o s + t d - p]|^p\right)^{1/p}$.

    p = 1 is the sum of absolute values, and large p comes near the maximum. The gradient of a window of zeros is 0.

    Args:
        x: (batch, *spatial, channels).
        window: positions in the window, an int or one per spatial axis.
        p: order of the norm, a number of at least 1.
        stride: step between windows; None is the window.
        padding: "VALID", "SAME", an int, or an int or pair (low, high) per spatial axis.
        dilation: distance between the positions of a window.

    Returns:
        (batch, *`conv_output_size`, channels); sums are in float32 or better and do not overflow.

    Raises:
        ValueError: for p < 1, or a window larger than the padded input.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.lp_pool(jnp.array([3.0, -4.0]).reshape(1, 2, 1), 2).ravel().tolist()
        [5.0]
    """
    if not isinstance(p, (int, float)):
        raise TypeError(f"lp_pool: expected p to be a Python number, got {checks.describe(p)}")
    checks.in_range("lp_pool", "p", p, 1)
    windows = _windows("lp_pool", x, window, stride, padding, dilation)
    return auto_axes(lambda x: _lp_pool(x, windows, p), rows_and_features("lp_pool", x))(x)


@functools.partial(jax.jit, static_argnames=("windows", "p"))
def _lp_pool(x: Array, windows: Windows, p: float) -> Array:
    seen = list(taps(pad(widen(x), windows.padding), windows._replace(padding=((0, 0),) * (x.ndim - 2))))
    # The norm is homogeneous: dividing a window by its largest value can neither overflow nor lose small ones.
    scale = jax.lax.stop_gradient(functools.reduce(jnp.maximum, map(jnp.abs, seen)))
    scale = jnp.where((scale > 0) & jnp.isfinite(scale), scale, 1)
    total = functools.reduce(jnp.add, [_power(tap / scale, p) for tap in seen])
    some = total > 0
    norm = jnp.where(some, jnp.where(some, total, 1) ** (1 / p), 0)
    return (scale * norm).astype(x.dtype)


def _power(x: Array, p: float) -> Array:
    """|x|^p, with the derivatives of 0 at 0 (the true ones for p = 2, 4, … and p > 2)."""
    if p == int(p) and int(p) % 2 == 0:
        return jax.lax.integer_pow(x, int(p))
    zero = x == 0
    return jnp.where(zero, 0, jnp.abs(jnp.where(zero, 1, x)) ** p)


def _windows(
    where: str,
    x: Any,
    window: PerAxis,
    stride: PerAxis | None,
    padding: Padding,
    dilation: PerAxis,
    *,
    integers: bool = False,
) -> Windows:
    rank = len(spatial_axes(where, x, integers=integers))
    size, dilation = per_axis(where, "window", window, rank), per_axis(where, "dilation", dilation, rank)
    strides = size if stride is None else per_axis(where, "stride", stride, rank)
    windows = Windows(size, strides, pads(where, padding, x.shape[1:-1], size, strides, dilation), dilation)
    fitting(where, windows, x)
    if not _all_see_input(x.shape[1:-1], windows):
        raise ValueError(f"{where}: expected every window to see some input, got padding {windows.padding}")
    return windows


def _all_see_input(spatial: Shape, windows: Windows) -> bool:
    """Whether no window has nothing but padding; where sizes are open, whether that holds for all of them."""
    if known(*spatial):
        return bool((_counts(spatial, windows) > 0).all())
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
