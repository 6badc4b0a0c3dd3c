"""Convolutions of each channel by itself, and what is made of them."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks, random_bits
from fnn.kernels import convolution
from fnn.kernels.sliding_windows import Padding, PerAxis
from fnn.layer import Facts, Layer, constructor, stateless
from fnn.layers.conv import conv, convolution_layer
from fnn.typing import Array, Initializer, Key, PyTree

__all__ = ["depthwise_conv", "separable_conv"]


@constructor
def depthwise_conv(
    kernel_size: PerAxis,
    *,
    multiplier: int = 1,
    stride: PerAxis = 1,
    padding: Padding = "SAME",
    dilation: PerAxis = 1,
    use_bias: bool = True,
    flip: bool = False,
    kernel_init: Initializer | None = None,
    bias_init: Initializer | None = None,
) -> Layer:
    r"""Each channel convolved by itself, into `multiplier` features: `conv` with as many groups as channels.

    Parameters: `kernel` (*kernel_size, 1, channels · multiplier) and `bias` (channels · multiplier,).

    Args:
        multiplier: features per channel.
        kernel_size, stride, padding, dilation, use_bias, flip, kernel_init, bias_init: as for `conv`.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> params, state = fnn.depthwise_conv(3).init(jax.random.key(0), jnp.ones((8, 28, 28, 16)))
        >>> params["kernel"].shape
        (3, 3, 1, 16)
    """
    multiplier = checks.integer("depthwise_conv", "multiplier", multiplier)
    kernel = functools.partial(convolution.conv, stride=stride, padding=padding, dilation=dilation, flip=flip)

    def features(channels: int) -> int:
        return channels * multiplier

    return convolution_layer(
        "depthwise_conv", features, kernel_size, None, use_bias, kernel_init, bias_init, kernel, Facts(flipped=flip)
    )


@constructor
def separable_conv(
    features: int,
    kernel_size: PerAxis,
    *,
    multiplier: int = 1,
    stride: PerAxis = 1,
    padding: Padding = "SAME",
    dilation: PerAxis = 1,
    use_bias: bool = True,
    kernel_init: Initializer | None = None,
    bias_init: Initializer | None = None,
) -> Layer:
    r"""A depthwise convolution without bias, then a pointwise one: space first, channels second.

    Parameters: `depthwise` {`kernel`} and `pointwise` {`kernel`, `bias`}.

    Args:
        features, kernel_size, kernel_init, bias_init: as for `conv`.
        multiplier: features per channel between the two.
        stride, padding, dilation: of the depthwise convolution, as for `conv`.
        use_bias: whether the pointwise convolution adds a bias.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> params, state = fnn.separable_conv(32, 3).init(jax.random.key(0), jnp.ones((8, 28, 28, 16)))
        >>> params["depthwise"]["kernel"].shape, params["pointwise"]["kernel"].shape
        ((3, 3, 1, 16), (1, 1, 16, 32))

    References:
        Chollet, Xception: Deep Learning with Depthwise Separable Convolutions, 2017.
    """
    depthwise = depthwise_conv(
        kernel_size,
        multiplier=multiplier,
        stride=stride,
        padding=padding,
        dilation=dilation,
        use_bias=False,
        kernel_init=kernel_init,
    )
    pointwise = conv(features, 1, use_bias=use_bias, kernel_init=kernel_init, bias_init=bias_init)

    def init(key: Key, x: Any) -> PyTree:
        first_key, second_key = random_bits.split(key)
        first, _ = depthwise.init(first_key, x)
        middle = jax.eval_shape(lambda p: depthwise.apply(p, (), jnp.zeros(x.shape, x.dtype))[0], first)
        return {"depthwise": first, "pointwise": pointwise.init(second_key, middle)[0]}

    def apply(params: PyTree, x: Array) -> Array:
        y, _ = depthwise.apply(params["depthwise"], (), x)
        return pointwise.apply(params["pointwise"], (), y)[0]

    return stateless(init, apply, facts=Facts(convolves=True, linear=("pointwise",)))
