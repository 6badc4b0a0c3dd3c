"""What decides whether a step is taken: one tree or the other, and whether every number of a tree is finite."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fnn.typing import Array, PyTree


def choose(condition: Array, new: PyTree, old: PyTree) -> PyTree:
    """`new` where the condition holds, else `old`, in the dtypes of `old`."""
    return jax.tree.map(lambda n, o: jnp.where(condition, jnp.asarray(n, jnp.result_type(o)), jnp.asarray(o)), new, old)


SMALL = 2**20
"""Bytes of a tree up to which a CPU copies what is kept of it, rather than choosing number by number."""


def either(first: Array, a: PyTree, b: PyTree) -> PyTree:
    """`a` if so, else `b`: a copy needs no kernel, one for each leaf to choose is a sixth of compiling a small network.

    Copied by one core, large trees take longer; on other devices a branch waits for the host.
    """

    def by_number(first: Array, a: PyTree, b: PyTree) -> PyTree:
        return jax.tree.map(functools.partial(jax.lax.select, first), a, b)

    def branch(first: Array, a: PyTree, b: PyTree) -> PyTree:
        return jax.lax.cond(first, lambda a, b: a, lambda a, b: b, a, b)

    a, b = (jax.tree.map(lambda *pair, side=side: _alike(*pair)[side], a, b) for side in (0, 1))
    if sum(leaf.nbytes for leaf in jax.tree.leaves(b)) > SMALL:
        return by_number(first, a, b)
    return jax.lax.platform_dependent(first, a, b, cpu=branch, default=by_number)


def _alike(a: Any, b: Any) -> tuple[Array, Array]:
    """Both in the dtype and shape that `where` gives them."""
    a, b = jnp.asarray(a), jnp.asarray(b)
    if (a.dtype, a.shape) == (b.dtype, b.shape):
        return a, b
    like = jax.eval_shape(functools.partial(jnp.where, True), a, b)
    shape, dtype = like.shape, like.dtype
    return jnp.broadcast_to(a, shape).astype(dtype), jnp.broadcast_to(b, shape).astype(dtype)


FEW = 2**16
"""Numbers in a tree up to which they are looked at by a sum, which compiles in a tenth of the time."""


def all_finite(tree: PyTree) -> Array:
    """Whether no number of any leaf is inf or NaN."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]
    if not leaves:
        return jnp.array(True)
    options: Any = jax.config  # where NaN is looked for, none is made
    if sum(map(jnp.size, leaves)) > FEW or options.jax_debug_nans:
        return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
    # What is finite is 0 times 0, what is not is NaN; a sum compiles to one kernel, `all` to three.
    parts = [part for leaf in leaves for part in ([leaf.real, leaf.imag] if jnp.iscomplexobj(leaf) else [leaf])]
    return jnp.stack([_times_zero(jnp.asarray(part)) for part in parts]).sum() == 0


def _times_zero(part: Array) -> Array:
    wide = part if part.dtype.itemsize >= 4 else part.astype(jnp.float32)
    return (0 * wide).sum().astype(jnp.float32)
