"""Gated units: x times a gate between 0 and 1."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.activations.pieces import floating, of_arrays
from fnn.activations.sigmoids import hard_sigmoid, sigmoid, softplus
from fnn.typing import Array, ArrayLike

__all__ = ["gelu", "glu", "hard_silu", "hard_swish", "mish", "silu", "swish"]


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
    x = floating("silu", x)
    return _gated(x, lambda v: jax.lax.logistic(jnp.asarray(beta, x.dtype) * v))


def _gated(x: Array, gate: Any) -> Array:
    """x·gate(x) with the limits at ±inf: there the gate is exactly 0 or 1 and inf·0 would be NaN."""
    finite = jnp.clip(x, -_bound(x.dtype), _bound(x.dtype))
    return jnp.where(jnp.isinf(x), jnp.maximum(x, -0.0), finite * gate(finite))


def _bound(dtype: Any) -> float:
    """Far beyond where any gate is flat, with room for a factor."""
    return math.sqrt(float(jnp.finfo(dtype).max))


swish = silu


@of_arrays
def mish(x: ArrayLike) -> Array:
    r"""$f(x) = x\tanh(\mathrm{softplus}(x))$.

    Args:
        x: floating-point array.

    Example:
        >>> import fnn
        >>> round(float(fnn.mish(1.0)), 4)
        0.8651

    References:
        Misra, Mish: a self regularized non-monotonic activation function, 2020.
    """
    x = floating("mish", x)
    return _gated(x, lambda v: jnp.tanh(softplus(v)))


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
    x = floating("gelu", x)
    if approximate:
        # Beyond ±16 the tanh is exactly ±1, and the cube would overflow float16 on the way there.
        root = math.sqrt(2 / math.pi)
        return _gated(x, lambda v: (jnp.tanh(root * _cubic(jnp.clip(v, -16, 16))) + 1) / 2)
    return _gated(x, lambda v: jax.lax.erfc(-jnp.clip(v, -40, 40) * math.sqrt(0.5)) / 2)


def _cubic(v: Array) -> Array:
    return v + 0.044715 * v**3


@of_arrays
def hard_silu(x: ArrayLike) -> Array:
    r"""$f(x) = x\,\mathrm{relu6}(x + 3)/6$. Also called hard swish.

    Args:
        x: floating-point array.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.hard_silu(jnp.array([-4.0, 0.0, 4.0])).tolist()
        [-0.0, 0.0, 4.0]

    References:
        Howard et al., Searching for MobileNetV3, 2019.
    """
    x = floating("hard_silu", x)
    return _gated(x, lambda v: hard_sigmoid(jnp.clip(v, -4, 4)))


hard_swish = hard_silu


@of_arrays
def glu(x: ArrayLike, axis: int = -1) -> Array:
    r"""$f(x) = a ⊙ σ(b)$ where $a$ and $b$ are the two halves of x along `axis`.

    Args:
        x: floating-point array, of even length along `axis`.
        axis: the axis that is halved.

    Raises:
        ValueError: if the axis has odd length.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.glu(jnp.array([2.0, 0.0])).tolist()
        [1.0]

    References:
        Dauphin et al., Language modeling with gated convolutional networks, 2017.
    """
    x = floating("glu", x)
    if x.shape[axis] % 2:
        raise ValueError(f"glu: expected an even number along axis {axis}, got {checks.describe(x)}")
    value, gate = jnp.split(x, 2, axis)
    return value * sigmoid(gate)
