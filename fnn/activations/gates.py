"""Gated units: x times a gate between 0 and 1."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.activations.pieces import as_floating, of_arrays, parameter, require_finite, times, with_slopes
from fnn.activations.sigmoids import bend, hard_gate, hard_slope, logistic, tangent, tangent_slope
from fnn.typing import Array, ArrayLike

__all__ = ["gelu", "glu", "hard_silu", "hard_swish", "mish", "silu", "swiglu", "swish"]


@of_arrays
def silu(x: ArrayLike, beta: ArrayLike = 1.0) -> Array:
    r"""$f(x) = xσ(βx)$, for β = 1 with $f' = \frac{1 + e^{-x} + xe^{-x}}{(1 + e^{-x})^2}$. Also called swish.

    Args:
        x: floating-point array.
        beta: $β$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.silu(jnp.array([-jnp.inf, 0.0, 1e4])).tolist()
        [-0.0, 0.0, 10000.0]

    References:
        Ramachandran, Zoph and Le, Searching for activation functions, 2017.
    """
    x = as_floating("silu", x)
    require_finite("silu", "beta", beta)
    return _silu(x, parameter(beta, x))


_silu = with_slopes(
    lambda x, beta: times(x, logistic(times(x, beta))),
    lambda x, beta: _silu_slope(times(x, beta)),
    lambda x, beta: times(x, times(x, _logistic_slope(times(x, beta)))),
)


def _silu_slope(z: Array) -> Array:
    return logistic(z) + times(z, _logistic_slope(z))


def _logistic_slope(z: Array) -> Array:
    return logistic(z) * logistic(-z)


swish = silu


@of_arrays
def mish(x: ArrayLike) -> Array:
    r"""$f(x) = x\tanh(\mathrm{softplus}(x))$.

    Example:
        >>> import fnn
        >>> round(float(fnn.mish(1.0)), 4)
        0.8651

    References:
        Misra, Mish: a self regularized non-monotonic activation function, 2020.
    """
    return _mish(as_floating("mish", x))


def _mish_slope(x: Array) -> Array:
    x = jnp.clip(x, -1e3, 1e3)  # It is 0 or 1 long before; the square of a larger one would overflow in its slope.
    bent = bend(x, jnp.ones((), x.dtype))
    return tangent(bent) + times(x, tangent_slope(bent) * logistic(x))


_mish = with_slopes(lambda x: times(x, tangent(bend(x, jnp.ones((), x.dtype)))), _mish_slope)


@of_arrays
def gelu(x: ArrayLike, approximate: bool = True) -> Array:
    r"""$f(x) = xΦ(x)$, or $\frac{x}{2}(1 + \tanh(\sqrt{2/π}(x + 0.044715x^3)))$ if `approximate`.

    Args:
        x: floating-point array.
        approximate: the tanh form, as `jax.nn`; torch's default is the exact one.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.gelu(jnp.array([-1e4, 0.0, 1e4]), approximate=False).tolist()
        [-0.0, 0.0, 10000.0]

    References:
        Hendrycks and Gimpel, Gaussian error linear units, 2016.
    """
    x = as_floating("gelu", x)
    return _gelu_tanh(x) if approximate else _gelu(x)


def _normal(x: Array) -> Array:
    return jax.lax.erfc(-x * math.sqrt(0.5)) / 2


def _density(x: Array) -> Array:
    return jnp.exp(-jnp.square(x) / 2) / math.sqrt(2 * math.pi)


def _inside(x: Array) -> Array:
    """Twice what stands under the tanh: (1 + tanh(z/2))/2 is σ(z), which has its digits on the left too."""
    return 2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x * jnp.square(x))


def _gelu_tanh_slope(x: Array) -> Array:
    x = jnp.clip(x, -1e3, 1e3)  # As of mish.
    z = _inside(x)
    inner = 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * jnp.square(x))
    return logistic(z) + times(x, times(inner, logistic(z) * logistic(-z)))


_gelu = with_slopes(lambda x: times(x, _normal(x)), lambda x: _normal(x) + times(x, _density(x)))
_gelu_tanh = with_slopes(lambda x: times(x, logistic(_inside(x))), _gelu_tanh_slope)


@of_arrays
def hard_silu(x: ArrayLike) -> Array:
    r"""$f(x) = x\,\mathrm{relu6}(x + 3)/6$. Also called hard swish.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.hard_silu(jnp.array([-4.0, 0.0, 4.0])).tolist()
        [-0.0, 0.0, 4.0]

    References:
        Howard et al., Searching for MobileNetV3, 2019.
    """
    return _hard_silu(as_floating("hard_silu", x))


_hard_silu = with_slopes(lambda x: times(x, hard_gate(x)), lambda x: hard_gate(x) + times(x, hard_slope(x)))


hard_swish = hard_silu


@of_arrays
def glu(x: ArrayLike, axis: int = -1) -> Array:
    r"""$f(x) = a ⊙ σ(b)$ where $a$ and $b$ are the two halves of x along `axis`.

    Args:
        x: floating-point array, of even length along `axis`.
        axis: the axis that is halved.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.glu(jnp.array([2.0, 0.0])).tolist()
        [1.0]

    References:
        Dauphin et al., Language modeling with gated convolutional networks, 2017.
    """
    x = as_floating("glu", x)
    return _glu(*checks.halves("glu", x, axis))


_glu = with_slopes(
    lambda value, gate: times(value, logistic(gate)),
    lambda value, gate: logistic(gate),
    lambda value, gate: times(value, logistic(gate) * logistic(-gate)),
)


@of_arrays
def swiglu(x: ArrayLike, axis: int = -1) -> Array:
    r"""$f(x) = \mathrm{silu}(a) ⊙ b$ where $a$ and $b$ are the two halves of x along `axis`.

    Args:
        x, axis: as in `glu`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.swiglu(jnp.array([0.0, 2.0])).tolist()
        [0.0]

    References:
        Shazeer, GLU Variants Improve Transformer, 2020.
    """
    x = as_floating("swiglu", x)
    gate, value = checks.halves("swiglu", x, axis)
    return silu(gate) * value
