"""Steps and the identity."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.activations.pieces import as_floating, of_arrays, require_finite
from fnn.typing import Array, ArrayLike

__all__ = ["binary_step", "identity", "sign"]


@of_arrays
def identity(x: ArrayLike) -> Array:
    r"""$f(x) = x$, the output of a regression.

    Example:
        >>> import fnn
        >>> fnn.identity(2.0).tolist()
        2.0
    """
    return jnp.asarray(x)


@of_arrays
def sign(x: ArrayLike) -> Array:
    r"""$f(x) = -1, 0, +1$ for $x < 0$, $x = 0$, $x > 0$; the derivative is 0 everywhere.

    Args:
        x: any real array.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.sign(jnp.array([-2.0, 0.0, 3.0])).tolist()
        [-1.0, 0.0, 1.0]
    """
    x = jnp.asarray(x)
    checks.real("sign", "x", x)
    return jnp.sign(x)


@of_arrays
def binary_step(x: ArrayLike, at_zero: ArrayLike = 1.0) -> Array:
    r"""$f(x) = 0$ for $x < 0$, 1 for $x > 0$; the derivative is 0 everywhere.

    Args:
        x: floating-point array.
        at_zero: the value at 0; 1 is the unit step, 0 the perceptron's.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.binary_step(jnp.array([-1.0, 0.0, 1.0])).tolist()
        [0.0, 1.0, 1.0]

    References:
        Rosenblatt, The Perceptron, 1958.
    """
    x = jax.lax.stop_gradient(as_floating("binary_step", x))
    require_finite("binary_step", "at_zero", at_zero)
    step = jnp.where(x == 0, jnp.asarray(at_zero, x.dtype), (x > 0).astype(x.dtype))
    return jnp.where(jnp.isnan(x), x, step)
