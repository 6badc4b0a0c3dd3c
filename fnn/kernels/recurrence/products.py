"""The products of a recurrent cell with its weights, and the sigmoid of its gates."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from fnn.kernels.mesh_axes import auto_axes, split_of
from fnn.precision import wide_dtype
from fnn.typing import Array


def sigmoid(z: Array) -> Array:
    r"""$\sigma(z) = (1 + \tanh(z/2))/2$: on a CPU tanh is the faster function, and cannot overflow."""
    return 0.5 * jnp.tanh(0.5 * z) + 0.5


def product(a: Array, weights: Array) -> Array:
    """`a @ weights` in the narrower of the two dtypes, summed in the wide one."""
    split = PartitionSpec(*split_of(a)[:-1], *split_of(weights)[1:])
    return auto_axes(_product, split)(a, weights)


def _product(a: Array, weights: Array) -> Array:
    last = (((a.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(a.astype(weights.dtype), weights, last, preferred_element_type=wide_dtype(weights))


def product_of_transpose(a: Array, weights: Array) -> Array:
    """`a @ weights.T`, whose transpose is the plain `a @ weights`."""
    return lax.dot_general(a, weights, (((a.ndim - 1,), (1,)), ((), ())))


def product_of_tangent(a: Array, weights: Array) -> Array:
    """`a @ weights` for tangent weights: their gradient `a.T @ …` becomes a product of two row-major arrays."""
    return lax.dot_general(lax.optimization_barrier(jnp.moveaxis(a, -1, 0)), weights, (((0,), (0,)), ((), ())))
