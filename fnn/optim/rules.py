"""A step on trees, made a transform: what its state keeps and what every step is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fnn.optim.leaves import increment, need_params
from fnn.optim.transform import EmptyState, Transform
from fnn.typing import Array, PyTree

Step = Callable[..., tuple[PyTree, ...]]


def stateless(step: Step, needs_params: str | None = None) -> Transform:
    """A rule that keeps nothing: `step(updates)`, or `step(updates, params)` of the rule of this name."""

    def update(
        updates: PyTree, state: EmptyState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, EmptyState]:
        trees = (updates,) if needs_params is None else (updates, need_params(needs_params, params))
        return step(*trees)[0], state

    return Transform(lambda params: EmptyState(), update)


def stateful(
    init: Callable[[PyTree], Any], step: Step, values: Callable[[Array], dict[str, Any]] | None = None
) -> Transform:
    """A rule whose state is a NamedTuple of the trees that `step(updates, *trees)` changes.

    With `values` the state begins with how many steps were made, and `step` is told `values(count)` besides, this
    step counted.
    """

    def update(updates: PyTree, state: Any, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, Any]:
        if values is None:
            updates, *trees = step(updates, *state)
            return updates, type(state)(*trees)
        count = increment(state.count)
        updates, *trees = step(updates, *state[1:], **values(count))
        return updates, type(state)(count, *trees)

    return Transform(init, update)
