"""Shapes that meet without any promotion of rank: fnn runs under `jax_numpy_rank_promotion="raise"`."""

from __future__ import annotations

import jax
from jax import lax

from fnn.precision import wide_dtype
from fnn.typing import Array


def of_rank(a: Array, ndim: int) -> Array:
    """`a` with axes of length 1 before its own: one value per feature beside (batch, …, features)."""
    return lax.expand_dims(a, range(ndim - a.ndim))


@jax.custom_jvp
def add_bias(y: Array, bias: Array) -> Array:
    """`y + bias`, one value per feature, in the dtype of `y`; the sum that is the gradient of the bias is in float32 at
    least: one in bfloat16 stands still after a few hundred rows."""
    return y + of_rank(bias.astype(y.dtype), y.ndim)


@add_bias.defjvp
def _add_bias_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    y, (change, of_bias) = add_bias(*primals), tangents
    wide = wide_dtype(y)
    return y, (change.astype(wide) + of_rank(of_bias.astype(wide), y.ndim)).astype(y.dtype)
