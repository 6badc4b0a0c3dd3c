"""Normalization by the size of the values themselves: local response normalization and p-norms. Nothing is learned."""

from __future__ import annotations

import functools
import math

import jax.numpy as jnp
from jax import lax

from fnn import checks
from fnn.kernels.normalization.standardization import magnitude
from fnn.precision import widen
from fnn.typing import Array, ArrayLike

__all__ = ["local_response_norm", "lp_normalize"]


def local_response_norm(
    x: Array, size: int = 5, *, alpha: ArrayLike = 1e-4, beta: ArrayLike = 0.75, bias: ArrayLike = 1.0
) -> Array:
    r"""Channels compete with their neighbours: $y_c = x_c / \left(k + \frac{α}{n} \sum_{c'} x_{c'}^2\right)^β$.

    The sum is over the n channels around c, from $c - \lfloor (n-1)/2 \rfloor$ on; beyond the ends there are zeros.

    Args:
        x: (batch, …, channels).
        size: n, at least 1.
        alpha, beta, bias: α and k, at least 0, and β.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.local_response_norm(jnp.array([[3.0, 4.0]]), 3, alpha=3.0, beta=0.5, bias=0.0).tolist()
        [[0.6000000238418579, 0.800000011920929]]

    References:
        Krizhevsky, Sutskever and Hinton, ImageNet classification with deep convolutional neural networks, 2012.
    """
    size = checks.integer("local_response_norm", "size", size)
    checks.in_range("local_response_norm", "alpha", alpha, 0)
    checks.in_range("local_response_norm", "beta", beta)
    checks.in_range("local_response_norm", "bias", bias, 0)
    checks.floating("local_response_norm", "x", x)
    wide = widen(x)
    before, channels = (size - 1) // 2, x.shape[-1]
    padded = jnp.pad(wide * wide, [(0, 0)] * (x.ndim - 1) + [(before, size - 1 - before)])
    total = functools.reduce(jnp.add, [padded[..., start : start + channels] for start in range(size)])
    alpha, beta, bias = (jnp.asarray(value, wide.dtype) for value in (alpha, beta, bias))
    return (wide / (bias + alpha / size * total) ** beta).astype(x.dtype)


def lp_normalize(x: Array, p: float = 2, *, axis: int = -1) -> Array:
    r"""To length 1 in the p-norm: $y = x / \left(\sum |x|^p\right)^{1/p}$ along an axis; a vector of zeros stays.

    Args:
        x: any shape.
        p: at least 1, finite.
        axis: along which the length is measured.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.lp_normalize(jnp.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    checks.in_range("lp_normalize", "p", p, 1, math.inf, open="high")
    checks.floating("lp_normalize", "x", x)
    wide = widen(x)
    # In units near the largest value, a power of two: squares of 1e30 are infinite in float32. Then in units of it: no
    # power of 1 overflows.
    axes = (checks.axis("lp_normalize", "axis", axis, x.ndim),)
    size = jnp.where((wide == 0).all(axes, keepdims=True), 1, magnitude(wide, 0, axes))
    unit = wide * (1 / size)
    largest = lax.stop_gradient(jnp.max(jnp.abs(unit), axes, keepdims=True, initial=0))
    unit = unit / jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    total = jnp.sum(jnp.abs(unit) ** p, axes, keepdims=True)
    return (unit / jnp.where(total == 0, 1, total) ** (1 / p)).astype(x.dtype)
