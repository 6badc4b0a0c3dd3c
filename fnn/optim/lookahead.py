"""Lookahead: k fast steps forward, one slow step back."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optim.acceptance import choose
from fnn.optim.leaves import counter, leafwise, need_params
from fnn.optim.stated_rate import rate_inside, with_rate
from fnn.optim.transform import Transform, keep_accepted, require_transform
from fnn.typing import Array, ArrayLike, PyTree

__all__ = ["LookaheadParams", "LookaheadState", "lookahead"]


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
