"""Shapes that meet without any promotion of rank: fnn runs under `jax_numpy_rank_promotion="raise"`."""

from __future__ import annotations

from jax import lax

from fnn.typing import Array


def of_rank(a: Array, ndim: int) -> Array:
    """`a` with axes of length 1 before its own: one value per feature beside (batch, …, features)."""
    return lax.expand_dims(a, range(ndim - a.ndim))
