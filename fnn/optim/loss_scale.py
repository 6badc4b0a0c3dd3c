"""Loss scaling: gradients of a float16 pass, kept from vanishing below its smallest number."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optim.acceptance import all_finite
from fnn.optim.leaves import nodes
from fnn.optim.stated_rate import rate_inside, with_rate
from fnn.optim.transform import Transform, keep_accepted, require_transform
from fnn.typing import Array, PyTree

__all__ = ["ScaleLossState", "scale_loss"]


class ScaleLossState(NamedTuple):
    """The scale, steps since it last changed, whether the last step was left out, and the state of the rule inside."""

    scale: Array
    good_steps: Array
    overflow: Array
    inner_state: PyTree

    def loss_scale(self) -> Array:
        """What `fnn.train_step` multiplies the loss by before it takes the gradient, which it divides again."""
        return self.scale

    def skipped(self, before: ScaleLossState) -> Array:
        return self.overflow


def scale_loss(
    inner: Transform, initial: float = 2.0**15, *, period: int = 2000, factor: float = 2.0, largest: float = 2.0**24
) -> Transform:
    r"""Scale the loss dynamically, for `compute_dtype=jnp.float16`: $g = \nabla(sL)/s$.

    `fnn.train_step`, `fit`, `trainer` and the searches take the gradient of $sL$ and divide it by $s$ in float32, so
    that small gradients do not vanish in float16. Where the gradient is not finite, the step is left out (it counts in
    `history["skipped"]`, and is no divergence) and $s$ is divided by `factor`, down to 1; after `period` finite steps
    in a row it is multiplied by it, up to `largest`. In a loop of your own multiply the loss by `state.loss_scale()`
    and divide the gradient by it.

    Args:
        inner: fnn's or optax's transform, given the gradients of the loss itself.
        initial: $s$ at the first step; a power of 2 loses no digits.
        period: finite steps after which $s$ grows.
        factor: by which it grows and falls.
        largest: that it grows to.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_loss(fnn.optim.sgd(0.1), 8.0)
        >>> updates, state = rule.update(jnp.array([jnp.inf]), rule.init(jnp.ones(1)), jnp.ones(1))
        >>> updates.tolist(), float(state.loss_scale())
        ([0.0], 4.0)

    References:
        Micikevicius et al., Mixed Precision Training, 2018.
    """
    require_transform("scale_loss", inner, "inner")
    checks.in_range("scale_loss", "initial", initial, 1)
    period = checks.integer("scale_loss", "period", period)
    checks.in_range("scale_loss", "factor", factor, 1, open="low")
    checks.in_range("scale_loss", "largest", largest, initial, math.inf)
    accepted = keep_accepted(inner.update)

    def init(params: PyTree) -> ScaleLossState:
        count = jnp.zeros((), jnp.int32)
        return ScaleLossState(jnp.asarray(initial, jnp.float32), count, jnp.array(False), inner.init(params))

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, PyTree]:
        finite = all_finite(updates)
        new, inner_state = inner.update(updates, state.inner_state, params, **accepted(extra))
        new = jax.tree.map(lambda u: jnp.where(finite, u, jnp.zeros_like(u)), new)
        inner_state = jax.tree.map(lambda now, old: jnp.where(finite, now, old), inner_state, state.inner_state)
        count = jnp.where(finite, state.good_steps + 1, 0)
        grown = jnp.where(count >= period, jnp.minimum(state.scale * factor, largest), state.scale)
        scale = jnp.where(finite, grown, jnp.maximum(state.scale / factor, 1))
        return new, ScaleLossState(scale, jnp.where(count >= period, 0, count), ~finite, inner_state)

    return with_rate(Transform(init, update), rate_inside(inner))


def loss_scale(state: PyTree) -> Array | None:
    """What the loss is to be multiplied by, as the optimizer's state or one inside it says; None if none does."""
    found = nodes(state, lambda node: hasattr(node, "loss_scale"))
    return found[0].loss_scale() if found else None
