"""What optimizers are wrapped in: clipping, weight decay, skipped steps."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optim.acceptance import all_finite, choose
from fnn.optim.grouping import Mask, masked
from fnn.optim.leaves import counter, increment, leafwise, widest
from fnn.optim.rules import begin, stateful, stateless
from fnn.optim.stated_rate import rate_inside, with_rate
from fnn.optim.transform import Transform, keep_accepted, require_transform
from fnn.typing import Array, ArrayLike, PyTree, ScalarOrSchedule

__all__ = [
    "ApplyIfFiniteState",
    "WeightDecaySchedule",
    "add_decayed_weights",
    "apply_if_finite",
    "clip",
    "clip_by_global_norm",
    "global_norm",
]


def clip(max_delta: ArrayLike) -> Transform:
    r"""Clip by value: $u = \min(\max(g, -c), c)$, where `max_delta` is $c \ge 0$.

    Raises:
        TypeError: at `update`, for complex updates, which have no order.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.clip(1.0)
        >>> rule.update(jnp.array([-3.0, 0.5]), rule.init(None))[0].tolist()
        [-1.0, 0.5]
    """
    checks.in_range("clip", "max_delta", max_delta, 0, math.inf)
    return stateless(leafwise(_clip, bound=max_delta))


def _clip(g: Array, *, bound: Any) -> tuple[Array]:
    checks.real("clip", "updates", g, "write fnn.optim.clip_by_global_norm or clip_by_block_rms, which keep directions")
    return (jnp.clip(g, -bound, bound),)


def global_norm(updates: PyTree) -> Array:
    r"""$\sqrt{\sum_i |x_i|^2}$ over all leaves, in float32 at least, 0 of none; it neither overflows nor vanishes.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.optim.global_norm({"a": jnp.array([3.0]), "b": jnp.array([4.0])}))
        5.0
    """
    leaves = [jnp.abs(leaf) for leaf in jax.tree.leaves(updates) if jnp.size(leaf)]
    if not leaves:
        return jnp.zeros([], jnp.float32)
    wide = widest(jnp.float32, *(leaf.dtype for leaf in leaves))
    # The square of a gradient of 1e20 is inf in float32: divide by the largest first.
    largest = jax.lax.stop_gradient(jnp.max(jnp.stack([leaf.max().astype(wide) for leaf in leaves])))
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    total = jnp.sum(jnp.stack([jnp.sum((leaf.astype(wide) / scale) ** 2) for leaf in leaves]))
    return jnp.where(total == 0, 0, scale * jnp.sqrt(jnp.where(total == 0, 1, total)))


def _shrink(g: Array, norm: Any, bound: Any) -> tuple[Array]:
    return (jnp.where(norm < bound, g, g / jnp.where(norm == 0, 1, norm) * bound),)


def clip_by_global_norm(max_norm: ArrayLike) -> Transform:
    r"""Clip all updates together: $u = g \min(1, c/\|g\|)$, the norm over all leaves, where `max_norm` is $c \ge 0$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.clip_by_global_norm(1.0)
        >>> rule.update(jnp.array([0.0, 4.0]), rule.init(None))[0].tolist()
        [0.0, 1.0]

    References:
        Pascanu et al., On the difficulty of training Recurrent Neural Networks, 2013.
    """
    checks.in_range("clip_by_global_norm", "max_norm", max_norm, 0, math.inf)
    shrink = leafwise(_shrink, bound=max_norm)
    return stateless(lambda updates: shrink(updates, norm=global_norm(updates)))


class WeightDecaySchedule(NamedTuple):
    """How many updates were made."""

    count: Array  # type: ignore[assignment]


def _decay(g: Array, p: Array, decay: Any) -> tuple[Array]:
    return (g + decay * p,)


def add_decayed_weights(weight_decay: ScalarOrSchedule = 0.0, mask: Mask | None = None) -> Transform:
    r"""Weight decay: $u = g + \lambda\theta$.

    Before an adaptive rule it is *coupled*: the gradient of $\frac{\lambda}{2}\|\theta\|^2$, scaled by the rule like
    any gradient. After the rule and before the learning rate it is *decoupled*:
    $\theta \leftarrow (1-\alpha\lambda)\theta$ beside the rule's step, as in adamw. For plain gradient
    descent both are the same.

    Args:
        weight_decay: $\lambda$, a number, a traced scalar or a schedule.
        mask: where to decay, as in `masked`; `fnn.optim.weights_only` leaves biases alone.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.add_decayed_weights(0.5)
        >>> rule.update(jnp.zeros(1), rule.init(jnp.ones(1)), jnp.array([2.0]))[0].tolist()
        [1.0]

    References:
        Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019.
    """
    checks.number_or_schedule("add_decayed_weights", "weight_decay", weight_decay)
    if callable(weight_decay):
        init, values = begin(WeightDecaySchedule), lambda count: {"decay": weight_decay(count)}
        rule = stateful(init, leafwise(_decay), values, "add_decayed_weights", count_from=0)
    else:
        rule = stateless(leafwise(_decay, decay=weight_decay), "add_decayed_weights")
    return rule if mask is None else masked(rule, mask)


class ApplyIfFiniteState(NamedTuple):
    """Skipped steps in a row, whether the last was finite, skipped or bad steps in all, the inner state."""

    notfinite_count: Array
    last_finite: Array
    total_notfinite: Array
    inner_state: PyTree

    def skipped(self, before: ApplyIfFiniteState) -> Array:
        return self.total_notfinite > before.total_notfinite


def apply_if_finite(inner: Transform, max_consecutive_errors: ArrayLike) -> Transform:
    """Skip a step whose gradients hold an inf or NaN: no update, and the inner state stays.

    Args:
        inner: fnn's or optax's transform.
        max_consecutive_errors: after so many skipped steps in a row the next is made whatever it holds.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.apply_if_finite(fnn.optim.sgd(0.1), 5)
        >>> updates, state = rule.update(jnp.array([jnp.nan]), rule.init(jnp.ones(1)))
        >>> updates.tolist(), int(state.total_notfinite)
        ([0.0], 1)
    """
    require_transform("apply_if_finite", inner, "inner")
    checks.whole_number("apply_if_finite", "max_consecutive_errors", max_consecutive_errors, 0)
    accepted = keep_accepted(inner.update)

    def init(params: PyTree) -> ApplyIfFiniteState:
        return ApplyIfFiniteState(counter(), jnp.array(True), counter(), inner.init(params))

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, PyTree]:
        finite = all_finite(updates)
        in_a_row = jnp.where(finite, 0, increment(state.notfinite_count))
        total = jnp.where(finite, state.total_notfinite, increment(state.total_notfinite))
        new, inner_state = inner.update(updates, state.inner_state, params, **accepted(extra))
        use = finite | (in_a_row > max_consecutive_errors)
        new = jax.tree.map(lambda u: jnp.where(use, u, jnp.zeros_like(u)), new)
        return new, ApplyIfFiniteState(in_a_row, finite, total, choose(use, inner_state, state.inner_state))

    return with_rate(Transform(init, update), rate_inside(inner))
