"""Resilient propagation: steps by the sign of the gradient, of a size of its own for every parameter."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optim.learning_rate import scale
from fnn.optim.leaves import full_like, leafwise
from fnn.optim.rules import stateful
from fnn.optim.transform import Transform, chain
from fnn.typing import Array, ArrayLike, PyTree

__all__ = ["ScaleByRpropState", "rprop", "scale_by_rprop"]


class ScaleByRpropState(NamedTuple):
    """The step size of every parameter, and its last step, 0 after a change of sign."""

    step_sizes: PyTree
    prev_updates: PyTree


def _rprop(
    g: Array, size: Array, last: Array, *, shrink: Any, grow: Any, least: Any, most: Any
) -> tuple[Array, Array, Array]:
    agreement = jnp.sign(g) * jnp.sign(last)
    changed = jnp.clip(size * jnp.where(agreement > 0, grow, shrink), least, most)
    size = jnp.where(agreement == 0, size, changed)
    step = jnp.where(agreement < 0, 0, size * jnp.sign(g))
    return step, size, step


def scale_by_rprop(
    learning_rate: ArrayLike,
    eta_minus: ArrayLike = 0.5,
    eta_plus: ArrayLike = 1.2,
    min_step_size: ArrayLike = 1e-6,
    max_step_size: ArrayLike = 50.0,
) -> Transform:
    r"""Steps of size $\Delta$ by the sign of the gradient, $u = \Delta\,\mathrm{sign}(g)$, for every parameter its own:

    $\Delta \leftarrow \min(\eta^+\Delta, \Delta_{max})$ where the sign is that of the last step,
    $\Delta \leftarrow \max(\eta^-\Delta, \Delta_{min})$ where it changed; there $u = 0$, and the next step is taken
    with the size as it is.

    Args:
        learning_rate, eta_minus, eta_plus, min_step_size, max_step_size: as for `rprop`.

    Raises:
        ValueError: if a setting is out of range.
        TypeError: at `init`, for complex parameters, which have no sign.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_rprop(0.1)
        >>> params = jnp.ones(2)
        >>> _, state = rule.update(jnp.array([3.0, -0.1]), rule.init(params))
        >>> rule.update(jnp.array([9.0, 5.0]), state)[1].step_sizes.round(2)
        Array([0.12, 0.05], dtype=float32)

    References:
        Riedmiller and Braun, A direct adaptive method for faster backpropagation learning: the RPROP algorithm, 1993.
    """
    checks.in_range("rprop", "learning_rate", learning_rate, 0)
    checks.in_range("rprop", "eta_minus", eta_minus, 0, 1, open="both")
    checks.in_range("rprop", "eta_plus", eta_plus, 1)
    checks.in_range("rprop", "min_step_size", min_step_size, 0)
    checks.in_range("rprop", "max_step_size", max_step_size, min_step_size, math.inf)
    step = leafwise(_rprop, shrink=eta_minus, grow=eta_plus, least=min_step_size, most=max_step_size)

    def init(params: PyTree) -> ScaleByRpropState:
        for leaf in jax.tree.leaves(params):
            checks.real("rprop", "parameters", leaf, "write fnn.optim.sign_sgd, whose steps go along complex gradients")
        return ScaleByRpropState(full_like(params, learning_rate), full_like(params))

    return stateful(init, step)


def rprop(
    learning_rate: ArrayLike,
    eta_minus: ArrayLike = 0.5,
    eta_plus: ArrayLike = 1.2,
    min_step_size: ArrayLike = 1e-6,
    max_step_size: ArrayLike = 50.0,
) -> Transform:
    r"""Rprop: $\theta \leftarrow \theta - \Delta\,\mathrm{sign}(g)$, every parameter with a step size of its own.

    See `scale_by_rprop`. How large a gradient is does not matter, so it is for all rows at once (`batch_size=None`):
    on small batches the sign of a small mean gradient is mostly noise.

    Args:
        learning_rate: the first step size $\Delta$ of every parameter.
        eta_minus: $\eta^-$, in (0, 1), where the sign of the gradient changed.
        eta_plus: $\eta^+ \ge 1$, where it did not.
        min_step_size: $\Delta_{min}$.
        max_step_size: $\Delta_{max}$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.rprop(0.01)

    References:
        Riedmiller and Braun, A direct adaptive method for faster backpropagation learning: the RPROP algorithm, 1993.
    """
    return chain(scale_by_rprop(learning_rate, eta_minus, eta_plus, min_step_size, max_step_size), scale(-1.0))
