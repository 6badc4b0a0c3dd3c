"""Schedule-free descent: averaging in the place of a decaying learning rate."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optim.leaves import increment, leafwise, need_params
from fnn.optim.stated_rate import rate_inside, with_rate
from fnn.optim.transform import Transform, chain, require_transform, schedule_free_average
from fnn.typing import Array, ArrayLike, DType, PyTree, ScalarOrSchedule

__all__ = ["ScheduleFreeState", "schedule_free", "schedule_free_eval_params"]


class ScheduleFreeState(NamedTuple):
    """The weights of the average, the base rule's state and its iterates $z$."""

    b1: Array
    weight_sum: Array
    step_count: Array
    max_lr: Array
    base_optimizer_state: PyTree
    z: PyTree

    def eval_params(self, params: PyTree) -> PyTree:
        return schedule_free_average(self, params)


def _average(u: Array, z: Array, y: Array, *, b1: Any, weight: Any) -> tuple[Array, Array]:
    x = (y - (1 - b1) * z) / b1
    z = z + u
    x = (1 - weight) * x + weight * z
    return b1 * x + (1 - b1) * z - y, z


def schedule_free(
    base_optimizer: Transform,
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    weight_lr_power: ArrayLike = 2.0,
    state_dtype: DType | None = None,
) -> Transform:
    r"""Let a rule without momentum step from $z$, take gradients at $y$, and evaluate at the average $x$:

    $z_{t+1} = z_t + u(\nabla f(y_t))$, $x_{t+1} = (1 - c_t) x_t + c_t z_{t+1}$,
    $y_{t+1} = \beta x_{t+1} + (1 - \beta) z_{t+1}$, $c_t = w_t/\sum_{i \le t} w_i$,
    $w_t = (\max_{i \le t} \alpha_i)^p$.

    Args:
        base_optimizer: gives $u$; without momentum of its own (`adam(…, b1=0.0)`).
        learning_rate: $\alpha$ of the base rule, a scalar or a schedule, for the weights only.
        b1: $\beta$, in (0, 1].
        weight_lr_power: $p$.
        state_dtype: dtype of $z$; that of the parameters by default.

    Returns:
        A rule whose parameters are $y$; `schedule_free_eval_params(state, params)` gives $x$.

    Raises:
        ValueError: if `b1` is outside (0, 1]; at the update, without the parameters.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.schedule_free(fnn.optim.sgd(0.5), 0.5)
        >>> state = rule.init(jnp.ones(1))
        >>> updates, state = rule.update(jnp.ones(1), state, jnp.ones(1))
        >>> fnn.optim.schedule_free_eval_params(state, jnp.ones(1) + updates).round(3).tolist()
        [0.5]

    References:
        Defazio et al., The Road Less Scheduled, 2024.
    """
    checks.in_range("schedule_free", "b1", b1, 0, 1, open="low")
    checks.number_or_schedule("schedule_free", "learning_rate", learning_rate)
    checks.in_range("schedule_free", "weight_lr_power", weight_lr_power, 0)
    checks.floating_dtype("schedule_free", "state_dtype", state_dtype, jnp.inexact)
    require_transform("schedule_free", base_optimizer, "base_optimizer")
    step = leafwise(_average)
    base = chain(base_optimizer)

    def init(params: PyTree) -> ScheduleFreeState:
        dtype = jnp.result_type(float)
        return ScheduleFreeState(
            b1=jnp.array(b1, dtype),
            weight_sum=jnp.zeros([], dtype),
            step_count=jnp.ones([], jnp.int32),
            max_lr=jnp.zeros([], dtype),
            base_optimizer_state=base.init(params)[0],
            z=jax.tree.map(lambda p: jnp.array(p, state_dtype or jnp.result_type(p)), params),
        )

    def update(
        updates: PyTree, state: ScheduleFreeState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, ScheduleFreeState]:
        params = need_params("schedule_free", params)
        rate = learning_rate(state.step_count) if callable(learning_rate) else learning_rate
        max_lr = jnp.maximum(state.max_lr, jnp.asarray(rate, state.max_lr.dtype))
        weight = max_lr ** jnp.asarray(weight_lr_power, max_lr.dtype)
        total = state.weight_sum + weight
        share = jnp.where(total == 0, 0, weight / jnp.where(total == 0, 1, total))
        updates, (inner,) = base.update(updates, (state.base_optimizer_state,), params, **extra)
        updates, z, _ = step(updates, state.z, params, b1=state.b1, weight=share)
        new = ScheduleFreeState(state.b1, total, increment(state.step_count), max_lr, inner, z)
        return updates, new

    return with_rate(Transform(init, update), rate_inside(base_optimizer, lambda state: state.base_optimizer_state))


def schedule_free_eval_params(state: ScheduleFreeState, params: PyTree) -> PyTree:
    r"""The averaged parameters to evaluate with: $x = (y - (1 - \beta) z)/\beta$.

    Args:
        state: of `schedule_free`.
        params: $y$.

    Raises:
        TypeError: if `state` is another rule's.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> state = fnn.optim.schedule_free(fnn.optim.sgd(0.5), 0.5).init(jnp.ones(1))
        >>> fnn.optim.schedule_free_eval_params(state, jnp.ones(1)).round(3).tolist()
        [1.0]
    """
    if not (hasattr(state, "b1") and hasattr(state, "z")):
        raise TypeError(f"schedule_free_eval_params: expected the state of schedule_free, got {type(state).__name__}")
    return schedule_free_average(state, params)
