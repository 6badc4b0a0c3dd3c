"""Curves that level off, and their integrals: sigmoid and tanh, softplus and its kin."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.activations.pieces import clamped, floating, of_arrays
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

    Args:
        x: floating-point array.

    Example:
        >>> import fnn
        >>> fnn.sigmoid(0.0).tolist()
        0.5
    """
    # XLA's logistic keeps the relative accuracy of small values, which ½ tanh(½x) + ½ loses.
    return jax.lax.logistic(floating("sigmoid", x))


@of_arrays
def tanh(x: ArrayLike) -> Array:
    r"""$\tanh x = \frac{1 - e^{-2x}}{1 + e^{-2x}} = 2σ(2x) - 1$, with $\tanh' = 1 - \tanh^2$.

    Args:
        x: floating-point array.

    Example:
        >>> import fnn
        >>> fnn.tanh(0.0).tolist()
        0.0
    """
    return jnp.tanh(floating("tanh", x))


@of_arrays
def hard_sigmoid(x: ArrayLike) -> Array:
    r"""$f(x) = \mathrm{relu6}(x + 3)/6$.

    Args:
        x: floating-point array.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.hard_sigmoid(jnp.array([-4.0, 0.0, 4.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    return clamped(floating("hard_sigmoid", x) + 3, 0.0, 6.0) / 6


@of_arrays
def hard_tanh(x: ArrayLike) -> Array:
    r"""$f(x) = \min(\max(-1, x), 1)$, with $f' = 1$ for $-1 < x < 1$ and 0 elsewhere.

    Args:
        x: floating-point array.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.hard_tanh(jnp.array([-4.0, 0.5, 4.0])).tolist()
        [-1.0, 0.5, 1.0]
    """
    return clamped(floating("hard_tanh", x), -1.0, 1.0)


@of_arrays
def soft_sign(x: ArrayLike) -> Array:
    r"""$f(x) = \frac{x}{1 + |x|}$, with $f' = \frac{1}{(1 + |x|)^2}$.

    Args:
        x: floating-point array.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.soft_sign(jnp.array([-1.0, 0.0, jnp.inf])).tolist()
        [-0.5, 0.0, 1.0]

    References:
        Turian, Bergstra and Bengio, Quadratic features and deep architectures for chunking, 2009.
    """
    x = floating("soft_sign", x)
    return _soft_sign(x)


@jax.custom_jvp
def _soft_sign(x: Array) -> Array:
    return jnp.where(jnp.isinf(x), jnp.sign(x), x / (1 + jnp.abs(jnp.where(jnp.isinf(x), 0, x))))


@_soft_sign.defjvp
def _soft_sign_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # |x| has no second derivative of its own at 0; 1/(1 + |x|) squared has the right first one everywhere.
    (x,), (t,) = primals, tangents
    share = 1 / (1 + jnp.abs(x))
    return _soft_sign(x), share * share * t


softsign = soft_sign


@of_arrays
def softplus(x: ArrayLike, beta: ArrayLike = 1.0) -> Array:
    r"""$f(x) = \frac{1}{β}\log(1 + e^{βx})$, with $f' = σ(βx)$.

    Args:
        x: floating-point array.
        beta: $β$; the larger, the closer to relu.

    Example:
        >>> import fnn
        >>> round(float(fnn.softplus(0.0)), 4)
        0.6931

    References:
        Dugas et al., Incorporating second-order functional knowledge for better option pricing, 2001.
    """
    x = floating("softplus", x)
    beta = jnp.asarray(beta, x.dtype)
    return _softplus(beta * x) / beta


@jax.custom_jvp
def _softplus(x: Array) -> Array:
    return jnp.logaddexp(x, jnp.zeros((), x.dtype))


@_softplus.defjvp
def _softplus_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (t,) = primals, tangents
    return _softplus(x), jax.lax.logistic(x) * t


@of_arrays
def log_sigmoid(x: ArrayLike) -> Array:
    r"""$f(x) = \logσ(x) = -\log(1 + e^{-x})$, with $f' = σ(-x)$.

    Args:
        x: floating-point array.

    Example:
        >>> import fnn
        >>> fnn.log_sigmoid(-1e4).tolist()
        -10000.0
    """
    return -_softplus(-floating("log_sigmoid", x))


@of_arrays
def squareplus(x: ArrayLike, b: ArrayLike = 4.0) -> Array:
    r"""$f(x) = \frac{x + \sqrt{x^2 + b}}{2}$, an algebraic softplus.

    Args:
        x: floating-point array.
        b: how wide the bend is, at least 0.

    Example:
        >>> import fnn
        >>> fnn.squareplus(0.0).tolist()
        1.0

    References:
        Barron, Squareplus: a softplus-like algebraic rectifier, 2021.
    """
    x = floating("squareplus", x)
    checks.in_range("squareplus", "b", b, 0)
    b = jnp.asarray(b, x.dtype)
    # Through hypot, whose square cannot overflow; for x < 0 by the conjugate, which does not cancel.
    finite = jnp.where(jnp.isinf(x), 0, x)
    root, positive = jnp.hypot(finite, jnp.sqrt(b)), finite >= 0
    up = (jnp.where(positive, finite, 0) + root) / 2
    down = b / (2 * (jnp.where(positive, 0, -finite) + jnp.where(positive, 1, root)))
    return jnp.where(jnp.isinf(x), jnp.maximum(x, 0), jnp.where(positive, up, down))
