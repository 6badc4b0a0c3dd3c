"""Shapes that meet without any promotion of rank: fnn runs under `jax_numpy_rank_promotion="raise"`."""

from __future__ import annotations

from jax import lax

from fnn.precision import widen
from fnn.typing import Array


def of_rank(a: Array, ndim: int) -> Array:
    """`a` with axes of length 1 before its own: one value per feature beside (batch, …, features)."""
    return lax.expand_dims(a, range(ndim - a.ndim))


def add_bias(y: Array, bias: Array) -> Array:
    """`y + bias`, one value per feature, in the dtype of `y`. In float32 at least, which the sum that is the gradient
    of the bias needs: one in bfloat16 stands still after a few hundred rows."""
    return (widen(y) + of_rank(widen(bias.astype(y.dtype)), y.ndim)).astype(y.dtype)
