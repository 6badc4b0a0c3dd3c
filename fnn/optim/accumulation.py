"""Gradients of several small batches, one update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optim.leaves import counter, full_like, increment, widest
from fnn.optim.stated_rate import rate_inside, with_rate
from fnn.optim.transform import Transform, keep_accepted, require_transform
from fnn.optim.wrappers import global_norm
from fnn.typing import Array, ArrayLike, DType, PyTree

__all__ = ["MultiStepsState", "multi_steps", "skip_large_updates", "skip_not_finite"]


class MultiStepsState(NamedTuple):
    """Small batches since the last update, updates made, the inner state, the mean so far, what the skipper says."""

    mini_step: Array
    gradient_step: Array
    inner_opt_state: PyTree
    acc_grads: PyTree
    skip_state: PyTree = ()

    def skipped(self, before: MultiStepsState) -> Array:
        # A batch that is seen counts as one more, or completes an update.
        return (self.mini_step == before.mini_step) & (self.gradient_step == before.gradient_step)


def skip_not_finite(updates: PyTree, gradient_step: Array, params: PyTree | None) -> tuple[Array, PyTree]:
    """Skip gradients that hold an inf or NaN.

    Args:
        updates: the gradients.
        gradient_step: how many steps were made.
        params: the parameters, or None.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> bool(fnn.optim.skip_not_finite(jnp.array([jnp.inf]), 0, None)[0])
        True
    """
    count = sum((jnp.sum(~jnp.isfinite(leaf)) for leaf in jax.tree.leaves(updates)), start=jnp.zeros([], int))
    return count > 0, {"should_skip": count > 0, "num_not_finite": count}


def skip_large_updates(
    updates: PyTree, gradient_step: Array, params: PyTree | None, max_squared_norm: ArrayLike
) -> tuple[Array, PyTree]:
    r"""Skip gradients of $\|g\|^2 \ge c$, or of no norm at all (NaN); bind $c$ with `functools.partial`.

    Args:
        updates, gradient_step, params: as for `skip_not_finite`.
        max_squared_norm: $c$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> bool(fnn.optim.skip_large_updates(jnp.array([3.0]), 0, None, max_squared_norm=4.0)[0])
        True
    """
    squared = global_norm(updates) ** 2
    skip = ~(squared < jnp.asarray(max_squared_norm, squared.dtype))
    return skip, {"should_skip": skip, "norm_squared": squared}


def _wide(p: Array, dtype: DType) -> DType:
    """The accumulator's dtype for a parameter: complex where that is, and no digit of float64 is lost in float32."""
    if dtype == jnp.float32 and jnp.result_type(p) in (jnp.float64, jnp.complex128):
        return p.dtype
    return widest(dtype, jnp.complex64) if jnp.iscomplexobj(p) else dtype


def _cast_like(tree: PyTree, like: PyTree) -> PyTree:
    return jax.tree.map(lambda x, y: jnp.asarray(x, jnp.result_type(y)), tree, like)


def multi_steps(
    opt: Transform,
    every_k_schedule: int | Callable[[Array], ArrayLike],
    use_grad_mean: bool = True,
    should_skip_update_fn: Callable[[PyTree, Array, PyTree | None], tuple[Array, PyTree]] | None = None,
    accumulator_dtype: DType | None = jnp.float32,
) -> Transform:
    r"""Gradient accumulation: `opt` sees the mean of $k$ gradients, the $k-1$ updates between are zero.

    The mean is kept as $a_n = a_{n-1} + (g_n - a_{n-1})/n$. The inner rule runs only on the $k$-th call; what
    an update is told besides (`value`, `value_fn`, …) is that of the last small batch.

    Args:
        opt: fnn's or optax's transform.
        every_k_schedule: $k$, or a function of the number of updates made.
        use_grad_mean: False adds the gradients up instead.
        should_skip_update_fn: (updates, gradient_step, params) -> (skip, report): a skipped batch counts as never
            seen; the report is kept in the state. `skip_not_finite`, `skip_large_updates`.
        accumulator_dtype: of the mean, float32 being float64 for such parameters; None for that of the parameters.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.multi_steps(fnn.optim.sgd(1.0), 2)
        >>> first, state = rule.update(jnp.array([1.0]), rule.init(jnp.ones(1)))
        >>> first.tolist(), rule.update(jnp.array([3.0]), state)[0].tolist()
        ([0.0], [-2.0])
    """
    require_transform("multi_steps", opt, "opt")
    checks.flags("multi_steps", use_grad_mean=use_grad_mean)
    checks.floating_dtype("multi_steps", "accumulator_dtype", accumulator_dtype, jnp.inexact)
    signature, name = "(updates, gradient_step, params) -> (skip, report)", "should_skip_update_fn"
    checks.function("multi_steps", name, should_skip_update_fn, signature, f"{name}=fnn.optim.skip_not_finite")
    every_k: Any = every_k_schedule
    if not callable(every_k):
        every_k = checks.integer("multi_steps", "every_k_schedule", every_k)
    should_skip = should_skip_update_fn or (lambda updates, gradient_step, params: (jnp.array(False), ()))
    accepted = keep_accepted(opt.update)

    def init(params: PyTree) -> MultiStepsState:
        report = should_skip(full_like(params), counter(), params)[1]
        acc = jax.tree.map(lambda p: full_like(p, dtype=accumulator_dtype and _wide(p, accumulator_dtype)), params)
        return MultiStepsState(counter(), counter(), opt.init(params), acc, report)

    def accumulate(acc: Array, g: Array, n: Array) -> Array:
        g = jnp.asarray(g, acc.dtype)
        return acc + (g - acc) / (n + 1).astype(acc.dtype) if use_grad_mean else acc + g

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, PyTree]:
        skip, report = should_skip(updates, state.gradient_step, params)
        if jnp.shape(skip) != () or jnp.result_type(skip) != jnp.bool_:
            came = checks.describe(skip)
            raise ValueError(f"multi_steps: expected should_skip_update_fn to return bool[], got {came}")
        acc = jax.tree.map(lambda a, g: jnp.where(skip, a, accumulate(a, g, state.mini_step)), state.acc_grads, updates)
        k = every_k(state.gradient_step) if callable(every_k) else every_k
        last = state.mini_step >= jnp.asarray(k, jnp.int32) - 1
        emit = last & ~skip

        def step(inner: PyTree) -> tuple[PyTree, PyTree]:
            new, new_inner = opt.update(_cast_like(acc, updates), inner, params, **accepted(extra))
            return new, _cast_like(new_inner, inner)

        zeros = jax.eval_shape(step, state.inner_opt_state)[0]
        new, inner = jax.lax.cond(emit, step, lambda inner: (full_like(zeros), inner), state.inner_opt_state)
        mini_step = jnp.where(skip, state.mini_step, jnp.where(last, 0, increment(state.mini_step)))
        gradient_step = jnp.where(emit, increment(state.gradient_step), state.gradient_step)
        acc = jax.tree.map(lambda a: jnp.where(emit, jnp.zeros_like(a), a), acc)
        return new, MultiStepsState(mini_step, gradient_step, inner, acc, report)

    return with_rate(Transform(init, update), rate_inside(opt, lambda state: state.inner_opt_state))
