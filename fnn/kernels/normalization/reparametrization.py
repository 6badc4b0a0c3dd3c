"""Kernels written in other coordinates: length and direction, or divided by the largest singular value."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from fnn.kernels.normalization.standardization import magnitude
from fnn.precision import widen
from fnn.typing import Array

__all__ = ["spectral_norm", "weight_norm"]


def _unit(x: Array) -> Array:
    """$x / ‖x‖$ over the first axis; a zero column stays zero, and so does its gradient."""
    x = x / magnitude(x, 0, (0,))  # a direction has no unit; in this one no square over- or underflows
    squared = jnp.sum(jnp.square(x), 0, keepdims=True)
    nonzero = squared != 0  # NaN is none, and stays
    return jnp.where(nonzero, x * lax.rsqrt(jnp.where(nonzero, squared, 1)), 0)


@jax.jit
def weight_norm(v: Array, g: Array) -> Array:
    r"""The kernel of `fnn.weight_norm`, $w = g\,v / \lVert v \rVert$; a column of zeros stays zero.

    Args:
        v: directions, (…, out): a dense, convolution or recurrent kernel.
        g: lengths, (out,).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.weight_norm(jnp.array([[3.0], [4.0]]), jnp.array([10.0])).tolist()
        [[6.0], [8.0]]
    """
    wide = widen(v)
    unit = _unit(wide.reshape(-1, v.shape[-1]))
    return (unit * jnp.asarray(g, wide.dtype)[None]).reshape(v.shape).astype(v.dtype)


@functools.partial(jax.jit, static_argnames=("steps",))
def spectral_norm(w: Array, u: Array, *, steps: int = 1) -> tuple[Array, Array]:
    r"""Divide a kernel by its largest singular value, as `fnn.spectral_norm` does: $w / \sigma$, $\sigma = v^T w\,u$.

    `steps` power iterations $v = w u / \lVert w u \rVert$, $u = w^T v / \lVert w^T v \rVert$ improve `u`;
    $v$ and $u$ are constants to the gradient.

    Args:
        w: a kernel, (…, out), seen as a matrix with `out` columns.
        u: estimate of the first right singular vector, (out,).
        steps: power iterations; 0 uses `u` as it is.

    Returns:
        `(w / sigma, u)`; a kernel of zeros stays zero.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> w, u = fnn.kernels.spectral_norm(jnp.diag(jnp.array([4.0, 2.0])), jnp.array([1.0, 1.0]), steps=20)
        >>> w.round(3).tolist(), u.round(3).tolist()
        ([[1.0, 0.0], [0.0, 0.5]], [1.0, 0.0])
    """
    matrix = widen(w).reshape(-1, w.shape[-1])
    matrix = matrix / magnitude(matrix, 0, (0, 1))  # nor has the quotient by a singular value
    fixed = lax.stop_gradient(matrix)
    u = lax.stop_gradient(jnp.asarray(u, matrix.dtype))
    u = lax.fori_loop(0, steps, lambda _, u: _unit(fixed.T @ _unit(fixed @ u)), u)
    v = _unit(fixed @ u)
    sigma = v @ (matrix @ u)
    nonzero = sigma != 0
    normalized = jnp.where(nonzero, matrix / jnp.where(nonzero, sigma, 1), 0)
    return normalized.reshape(w.shape).astype(w.dtype), u
