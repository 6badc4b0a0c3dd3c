"""Curves that level off, and their integrals: sigmoid and tanh, softplus and its kin."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.activations.pieces import as_floating, clamp, of_arrays, parameter, require_finite, times, with_slopes
from fnn.typing import Array, ArrayLike

__all__ = [
    "hard_sigmoid",
    "hard_tanh",
    "log_sigmoid",
    "sigmoid",
    "soft_sign",
    "softplus",
    "softsign",
    "squareplus",
    "tanh",
]


@of_arrays
def sigmoid(x: ArrayLike) -> Array:
    r"""$σ(x) = \frac{1}{1 + e^{-x}}$, with $σ' = σ(1 - σ)$, at most 0.25.

    Example:
        >>> import fnn
        >>> fnn.sigmoid(0.0).tolist()
        0.5
    """
    return logistic(as_floating("sigmoid", x))


# XLA's logistic keeps the relative accuracy of small values, which ½ tanh(½x) + ½ loses.
logistic: Callable[[Array], Array] = with_slopes(jax.lax.logistic, lambda x: logistic(x) * logistic(-x))


@of_arrays
def tanh(x: ArrayLike) -> Array:
    r"""$\tanh x = \frac{1 - e^{-2x}}{1 + e^{-2x}} = 2σ(2x) - 1$, with $\tanh' = 1 - \tanh^2$.

    Example:
        >>> import fnn
        >>> fnn.tanh(0.0).tolist()
        0.0
    """
    return tangent(as_floating("tanh", x))


def tangent_slope(x: Array) -> Array:
    """1 - tanh², without the difference."""
    return 4 * (logistic(2 * x) * logistic(-2 * x))


tangent = with_slopes(jnp.tanh, tangent_slope)


@of_arrays
def hard_sigmoid(x: ArrayLike, *, slope: ArrayLike | None = None) -> Array:
    r"""$f(x) = \mathrm{relu6}(x + 3)/6$, or with a slope $s$ $f(x) = \min(\max(s x + ½, 0), 1)$.

    Args:
        x: floating-point array.
        slope: $s$, finite; by default 1/6, as in PyTorch; 0.2 as in older Keras and ONNX.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.hard_sigmoid(jnp.array([-4.0, 0.0, 4.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    x = as_floating("hard_sigmoid", x)
    if slope is None:
        return _hard_sigmoid(x)
    require_finite("hard_sigmoid", "slope", slope)
    return _unit_clamped(times(x, jnp.asarray(slope, x.dtype)) + jnp.asarray(0.5, x.dtype))


_unit_clamped = clamp(0.0, 1.0)


def hard_gate(x: Array) -> Array:
    return jnp.clip(x + 3, 0, 6) / 6


def hard_slope(x: Array) -> Array:
    return jnp.where(jnp.abs(x) < 3, jnp.full_like(x, 1 / 6), 0)


_hard_sigmoid = with_slopes(hard_gate, hard_slope)


@of_arrays
def hard_tanh(x: ArrayLike) -> Array:
    r"""$f(x) = \min(\max(-1, x), 1)$, with $f' = 1$ for $-1 < x < 1$ and 0 elsewhere.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.hard_tanh(jnp.array([-4.0, 0.5, 4.0])).tolist()
        [-1.0, 0.5, 1.0]
    """
    return _hard_tanh(as_floating("hard_tanh", x))


_hard_tanh = clamp(-1.0, 1.0)


@of_arrays
def soft_sign(x: ArrayLike) -> Array:
    r"""$f(x) = \frac{x}{1 + |x|}$, with $f' = \frac{1}{(1 + |x|)^2}$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.soft_sign(jnp.array([-1.0, 0.0, jnp.inf])).tolist()
        [-0.5, 0.0, 1.0]

    References:
        Turian, Bergstra and Bengio, Quadratic features and deep architectures for chunking, 2009.
    """
    return _soft_sign(as_floating("soft_sign", x))


_soft_sign = with_slopes(
    lambda x: jnp.where(jnp.isinf(x), jnp.sign(x), x / (1 + jnp.abs(jnp.where(jnp.isinf(x), 0, x)))),
    lambda x: jnp.square(1 / (1 + jnp.abs(x))),
)


softsign = soft_sign


@of_arrays
def softplus(x: ArrayLike, beta: ArrayLike = 1.0) -> Array:
    r"""$f(x) = \frac{1}{β}\log(1 + e^{βx})$, with $f' = σ(βx)$.

    Args:
        x: floating-point array.
        beta: $β$, not 0; the larger, the closer to relu.

    Example:
        >>> import fnn
        >>> round(float(fnn.softplus(0.0)), 4)
        0.6931

    References:
        Dugas et al., Incorporating second-order functional knowledge for better option pricing, 2001.
    """
    x = as_floating("softplus", x)
    require_finite("softplus", "beta", beta, zero=False)
    return bend(x, parameter(beta, x))


def _bend(x: Array, beta: Array) -> Array:
    z = beta * x
    return jnp.where(z > 0, x, 0) + jnp.log1p(jnp.exp(-jnp.abs(z))) / beta


def _bend_in_beta(x: Array, beta: Array) -> Array:
    z = beta * x
    tail = jnp.log1p(jnp.exp(-jnp.abs(z))) / beta
    # At 0 from above, as the slope of |z| is there: from two sides the terms would not cancel.
    return -(times(jnp.where(z >= 0, x, -x), logistic(-jnp.abs(z))) + tail) / beta


bend = with_slopes(_bend, lambda x, beta: logistic(beta * x), _bend_in_beta)


@of_arrays
def log_sigmoid(x: ArrayLike) -> Array:
    r"""$f(x) = \logσ(x) = -\log(1 + e^{-x})$, with $f' = σ(-x)$.

    Example:
        >>> import fnn
        >>> fnn.log_sigmoid(-1e4).tolist()
        -10000.0
    """
    x = as_floating("log_sigmoid", x)
    return -bend(-x, parameter(1, x))


@of_arrays
def squareplus(x: ArrayLike, b: ArrayLike = 4.0) -> Array:
    r"""$f(x) = \frac{x + \sqrt{x^2 + b}}{2}$, an algebraic softplus.

    Args:
        x: floating-point array.
        b: how wide the bend is, at least 0, finite.

    Example:
        >>> import fnn
        >>> fnn.squareplus(0.0).tolist()
        1.0

    References:
        Barron, Squareplus: a softplus-like algebraic rectifier, 2021.
    """
    x = as_floating("squareplus", x)
    checks.in_range("squareplus", "b", b, 0, math.inf, open="high")
    return _squareplus(x, parameter(b, x))


def _roots(x: Array, b: Array) -> tuple[Array, Array, Array]:
    """|x|, √(x² + b) through hypot, whose square cannot overflow, and half of their sum, which might."""
    size = jnp.where(jnp.isinf(x), jnp.finfo(x.dtype).max, jnp.abs(x))
    root = jnp.hypot(size, jnp.sqrt(b))
    return size, root, size / 2 + root / 2


def _squareplus_value(x: Array, b: Array) -> Array:
    # For x < 0 by the conjugate, which does not cancel.
    _, _, half = _roots(x, b)
    return jnp.where(jnp.isinf(x), jnp.maximum(x, 0), jnp.where(x >= 0, half, b / 4 / jnp.where(half == 0, 1, half)))


def _squareplus_slope(x: Array, b: Array) -> Array:
    size, root, half = _roots(x, b)
    zero = root == 0
    root, half = jnp.where(zero, 1, root), jnp.where(zero, 1, half)
    return jnp.where(x >= 0, 0.5 + size / root / 2, b / root / half / 4)


_squareplus = with_slopes(_squareplus_value, _squareplus_slope, lambda x, b: 1 / (4 * _roots(x, b)[1]))
