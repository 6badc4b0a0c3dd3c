"""Convolutions of any rank, channels last, fast alone and inside a loop, with every derivative."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from fnn import checks
from fnn.kernels.convolution.phases import transpose_kernel
from fnn.kernels.convolution.products import products
from fnn.kernels.mesh_axes import auto_axes, rows_and_features
from fnn.kernels.sizes import is_static, less
from fnn.kernels.sliding_windows import Padding, PerAxis, Windows, pads, per_axis, require_fit
from fnn.typing import Array, Shape

__all__ = ["conv", "conv_transpose"]

_WRAPPED = {"CIRCULAR": "wrap", "REFLECT": "reflect"}


def conv(
    x: Array,
    kernel: Array,
    *,
    stride: PerAxis = 1,
    padding: Padding = "SAME",
    dilation: PerAxis = 1,
    input_dilation: PerAxis = 1,
    groups: int = 1,
    flip: bool = False,
) -> Array:
    """The convolution of the layer `fnn.conv`, which has the formula, by a given kernel and without a bias.

    Args:
        x: $x$, (batch, *spatial, channels) with 1, 2 or 3 spatial axes, or more.
        kernel: $w$, (*window, channels / groups, features).
        stride, padding, dilation, input_dilation, groups, flip: as for `fnn.conv`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> x, kernel = jnp.arange(4.0).reshape(1, 4, 1), jnp.array([1.0, 0.0, -1.0]).reshape(3, 1, 1)
        >>> fnn.kernels.conv(x, kernel, padding="VALID").ravel().tolist()
        [-2.0, -2.0]
    """
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    rank = _check("conv", x, kernel, groups)
    size = kernel.shape[:-2]
    strides, dilations = per_axis("conv", "stride", stride, rank), per_axis("conv", "dilation", dilation, rank)
    x = _spread(x, per_axis("conv", "input_dilation", input_dilation, rank))
    x, padding = _explicit("conv", x, padding, size, dilations)
    windows = Windows(size, strides, pads("conv", padding, x.shape[1:-1], size, strides, dilations), dilations)
    windows = require_fit("conv", windows, x)
    split = rows_and_features("conv", x, kernel)
    return auto_axes(lambda x, kernel: _conv(x, kernel, windows, groups, flip), split)(x, kernel)


@functools.partial(jax.jit, static_argnames=("windows", "groups", "flip"))
def _conv(x: Array, kernel: Array, windows: Windows, groups: int, flip: bool) -> Array:
    kernel = jnp.flip(kernel, range(kernel.ndim - 2)) if flip else kernel
    return products().convolve(x, kernel, windows=windows, groups=groups)


def conv_transpose(
    x: Array, kernel: Array, *, stride: PerAxis = 1, padding: Padding = "SAME", dilation: PerAxis = 1, groups: int = 1
) -> Array:
    """The transposed convolution of the layer `fnn.conv_transpose`, by a given kernel and without a bias.

    Args:
        x: $x$, (batch, *spatial, channels).
        kernel: $w$, (*window, channels / groups, features).
        stride, padding, dilation, groups: as for `fnn.conv_transpose`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> x, kernel = jnp.array([1.0, 10.0]).reshape(1, 2, 1), jnp.array([1.0, 2.0, 3.0]).reshape(3, 1, 1)
        >>> fnn.kernels.conv_transpose(x, kernel, stride=2, padding="VALID").ravel().tolist()
        [1.0, 2.0, 13.0, 20.0, 30.0]
    """
    where = "conv_transpose"
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    rank = _check(where, x, kernel, groups)
    size = kernel.shape[:-2]
    strides, dilations = per_axis(where, "stride", stride, rank), per_axis(where, "dilation", dilation, rank)
    full = [(n - 1) * s + d * (k - 1) + 1 for n, k, s, d in zip(x.shape[1:-1], size, strides, dilations, strict=True)]
    if isinstance(padding, str) and padding.upper() == "SAME":
        # conv("SAME") over the output pads nothing where the window is smaller than the stride: zeros follow then.
        cut = [a - n * s for a, n, s in zip(full, x.shape[1:-1], strides, strict=True)]
        padding = [(max(c, 0) // 2, c - max(c, 0) // 2) for c in cut]
    lows_highs = pads(where, padding, full, size, strides, dilations)
    spatial = tuple(a - lo - hi for a, (lo, hi) in zip(full, lows_highs, strict=True))
    if any(less(a, 1) for a in spatial):
        raise ValueError(f"{where}: expected padding to leave an output, got {padding} of an output of {tuple(full)}")
    windows = Windows(size, strides, lows_highs, dilations)
    split = rows_and_features(where, x, kernel)
    return auto_axes(lambda x, kernel: _conv_transpose(x, kernel, windows, groups, spatial), split)(x, kernel)


@functools.partial(jax.jit, static_argnames=("windows", "groups", "spatial"))
def _conv_transpose(x: Array, kernel: Array, windows: Windows, groups: int, spatial: Shape) -> Array:
    # conv's kernel from the output back to x has (features / groups, channels) last.
    kernel = transpose_kernel(kernel, groups)
    return products().input_gradient(x, kernel, windows=windows, groups=groups, spatial=spatial)


def _check(where: str, x: Any, kernel: Any, groups: int) -> int:
    """Check ranks, channels, features and dtypes; the number of spatial axes."""
    checks.floating(where, "x", x)
    checks.floating(where, "kernel", kernel)
    checks.integer(where, "groups", groups)
    if kernel.ndim < 3 or x.ndim != kernel.ndim:
        raise ValueError(
            f"{where}: expected x of shape (batch, *spatial, channels) and a kernel of shape "
            f"(*window, channels / groups, features), of equal rank, got {checks.describe(x)} and "
            f"{checks.describe(kernel)}; {checks.ONE_EXAMPLE}"
        )
    if 0 in kernel.shape:
        raise ValueError(f"{where}: expected a kernel without empty axes, got {checks.describe(kernel)}")
    if x.dtype != kernel.dtype:
        raise TypeError(f"{where}: expected a kernel of dtype {x.dtype} as x, got {kernel.dtype}")
    channels = kernel.shape[-2] * groups
    if x.shape[-1] != channels:
        hint = f"; {checks.CHANNELS_LAST}" if x.shape[1] == channels else ""
        raise ValueError(
            f"{where}: expected {channels} channels, the last axis of x ({kernel.shape[-2]} in the kernel times "
            f"groups={groups}), got {x.shape[-1]} in {checks.describe(x)}{hint}"
        )
    checks.divisible(where, "features", kernel.shape[-1], groups)
    return x.ndim - 2


def _spread(x: Array, between: tuple[int, ...]) -> Array:
    """`x` with between - 1 zeros after each input but the last."""
    if all(b == 1 for b in between):
        return x
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((0, 0, b - 1) for b in between), (0, 0, 0)])


def _explicit(where: str, x: Array, padding: Padding, size: Shape, dilation: Shape) -> tuple[Array, Padding]:
    """`x` padded where the padding is not zeros, and what padding remains."""
    if not isinstance(padding, str):
        return x, padding
    padding = padding.upper()
    checks.one_of(where, "padding", padding, ("SAME", "VALID", "CAUSAL", *_WRAPPED))
    reach = [d * (k - 1) for k, d in zip(size, dilation, strict=True)]
    if padding == "CAUSAL":
        if len(size) > 1:
            raise ValueError(f"{where}: CAUSAL padding is for one spatial axis (time), got {checks.describe(x)}")
        return x, [(reach[0], 0)]
    if padding in _WRAPPED:
        for axis, r in enumerate(reach, 1):
            x = _pad_axis(x, axis, r // 2, r - r // 2, _WRAPPED[padding])
        return x, "VALID"
    return x, padding


def _pad_axis(x: Array, axis: int, low: int, high: int, mode: str) -> Array:
    """One axis padded from the other end ("wrap") or by its mirror image ("reflect")."""
    n = x.shape[axis]
    if is_static(n):
        widths = [(0, 0)] * x.ndim
        widths[axis] = (low, high)
        return jnp.pad(x, widths, mode)
    part = functools.partial(lax.slice_in_dim, x, axis=axis)  # longer than its padding, or the slice is an error
    if mode == "wrap":
        before, after = part(n - low, n), part(0, high)
    else:
        before, after = jnp.flip(part(1, low + 1), axis), jnp.flip(part(n - 1 - high, n - 1), axis)
    return jnp.concatenate([before, x, after], axis)
