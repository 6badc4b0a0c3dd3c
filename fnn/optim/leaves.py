"""Update rules written for one array, carried out on every leaf of a tree."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.kernels.normalization.standardization import magnitude
from fnn.typing import Array, ArrayLike, DType, PyTree


def widest(*dtypes: DType) -> DType:
    """The dtype that holds all of them, whatever the promotion mode."""
    with jax.numpy_dtype_promotion("standard"):
        return functools.reduce(jnp.promote_types, dtypes)


def round_to(x: Array, dtype: DType) -> Array:
    """Round `x` to `dtype`; what is finite stays finite in float16."""
    if dtype == jnp.float16 and x.dtype != dtype:
        largest = float(jnp.finfo(dtype).max)
        x = jnp.where(jnp.isfinite(x), jnp.clip(x, -largest, largest), x)
    return x.astype(dtype)


def store(x: Array, dtype: DType) -> Array:
    """Round a moment to the dtype it is kept in; in float16 it neither overflows to inf nor vanishes to 0.

    A second moment that became inf would stop its parameter for ever; one that became 0 beside a first
    moment that did not would divide it by eps.
    """
    if dtype == jnp.float16 and x.dtype != dtype:
        least = float(jnp.finfo(dtype).smallest_subnormal)
        x = jnp.where((x != 0) & (jnp.abs(x) < least), jnp.sign(x) * least, x)
    return round_to(x, dtype)


def over(function: Callable[[Any, Any], Any], kept: PyTree, params: PyTree) -> PyTree:
    """`function` of what a state keeps of each parameter and the parameter; one that it keeps nothing of stays."""

    def is_empty(node: Any) -> bool:
        return not jax.tree.leaves(node)

    return jax.tree.map(lambda k, p: p if is_empty(k) else function(k, p), kept, params, is_leaf=is_empty)


def leafwise(rule: Callable[..., Any], one_shape: bool = True, **constants: Any) -> Callable[..., tuple[PyTree, ...]]:
    """Make of `rule(g, *leaves, **constants)`, arithmetic on arrays of one shape, a function of trees.

    The arithmetic is done in float32 at least. What the rule returns first, the update, keeps the widest dtype
    among the gradient and the leaves; the others replace the leaves, in their dtypes. The rule is compiled for
    itself, so that it is traced once per shape and not once per leaf.

    Args:
        rule: returns the update and the new values of as many of the leaves as it changes.
        one_shape: whether the leaves must have the gradient's shape; nothing is broadcast silently.
        **constants: hyper-parameters and switches; Python values stay exact, arrays take the leaf's precision.

    Returns:
        A function of the trees, gradients first, and of keyword values of this step (traced scalars), that returns
        as many trees: the updates, the new ones and those that the rule does not change. Where the gradient is None
        the update is None and the other leaves are kept.
    """
    constants = {k: v.item() if isinstance(v, np.generic) else v for k, v in constants.items()}
    arrays = {k: v for k, v in constants.items() if isinstance(v, (jax.Array, np.ndarray))}
    fixed = {k: v for k, v in constants.items() if k not in arrays}

    @jax.jit
    def one(leaves: tuple[Array, ...], values: dict[str, Array]) -> tuple[Array, ...]:
        dtypes = [leaf.dtype for leaf in leaves]
        update_dtype = widest(*dtypes)
        wide = widest(update_dtype, jnp.float32)
        real = jnp.finfo(wide).dtype
        scalars = {k: v if v.dtype == bool else v.astype(real) for k, v in values.items()}
        # The leaves are of one dtype now; a real factor may meet a complex leaf.
        with jax.numpy_dtype_promotion("standard"):
            update, *new = rule(*(leaf.astype(wide) for leaf in leaves), **scalars, **fixed)
        _require_shapes((update, *new), leaves)
        kept = (store(x.astype(wide), dtype) for x, dtype in zip(new, dtypes[1:], strict=False))
        return round_to(update, update_dtype), *kept

    def every(updates: PyTree, *trees: PyTree, **values: ArrayLike) -> tuple[PyTree, ...]:
        rows, structure = align(updates, *trees, one_shape=one_shape)
        values = {k: jnp.asarray(v) for k, v in {**arrays, **values}.items()}
        results = [row if row[0] is None else one(row, values) for row in rows]
        results = [(*row, *old[len(row) :]) for row, old in zip(results, rows, strict=True)]
        return tuple(structure.unflatten([row[i] for row in results]) for i in range(1 + len(trees)))

    return every


def align(updates: PyTree, *trees: PyTree, one_shape: bool = True) -> tuple[list[tuple[Any, ...]], Any]:
    """The leaves of trees of one structure, and that structure; a None among the updates is a leaf."""
    structure: Any
    leaves, structure = jax.tree.flatten(updates, is_leaf=lambda x: x is None)
    try:
        rows = list(zip(leaves, *(structure.flatten_up_to(tree) for tree in trees), strict=True))
    except ValueError as error:
        raise ValueError(
            f"expected updates in the structure of the params given to init, got {structure}: {error}"
        ) from error
    for row in rows:
        if one_shape and row[0] is not None and len({jnp.shape(leaf) for leaf in row}) > 1:
            raise ValueError(
                f"expected updates in the shapes of the params given to init, got {checks.describe(list(row))}"
            )
    return rows, structure


def _require_shapes(results: tuple[Array, ...], leaves: tuple[Array, ...]) -> None:
    repair = "write fnn.optim.partition for a rate of each group of parameters"
    for result, leaf in zip(results, leaves, strict=False):
        if result.shape != leaf.shape:  # by an array of rates, for instance
            raise checks.wrong_shape("update", "settings that keep a parameter", leaf.shape, result, repair)


def full_like(params: PyTree, value: ArrayLike = 0.0, dtype: DType | None = None) -> PyTree:
    """New arrays in the shapes of `params` (arrays or `jax.ShapeDtypeStruct`), no two of them one buffer."""

    def fill(leaf: Any) -> Array:
        return jnp.full_like(leaf, jnp.asarray(value).astype(dtype or jnp.result_type(leaf)), dtype=dtype)

    return jax.tree.map(fill, params)


def counter() -> Array:
    return jnp.zeros([], jnp.int32)


def increment(count: Array) -> Array:
    """`count + 1`, staying at the largest integer instead of overflowing."""
    return jnp.where(count < jnp.iinfo(count.dtype).max, count + 1, count)


def power(decay: ArrayLike, count: Array) -> Array:
    r"""$\beta^t$ in the default precision."""
    dtype = jnp.result_type(float)
    return jnp.asarray(decay, dtype) ** count.astype(dtype)


def log_of(decay: ArrayLike) -> float | None:
    r"""$\log\beta$ of a number that float32 would round, near 1 to 1; None where it is traced or has its digits."""
    if jnp.result_type(float) != jnp.float32 or not isinstance(decay, (int, float, np.number)) or decay == 0:
        return None
    return math.log(decay)


def correction(decay: ArrayLike, count: Array) -> Array:
    r"""$1/(1-\beta^t)$ in the default precision, what an average started at zero is multiplied with."""
    log = log_of(decay)
    return 1 / (1 - power(decay, count) if log is None else -jnp.expm1(count.astype(jnp.float32) * log))


def times(g: Array, factor: Any) -> tuple[Array]:
    """The rule of everything that only scales."""
    return (factor * g,)


def square(g: Array) -> Array:
    r"""$|g|^2$, in the dtype of `g`."""
    return (g.conj() * g).real.astype(g.dtype) if jnp.iscomplexobj(g) else g * g


@jax.custom_jvp
def root(x: Array) -> Array:
    r"""$\sqrt{x}$ with derivative 0 at 0, so that an update has a gradient where the moments are zero."""
    return jnp.sqrt(x)


@root.defjvp
def _root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    y = root(primals[0])
    flat = y == 0
    return y, jnp.where(flat, 0, tangents[0] / (2 * jnp.where(flat, 1, y)))


def norm(x: Array, axes: tuple[int, ...] | None = None) -> Array:
    r"""$\|x\|$ over all axes, or over these, which stay as 1; no square over- or underflows."""
    unit, squares = _squares(x, axes)
    size = unit * root(jnp.sum(squares, axes, keepdims=True))
    return size.reshape(()) if axes is None else size


def rms(x: Array) -> Array:
    """The root of the mean square, 0 of no numbers."""
    unit, squares = _squares(x, None)
    return (unit * root(jnp.sum(squares, keepdims=True) / max(x.size, 1))).reshape(())


def _squares(x: Array, axes: tuple[int, ...] | None) -> tuple[Array, Array]:
    """A size, and the squares of x in units of it."""
    unit = magnitude(jnp.abs(x), 0, tuple(range(x.ndim)) if axes is None else axes)
    return unit, jnp.real(square(x / unit.astype(x.dtype)))


@jax.custom_jvp
def inverse_root(x: Array) -> Array:
    r"""$1/\sqrt{x}$ with a derivative that does not overflow before it is multiplied with a small number."""
    return jax.lax.rsqrt(x)


@inverse_root.defjvp
def _inverse_root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    y = inverse_root(primals[0])
    return y, -0.5 * (((tangents[0] * y) * y) * y)


def inner_product(a: PyTree, b: PyTree, dtype: DType) -> Array:
    r"""$\Re\langle a, b\rangle$ over all leaves."""

    def of_leaf(x: Array, y: Array) -> Array:
        wide = widest(dtype, x.dtype, y.dtype)
        return jnp.sum((x.astype(wide).conj() * y.astype(wide)).real).astype(dtype)

    return jnp.sum(jnp.stack([jnp.zeros([], dtype), *jax.tree.leaves(jax.tree.map(of_leaf, a, b))]))


def real_dtype(params: PyTree) -> DType:
    """The real dtype that holds the parameters, float32 at least."""
    return jnp.finfo(widest(jnp.float32, *(jnp.result_type(leaf) for leaf in jax.tree.leaves(params)))).dtype


def nodes(state: PyTree, says: Callable[[Any], bool]) -> list[Any]:
    """What stands in a state and says something, without what is inside it."""
    return [node for node in jax.tree.leaves(state, is_leaf=says) if says(node)]


def is_zero(value: Any) -> bool:
    """Whether it is Python's zero, which leaves a part of a rule out; a traced number is never known to be."""
    return isinstance(value, (int, float)) and value == 0


def need_params(where: str, params: PyTree | None) -> PyTree:
    if params is None:
        raise not_given(where, "parameters", "updates, state, params")
    return params


def not_given(where: str, what: str, arguments: str, absent: str = "") -> ValueError:
    """The error about an update without what the rule depends on."""
    return ValueError(f"{where}: the update needs the {what}{absent}; write update({arguments})")
