"""The windows of pooling: described, checked, and laid out where they lie side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.kernels.sizes import is_static, less
from fnn.kernels.sliding_windows import Padding, PerAxis, Windows, pads, per_axis, require_fit, spatial_axes
from fnn.typing import Array, Shape


def pool_windows(
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
    require_fit(where, windows, x)
    if not _all_see_input(x.shape[1:-1], windows):
        raise ValueError(f"{where}: expected every window to see some input, got padding {windows.padding}")
    return windows


def _all_see_input(spatial: Shape, windows: Windows) -> bool:
    """Whether no window has nothing but padding; where sizes are open, whether that holds for all of them."""
    if is_static(*spatial):
        return bool((counts_inside(spatial, windows) > 0).all())
    axes = zip(windows.size, windows.padding, windows.dilation, strict=True)
    return all((lo, hi) == (0, 0) or (d == 1 and less(lo, k) and less(hi, k)) for k, (lo, hi), d in axes)


def tiles(windows: Windows) -> bool:
    """Whether the windows lie side by side."""
    return windows.size == windows.strides and max(windows.dilation) == 1


def blocks(x: Array, size: Shape) -> tuple[Array, tuple[int, ...]]:
    """x as (batch, n₁/k₁, k₁, …, channels) without the rest that fills no window, and the axes k₁, …"""
    counts = [(n - k) // k + 1 for n, k in zip(x.shape[1:-1], size, strict=True)]  # in the form of `Windows.counts`
    x = x[(slice(None), *(slice(0, n * k) for n, k in zip(counts, size, strict=True)))]
    shape = [length for pair in zip(counts, size, strict=True) for length in pair]
    return x.reshape(x.shape[0], *shape, x.shape[-1]), tuple(2 + 2 * i for i in range(len(size)))


def counts_inside(spatial: Shape, windows: Windows) -> np.ndarray:
    """How many positions of each window are not padding: (*windows, 1)."""
    counts = np.ones((1,) * (len(spatial) + 1))
    axes = zip(spatial, windows.size, windows.strides, windows.padding, windows.dilation, strict=True)
    for axis, (n, k, s, (lo, hi), d) in enumerate(axes):
        inside = np.pad(np.ones(n), (max(lo, 0), max(hi, 0)))[max(-lo, 0) : n + lo + hi + max(-lo, 0)]
        starts = np.arange(0, n + lo + hi - d * (k - 1), s)
        here = inside[starts[:, None] + d * np.arange(k)].sum(1)
        counts = counts * np.expand_dims(here, [i for i in range(len(spatial) + 1) if i != axis])
    return counts
