"""The learning rate that an optimizer states for the history; what wraps or chains rules states that of theirs."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax.numpy as jnp

from fnn.optim.leaves import nodes
from fnn.typing import Array, ArrayLike, PyTree

if TYPE_CHECKING:
    from fnn.optim.transform import Transform

Rate: TypeAlias = Callable[[PyTree], ArrayLike]
"""State after a step -> the learning rate of that step."""


@dataclasses.dataclass(frozen=True)
class OfSome:
    """The rate of some parameters: it stands for all while no other rule states one for the rest."""

    rate: Rate

    def __call__(self, state: PyTree) -> ArrayLike:
        return self.rate(state)


def with_rate(transform: Transform, rate: Rate | None, factor: Rate | None = None) -> Transform:
    """State a transform's learning rate, or a factor by which it changes that of others, on its `update` function."""
    update: Any = transform.update
    update.states_rate, update.states_factor = rate, factor
    return transform


def rate_inside(inner: Transform, find: Callable[[PyTree], PyTree] = operator.attrgetter("inner_state")) -> Rate | None:
    """The rate of a transform whose state is found in that of another."""
    rate: Rate | None = getattr(inner.update, "states_rate", None)
    return None if rate is None else _like((rate,), lambda state: rate(find(state)))


def rate_of_all(transforms: Sequence[Transform]) -> Rate | None:
    """The product of what they state; None if none has a learning rate, or several have those of some parameters."""
    own = [(place, getattr(t.update, "states_rate", None)) for place, t in enumerate(transforms)]
    factors = [(place, getattr(t.update, "states_factor", None)) for place, t in enumerate(transforms)]
    rates = [rate for _, rate in own if rate is not None]
    if not rates or (len(rates) > 1 and any(isinstance(rate, OfSome) for rate in rates)):
        return None
    stated = [(place, rate) for place, rate in own + factors if rate is not None]
    return _like(
        rates,
        lambda state: functools.reduce(jnp.multiply, [jnp.asarray(rate(state[p]), jnp.float32) for p, rate in stated]),
    )


def _like(rates: Sequence[Rate], new: Rate) -> Rate:
    return OfSome(new) if any(isinstance(rate, OfSome) for rate in rates) else new


def learning_rate(optimizer: Transform, state: PyTree) -> Array | None:
    """The learning rate of the last step, as the optimizer states it, or optax's `inject_hyperparams` in its state."""
    if (rate := getattr(optimizer.update, "states_rate", None)) is not None:
        return jnp.asarray(rate(state), jnp.float32)
    found = nodes(state, lambda node: isinstance(getattr(node, "hyperparams", None), Mapping))
    rates = [node.hyperparams["learning_rate"] for node in found if "learning_rate" in node.hyperparams]
    return jnp.asarray(rates[0], jnp.float32) if len(rates) == 1 else None  # of several none is that of all
