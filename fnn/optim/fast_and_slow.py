"""Rules that step with fast parameters and are evaluated at slow ones: lookahead, schedule-free descent."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optim.acceptance import choose
from fnn.optim.leaves import counter, increment, leafwise, need_params
from fnn.optim.stated_rate import rate_inside, with_rate
from fnn.optim.transform import Transform, chain, keep_accepted, require_transform, schedule_free_average
from fnn.typing import Array, ArrayLike, DType, PyTree, ScalarOrSchedule

__all__ = [
    "LookaheadParams",
    "LookaheadState",
    "ScheduleFreeState",
    "lookahead",
    "schedule_free",
    "schedule_free_eval_params",
]


class LookaheadState(NamedTuple):
    """The fast rule's state, its steps since fast and slow parameters were last equal, the slow ones if kept here."""

    fast_state: PyTree
    steps_since_sync: Array
    slow: PyTree = ()

    def eval_params(self, params: Any) -> PyTree:
        return params if _is_pair(params) else self.slow


class LookaheadParams(NamedTuple):
    """Fast parameters for the gradients, slow ones for inference.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.optim.LookaheadParams.init_synced(jnp.ones(1)).slow.tolist()
        [1.0]
    """

    fast: PyTree
    slow: PyTree

    @classmethod
    def init_synced(cls, params: PyTree) -> LookaheadParams:
        """Both equal to `params`, in buffers of their own so that they can be donated."""
        return cls(fast=params, slow=jax.tree.map(lambda p: jnp.array(p, copy=True), params))


def _is_pair(params: Any) -> bool:
    """Whether these are `LookaheadParams`, ours or optax's."""
    return hasattr(params, "fast") and hasattr(params, "slow")


def lookahead(
    fast_optimizer: Transform, sync_period: int, slow_step_size: ArrayLike, reset_state: bool = False
) -> Transform:
    r"""k steps forward, one step back: every $k$ steps $s \leftarrow s + a(f - s)$ and $f \leftarrow s$.

    Args:
        fast_optimizer: the rule of the fast parameters $f$, fnn's or optax's.
        sync_period: $k$, at least 1.
        slow_step_size: $a$.
        reset_state: start the fast rule anew at each synchronisation.

    Returns:
        A transform of the fast parameters, which keeps the slow ones in its state, `fnn.optim.eval_params`; or, as
        optax's, of `LookaheadParams`, whose gradients are those at `params.fast`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.lookahead(fnn.optim.sgd(1.0), sync_period=2, slow_step_size=0.5)
        >>> params = jnp.ones(1)
        >>> updates, state = rule.update(jnp.ones(1), rule.init(params), params)
        >>> params = fnn.optim.apply_updates(params, updates)
        >>> params.tolist(), fnn.optim.eval_params(state, params).tolist()
        ([0.0], [1.0])

    References:
        Zhang et al., Lookahead Optimizer: k steps forward, 1 step back, 2019.
    """
    require_transform("lookahead", fast_optimizer, "fast_optimizer")
    sync_period = checks.integer("lookahead", "sync_period", sync_period)
    checks.in_range("lookahead", "slow_step_size", slow_step_size, 0, 1)
    checks.flags("lookahead", reset_state=reset_state)
    accepted = keep_accepted(fast_optimizer.update)
    step = leafwise(_lookahead)

    def init(params: Any) -> LookaheadState:
        if _is_pair(params):
            return LookaheadState(fast_optimizer.init(params.fast), counter())
        return LookaheadState(fast_optimizer.init(params), counter(), LookaheadParams.init_synced(params).slow)

    def update(updates: PyTree, state: LookaheadState, params: Any = None, **extra: Any) -> tuple[Any, LookaheadState]:
        params = need_params("lookahead", params)
        fast, slow = (params.fast, params.slow) if _is_pair(params) else (params, state.slow)
        updates, fast_state = fast_optimizer.update(updates, state.fast_state, fast, **accepted(extra))
        sync = state.steps_since_sync == sync_period - 1
        fast_updates, new, _ = step(updates, slow, fast, sync=sync, rate=slow_step_size)
        if reset_state:
            fast_state = choose(sync, fast_optimizer.init(new), fast_state)
        since = (state.steps_since_sync + 1) % sync_period
        if _is_pair(params):
            slow_updates = jax.tree.map(jnp.subtract, new, slow)
            return type(params)(fast=fast_updates, slow=slow_updates), LookaheadState(fast_state, since)
        return fast_updates, LookaheadState(fast_state, since, new)

    return with_rate(Transform(init, update), rate_inside(fast_optimizer, lambda state: state.fast_state))


def _lookahead(u: Array, slow: Array, fast: Array, sync: Any, rate: Any) -> tuple[Array, Array]:
    ahead = jnp.where(sync, fast + u - slow, 0)
    return u - (1 - rate) * ahead, slow + rate * ahead


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


def _schedule_free(u: Array, z: Array, y: Array, *, b1: Any, weight: Any) -> tuple[Array, Array]:
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
    step = leafwise(_schedule_free)
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

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, PyTree]:
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
