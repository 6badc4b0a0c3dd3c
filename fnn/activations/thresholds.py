"""The identity, steps, and functions with a threshold: shrinkage, the thresholded rectifier, the hard maximum."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.activations.pieces import as_floating, of_arrays, require_finite
from fnn.typing import Array, ArrayLike

__all__ = ["binary_step", "hard_shrink", "hardmax", "identity", "sign", "soft_shrink", "thresholded_relu"]


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


@of_arrays
def hard_shrink(x: ArrayLike, threshold: ArrayLike = 0.5) -> Array:
    r"""$f(x) = x$ for $|x| > λ$, 0 elsewhere, with $f' = 1$ or 0.

    Args:
        x: floating-point array.
        threshold: $λ \ge 0$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.hard_shrink(jnp.array([-1.0, 0.25, 1.0])).tolist()
        [-1.0, 0.0, 1.0]

    References:
        Donoho and Johnstone, Ideal spatial adaptation by wavelet shrinkage, 1994.
    """
    checks.in_range("hard_shrink", "threshold", threshold, 0)
    x = as_floating("hard_shrink", x)
    return jnp.where(jnp.abs(x) <= jnp.asarray(threshold, x.dtype), 0, x)


@of_arrays
def soft_shrink(x: ArrayLike, threshold: ArrayLike = 0.5) -> Array:
    r"""$f(x) = \mathrm{sign}(x) \max(|x| - λ, 0)$, with $f' = 1$ for $|x| > λ$ and 0 elsewhere.

    Args:
        x, threshold: as in `hard_shrink`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.soft_shrink(jnp.array([-1.0, 0.25, 1.0])).tolist()
        [-0.5, 0.0, 0.5]

    References:
        Donoho and Johnstone, Ideal spatial adaptation by wavelet shrinkage, 1994.
    """
    checks.in_range("soft_shrink", "threshold", threshold, 0)
    x = as_floating("soft_shrink", x)
    at = jnp.asarray(threshold, x.dtype)
    return jnp.where(jnp.abs(x) <= at, 0, x - jnp.sign(x) * at)


@of_arrays
def thresholded_relu(x: ArrayLike, threshold: ArrayLike = 1.0) -> Array:
    r"""$f(x) = x$ for $x > θ$, 0 elsewhere, with $f' = 1$ or 0; a rectifier without bias for autoencoders.

    Args:
        x: floating-point array.
        threshold: $θ$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.thresholded_relu(jnp.array([0.5, 2.0])).tolist()
        [0.0, 2.0]

    References:
        Konda, Memisevic and Krueger, Zero-bias autoencoders and the benefits of co-adapting features, 2015.
    """
    checks.in_range("thresholded_relu", "threshold", threshold)
    x = as_floating("thresholded_relu", x)
    return jnp.where(x <= jnp.asarray(threshold, x.dtype), 0, x)


@of_arrays
def hardmax(x: ArrayLike, axis: int = -1) -> Array:
    r"""1 at the first largest value along `axis`, 0 elsewhere: what softmax tends to; its derivative is 0.

    Args:
        x: floating-point array.
        axis: of the classes.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.hardmax(jnp.array([1.0, 3.0, 3.0])).tolist()
        [0.0, 1.0, 0.0]

    References:
        Bridle, Probabilistic interpretation of feedforward classification network outputs, 1990 (the limit of softmax).
    """
    x = as_floating("hardmax", x)
    axis = checks.axis("hardmax", "axis", axis, x.ndim)
    return jax.nn.one_hot(jnp.argmax(x, axis), x.shape[axis], dtype=x.dtype, axis=axis)
