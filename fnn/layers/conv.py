"""Convolution layers. The number of spatial axes comes from the data; channels are the last axis."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from fnn import checks, initializers, random_bits
from fnn.kernels import convolution
from fnn.kernels.broadcasting import add_bias
from fnn.kernels.sliding_windows import Padding, PerAxis, per_axis
from fnn.layer import Facts, Layer, constructor, stateless
from fnn.typing import Array, Initializer, Key, PyTree

__all__ = ["conv", "conv_transpose"]


def _channels(where: str, x: Any, groups: int) -> int:
    checks.floating(where, "x", x)
    one_channel = "write x[..., None] if it has one channel and none is there"
    checks.least_rank(where, "x", x, 3, "(batch, *spatial, channels)", one_channel)
    repair = checks.CHANNELS_LAST if x.shape[1] % groups == 0 else ""
    checks.divisible(where, "channels, the last axis,", x.shape[-1], groups, f" in {checks.describe(x)}", repair)
    return x.shape[-1]


def convolution_layer(
    where: str,
    features: int | Callable[[int], int],
    kernel_size: PerAxis,
    groups: int | None,
    use_bias: bool,
    kernel_init: Initializer | None,
    bias_init: Initializer | None,
    convolve: Callable[..., Array],
    facts: Facts,
) -> Layer:
    """A layer with the parameters of a convolution, the rest said to its kernel; `groups` None: one per channel."""
    if groups is not None or not callable(features):
        features = checks.integer(where, "features", features)
        groups = checks.integer(where, "groups", groups)
        checks.divisible(where, "features", features, groups)
    kernel_init = initializers.lecun_normal() if kernel_init is None else kernel_init
    bias_init = initializers.zeros if bias_init is None else bias_init

    def init(key: Key, x: Any) -> PyTree:
        kernel_key, bias_key = random_bits.split(key)
        channels, dtype = _channels(where, x, groups or 1), jnp.result_type(x)
        if checks.looks_channels_first(x.shape):
            checks.warn(
                f"{where}: channels are the last axis, but come first in {checks.describe(x)} as it seems; "
                f"{checks.CHANNELS_LAST}",
                UserWarning,
            )
        size = per_axis(where, "kernel_size", kernel_size, len(x.shape) - 2)
        outputs = features if isinstance(features, int) else features(channels)
        shape = (*size, channels // (groups or channels), outputs)
        params = {"kernel": kernel_init(kernel_key, shape, dtype)}
        return params | {"bias": bias_init(bias_key, (outputs,), dtype)} if use_bias else params

    def apply(params: PyTree, x: Array) -> Array:
        x = jnp.asarray(x)
        channels = _channels(where, x, groups or 1)
        y = convolve(x, params["kernel"].astype(x.dtype), groups=groups or channels)
        return add_bias(y, params["bias"]) if use_bias else y

    return stateless(init, apply, facts=facts._replace(convolves=True, linear=()))


@constructor
def conv(
    features: int,
    kernel_size: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = "SAME",
    dilation: PerAxis = 1,
    input_dilation: PerAxis = 1,
    groups: int = 1,
    use_bias: bool = True,
    flip: bool = False,
    kernel_init: Initializer | None = None,
    bias_init: Initializer | None = None,
) -> Layer:
    r"""Convolution: $y[n, o, f] = b_f + \sum_{t, c} x[n, o s + t d - p, c]\; w[t, c, f]$.

    As everywhere in deep learning this is a cross-correlation, $t$ the positions of the window; `flip=True` gives the
    convolution of mathematics, $w[-t]$ in the place of $w[t]$.

    Parameters: `kernel` $w$ (*kernel_size, channels / groups, features) and `bias` $b$ (features,).

    Args:
        features: number of output channels.
        kernel_size: positions in the window, an int for every spatial axis or one per axis.
        stride: $s$, an int or one per spatial axis.
        padding: "SAME" (⌈n / s⌉ outputs), "VALID" (none), "CIRCULAR" or "REFLECT" (the amount of "SAME" at stride
            1, filled from the other end or mirrored), "CAUSAL" (one spatial axis: all before the first), an int,
            or an int or pair (low, high) per spatial axis.
        dilation: $d$, distance between the positions of the window.
        input_dilation: distance between the inputs; zeros stand between them.
        groups: into how many independent parts channels and features are cut, a divisor of both.
        use_bias: whether $b$ is added.
        flip: whether the kernel is reversed along every spatial axis.
        kernel_init: `initializers.lecun_normal()` unless given: variance 1 / (positions · channels / groups).
        bias_init: `initializers.zeros` unless given.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer = fnn.conv(16, 3, stride=2)
        >>> params, state = layer.init(jax.random.key(0), jnp.ones((8, 28, 28, 1)))
        >>> layer.apply(params, state, jnp.ones((8, 28, 28, 1)))[0].shape, params["kernel"].shape
        ((8, 14, 14, 16), (3, 3, 1, 16))

    References:
        LeCun et al., Gradient-based learning applied to document recognition, 1998.
    """
    kernel = functools.partial(
        convolution.conv, stride=stride, padding=padding, dilation=dilation, input_dilation=input_dilation, flip=flip
    )
    return convolution_layer(
        "conv", features, kernel_size, groups, use_bias, kernel_init, bias_init, kernel, Facts(flipped=flip)
    )


@constructor
def conv_transpose(
    features: int,
    kernel_size: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = "SAME",
    dilation: PerAxis = 1,
    groups: int = 1,
    use_bias: bool = True,
    kernel_init: Initializer | None = None,
    bias_init: Initializer | None = None,
) -> Layer:
    r"""Transposed convolution, a learned upsampling: $y[n, o s + t d - p, f] \mathrel{+}= x[n, o, c]\; w[t, c, f]$.

    Every input paints the kernel: the linear map transposed to that of `conv` with the same stride, padding and
    dilation, as in torch and Keras. `jax.lax.conv_transpose` has the kernel reversed.

    Parameters: `kernel` $w$ (*kernel_size, channels / groups, features) and `bias` $b$ (features,).

    Args:
        features, kernel_size, dilation, groups, use_bias, kernel_init, bias_init: as for `conv`.
        stride: $s$: the output is about $s$ times as large.
        padding: "SAME" ($n s$ outputs), "VALID" ($(n - 1) s + d (k - 1) + 1$ outputs), or how many of these an int,
            or an int or pair (low, high) per spatial axis, cuts off; negative numbers add zeros (torch's
            `output_padding` q with padding p is `(p, p - q)`).

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer = fnn.conv_transpose(3, 4, stride=2)
        >>> params, state = layer.init(jax.random.key(0), jnp.ones((8, 7, 7, 16)))
        >>> layer.apply(params, state, jnp.ones((8, 7, 7, 16)))[0].shape
        (8, 14, 14, 3)

    References:
        Dumoulin and Visin, A guide to convolution arithmetic for deep learning, 2016.
    """
    where = "conv_transpose"
    kernel = functools.partial(convolution.conv_transpose, stride=stride, padding=padding, dilation=dilation)
    return convolution_layer(
        where, features, kernel_size, groups, use_bias, kernel_init, bias_init, kernel, Facts(transposed=True)
    )
