"""Rectifiers: the positive part as it is, the negative part bent down."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.activations.pieces import (
    as_floating,
    clamp,
    of_arrays,
    parameter,
    require_finite,
    require_order,
    times,
    with_slopes,
)
from fnn.typing import Array, ArrayLike, Key

__all__ = ["celu", "elu", "leaky_relu", "prelu", "relu", "relu6", "rrelu", "selu"]


@jax.custom_jvp
def _relu(x: Array) -> Array:
    return jnp.maximum(x, 0)


@_relu.defjvp
def _relu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # maximum's own derivative at 0 is ½.
    (x,), (t,) = primals, tangents
    return _relu(x), jnp.where(x > 0, t, 0)


@of_arrays
def relu(x: ArrayLike) -> Array:
    r"""$f(x) = \max(0, x)$, with $f' = 0$ for $x \le 0$ and 1 for $x > 0$.

    Args:
        x: any real array; integers stay integers.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> fnn.relu(jnp.array([-1.0, 2.0])).tolist(), jax.grad(fnn.relu)(0.0).tolist()
        ([0.0, 2.0], 0.0)

    References:
        Nair and Hinton, Rectified linear units improve restricted Boltzmann machines, 2010.
    """
    x = jnp.asarray(x)
    checks.real("relu", "x", x)
    return _relu(x)


@of_arrays
def relu6(x: ArrayLike) -> Array:
    r"""$f(x) = \min(\max(0, x), 6)$, with $f' = 1$ for $0 < x < 6$ and 0 elsewhere.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.relu6(jnp.array([-1.0, 2.0, 7.0])).tolist()
        [0.0, 2.0, 6.0]
    """
    return _relu6(as_floating("relu6", x))


_relu6 = clamp(0.0, 6.0)


def _bent(x: Array, slope: Array) -> Array:
    """x, and slope·x where it is not above 0. Only there has the slope a derivative, also beside infinite values."""
    return jnp.where(x > 0, x, times(jnp.where(x > 0, 0, x).astype(slope.dtype), slope).astype(x.dtype))


@of_arrays
def leaky_relu(x: ArrayLike, negative_slope: ArrayLike = 0.01) -> Array:
    r"""$f(x) = x$ for $x > 0$, $αx$ for $x \le 0$, with $f' = 1$ or $α$.

    Args:
        x: floating-point array.
        negative_slope: $α$, finite.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.leaky_relu(jnp.array([-1.0, 2.0]), 0.5).tolist()
        [-0.5, 2.0]

    References:
        Maas, Hannun and Ng, Rectifier nonlinearities improve neural network acoustic models, 2013.
    """
    x = as_floating("leaky_relu", x)
    require_finite("leaky_relu", "negative_slope", negative_slope)
    return _bent(x, parameter(negative_slope, x))


@of_arrays
def prelu(x: ArrayLike, alpha: ArrayLike) -> Array:
    r"""$f(x) = x$ for $x > 0$, $αx$ for $x \le 0$, with a learned $α$; `fnn.prelu()` is the layer that learns it.

    Args:
        x: floating-point array.
        alpha: a scalar, one value per channel (last axis), or anything that broadcasts to x.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.activations.prelu(jnp.array([[-1.0, -1.0]]), jnp.array([0.25, 0.5])).tolist()
        [[-0.25, -0.5]]

    References:
        He et al., Delving deep into rectifiers, 2015.
    """
    x, alpha = as_floating("prelu", x), as_floating("prelu", alpha, "alpha")
    trailing = zip(alpha.shape[::-1], x.shape[::-1], strict=False)
    if alpha.ndim > x.ndim or any(own not in (1, size) for own, size in trailing):
        raise ValueError(
            f"prelu: expected alpha to be a scalar or one value per channel of {x.shape}, got {alpha.shape}"
        )
    alpha = jax.lax.expand_dims(parameter(alpha, x), range(x.ndim - alpha.ndim))
    return _bent(x, alpha)


def require_slopes(lower: ArrayLike, upper: ArrayLike) -> None:
    require_finite("rrelu", "lower", lower)
    require_finite("rrelu", "upper", upper)
    require_order("rrelu", lower, upper)


@of_arrays
def rrelu(
    x: ArrayLike, key: Key | None = None, lower: ArrayLike = 1 / 8, upper: ArrayLike = 1 / 3, *, train: bool = False
) -> Array:
    r"""$f(x) = x$ for $x > 0$, $αx$ for $x \le 0$; $α \sim U(l, u)$ per element in training, $\frac{l+u}{2}$ otherwise.

    Args:
        x: floating-point array.
        key: random key, needed in training.
        lower, upper: $l$ and $u$.
        train: draw the slopes.

    Example:
        >>> import fnn
        >>> fnn.activations.rrelu(-48.0).tolist()
        -11.0

    References:
        Xu et al., Empirical evaluation of rectified activations in convolutional network, 2015.
    """
    x = as_floating("rrelu", x)
    require_slopes(lower, upper)
    low, high = jnp.asarray(lower, x.dtype), jnp.asarray(upper, x.dtype)
    slope = (low + high) / 2
    if train:
        key = checks.require_key("rrelu", key, "training")
        slope = low + (high - low) * jax.random.uniform(key, (x.size,), x.dtype).reshape(x.shape)
    return _bent(x, slope)


@of_arrays
def elu(x: ArrayLike, alpha: ArrayLike = 1.0) -> Array:
    r"""$f(x) = x$ for $x > 0$, $α(e^x - 1)$ for $x \le 0$, with $f' = 1$ or $αe^x$.

    Args:
        x: floating-point array.
        alpha: $α$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.elu(jnp.array([-100.0, 2.0])).tolist()
        [-1.0, 2.0]

    References:
        Clevert, Unterthiner and Hochreiter, Fast and accurate deep network learning by ELUs, 2016.
    """
    x = as_floating("elu", x)
    require_finite("elu", "alpha", alpha)
    return _elu(x, parameter(alpha, x))


def _below(x: Array) -> Array:
    """The part of x for which exp is taken, so that it cannot overflow where it is not."""
    return jnp.where(x > 0, 0, x)


_elu = with_slopes(
    lambda x, alpha: jnp.where(x > 0, x, alpha * jnp.expm1(_below(x))),
    lambda x, alpha: jnp.where(x > 0, 1, alpha * jnp.exp(_below(x))),
    lambda x, alpha: jnp.expm1(_below(x)),
)


@of_arrays
def celu(x: ArrayLike, alpha: ArrayLike = 1.0) -> Array:
    r"""$f(x) = x$ for $x > 0$, $α(e^{x/α} - 1)$ for $x \le 0$; its derivative is continuous for every $α$.

    Args:
        x: floating-point array.
        alpha: $α$, not 0.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.celu(jnp.array([-100.0, 2.0]), 2.0).tolist()
        [-2.0, 2.0]

    References:
        Barron, Continuously differentiable exponential linear units, 2017.
    """
    x = as_floating("celu", x)
    require_finite("celu", "alpha", alpha, zero=False)
    return _celu(x, parameter(alpha, x))


def _celu_in_alpha(x: Array, alpha: Array) -> Array:
    u = _below(x) / alpha
    return jnp.expm1(u) - times(u, jnp.exp(u))


_celu = with_slopes(
    lambda x, alpha: jnp.where(x > 0, x, alpha * jnp.expm1(_below(x) / alpha)),
    lambda x, alpha: jnp.where(x > 0, 1, jnp.exp(_below(x) / alpha)),
    _celu_in_alpha,
)


_SCALE, _ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


@of_arrays
def selu(x: ArrayLike, *, alpha: ArrayLike = _ALPHA, scale: ArrayLike = _SCALE) -> Array:
    r"""$f(x) = λ\,\mathrm{elu}(x, α)$, $λ = 1.0507…$, $α = 1.6733…$: mean 0 and variance 1 reproduce themselves.

    Args:
        x: floating-point array.
        alpha, scale: $α$ and $λ$, which is not 0; others than these constants normalize nothing.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> round(float(fnn.selu(1.0)), 4)
        1.0507

    References:
        Klambauer et al., Self-normalizing neural networks, 2017.
    """
    x = as_floating("selu", x)
    if alpha is _ALPHA and scale is _SCALE:
        return _selu(x)
    require_finite("selu", "alpha", alpha)
    require_finite("selu", "scale", scale, zero=False)
    return jnp.asarray(scale, x.dtype) * elu(x, alpha)


_selu = with_slopes(
    lambda x: jnp.where(x > 0, _SCALE * x, _SCALE * _ALPHA * jnp.expm1(_below(x))),
    lambda x: jnp.where(x > 0, _SCALE, _SCALE * _ALPHA * jnp.exp(_below(x))),
)
