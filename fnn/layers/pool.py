"""Pooling layers. A stride not given is the window."""

from __future__ import annotations

import functools

from fnn.kernels import pooling
from fnn.kernels.sliding_windows import Padding, PerAxis
from fnn.layer import Layer, as_layer, constructor

__all__ = [
    "adaptive_avg_pool", "adaptive_max_pool", "avg_pool", "global_avg_pool", "global_max_pool", "lp_pool", "max_pool",
]  # fmt: skip


@constructor
def max_pool(
    window: PerAxis, stride: PerAxis | None = None, padding: Padding = "VALID", *, dilation: PerAxis = 1
) -> Layer:
    r"""The largest value in each window: $y[o] = \max_t x[o s + t d - p]$, where padding counts as $-\infty$.

    The gradient goes to the largest value; equal ones share it evenly. A NaN counts as the largest, as in torch.

    Args:
        window: $t$, positions in the window, an int or one per spatial axis.
        stride: $s$, step between windows; None is the window.
        padding: "VALID", "SAME", an int, or an int or pair (low, high) per spatial axis.
        dilation: $d$, distance between the positions of a window.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> fnn.max_pool(2).apply((), (), jnp.ones((8, 28, 28, 3)))[0].shape
        (8, 14, 14, 3)
    """
    return as_layer(
        functools.partial(pooling.max_pool, window=window, stride=stride, padding=padding, dilation=dilation)
    )


@constructor
def avg_pool(
    window: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = "VALID",
    *,
    dilation: PerAxis = 1,
    count_include_pad: bool = True,
) -> Layer:
    r"""The mean of each window: $y[o] = \frac1{|t|} \sum_t x[o s + t d - p]$.

    Args:
        window, stride, padding, dilation: as for `fnn.max_pool`.
        count_include_pad: whether padding counts as zeros; else the mean is over what is not padding.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> fnn.avg_pool(2).apply((), (), jnp.ones((8, 28, 28, 3)))[0].shape
        (8, 14, 14, 3)
    """
    pool = functools.partial(pooling.avg_pool, count_include_pad=count_include_pad)
    return as_layer(functools.partial(pool, window=window, stride=stride, padding=padding, dilation=dilation))


@constructor
def lp_pool(
    window: PerAxis,
    p: float = 2,
    stride: PerAxis | None = None,
    padding: Padding = "VALID",
    *,
    dilation: PerAxis = 1,
) -> Layer:
    r"""The p-norm of each window: $y[o] = \left(\sum_t |x[o s + t d - p]|^p\right)^{1/p}$.

    p = 1 is the sum of absolute values, and large p comes near the maximum. The gradient of a window of zeros is 0.

    Args:
        p: order of the norm, a number of at least 1.
        window, stride, padding, dilation: as for `fnn.max_pool`.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> fnn.lp_pool(2).apply((), (), jnp.ones((8, 28, 28, 3)))[0].shape
        (8, 14, 14, 3)
    """
    return as_layer(
        functools.partial(pooling.lp_pool, window=window, p=p, stride=stride, padding=padding, dilation=dilation)
    )


@constructor
def global_avg_pool() -> Layer:
    """The mean over all spatial axes: (batch, *spatial, channels) to (batch, channels).

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> fnn.global_avg_pool().apply((), (), jnp.ones((8, 28, 28, 3)))[0].shape
        (8, 3)
    """
    return as_layer(pooling.global_avg_pool)


@constructor
def global_max_pool() -> Layer:
    """The largest value over all spatial axes: (batch, *spatial, channels) to (batch, channels).

    Equal maxima share the gradient evenly; a NaN counts as the largest.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> fnn.global_max_pool().apply((), (), jnp.ones((8, 28, 28, 3)))[0].shape
        (8, 3)
    """
    return as_layer(pooling.global_max_pool)


@constructor
def adaptive_avg_pool(output_size: PerAxis) -> Layer:
    r"""Means over as many windows as asked for, whatever the size of the input.

    Args:
        output_size: $m$, an int or one per spatial axis; window $o$ has the inputs
            $\lfloor o n / m \rfloor … \lceil (o + 1) n / m \rceil - 1$.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> fnn.adaptive_avg_pool(4).apply((), (), jnp.ones((8, 30, 18, 3)))[0].shape
        (8, 4, 4, 3)
    """
    return as_layer(functools.partial(pooling.adaptive_avg_pool, output_size=output_size))


@constructor
def adaptive_max_pool(output_size: PerAxis) -> Layer:
    """The largest values of as many windows as asked for, whatever the size of the input.

    Equal maxima share the gradient evenly; a NaN counts as the largest.

    Args:
        output_size: an int or one per spatial axis; the windows are those of `fnn.adaptive_avg_pool`.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> fnn.adaptive_max_pool(4).apply((), (), jnp.ones((8, 30, 18, 3)))[0].shape
        (8, 4, 4, 3)
    """
    return as_layer(functools.partial(pooling.adaptive_max_pool, output_size=output_size))
