"""The three products of a convolution as XLA has them: what every platform but a CPU computes, by plain autodiff."""

from __future__ import annotations

import jax
from jax import lax

from fnn.kernels.sizes import is_static
from fnn.kernels.sliding_windows import Windows, pad
from fnn.typing import Array, Shape


def convolve(x: Array, w: Array, windows: Windows, groups: int = 1) -> Array:
    """Cross-correlation of x (N, *spatial, C) with w (*window, C/groups, F): (N, *windows, F)."""
    if not is_static(*x.shape[1:-1]):
        x, windows = _fit_to_windows(x, windows)
    spatial = "TDHW"[-len(windows.size) :]
    return lax.conv_general_dilated(
        x,
        w,
        windows.strides,
        windows.padding,
        rhs_dilation=windows.dilation,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=groups,
    )


def _fit_to_windows(x: Array, windows: Windows) -> tuple[Array, Windows]:
    """Of any size: padded and cut to what the windows see, because jax's convolution pads by numbers only."""
    counts = windows.counts(x.shape[1:-1])
    axes = zip(x.shape[1:-1], counts, *windows, strict=True)
    seen = tuple((lo, (c - 1) * s + d * (k - 1) + 1 - n - lo) for n, c, k, s, (lo, _), d in axes)
    return pad(x, seen), windows.unpadded


def input_gradient(g: Array, w: Array, windows: Windows, groups: int, spatial: Shape) -> Array:
    """What `convolve` sends back to x: g (N, *windows, F) and w (*window, C/groups, F) to (N, *spatial, C)."""
    x = jax.ShapeDtypeStruct((g.shape[0], *spatial, w.shape[-2] * groups), g.dtype)
    return jax.linear_transpose(lambda x: convolve(x, w, windows, groups), x)(g)[0]


def kernel_gradient(x: Array, g: Array, windows: Windows, groups: int) -> Array:
    """What `convolve` sends back to w: x (N, *spatial, C) and g (N, *windows, F) to (*window, C/groups, F)."""
    w = jax.ShapeDtypeStruct((*windows.size, x.shape[-1] // groups, g.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda w: convolve(x, w, windows, groups), w)(g)[0]
