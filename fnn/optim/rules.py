"""A step on trees, made a transform: what its state keeps and what every step is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fnn.optim.leaves import counter, increment, need_params
from fnn.optim.transform import EmptyState, Transform
from fnn.typing import Array, PyTree

Step = Callable[..., tuple[PyTree, ...]]


def stateless(step: Step, needs_params: str | None = None) -> Transform:
    """A rule that keeps nothing: `step(updates)`, or `step(updates, params)` of the rule of this name."""

    def update(
        updates: PyTree, state: EmptyState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, EmptyState]:
        return step(*_trees(updates, needs_params, params))[0], state

    return Transform(lambda params: EmptyState(), update)


def scheduled(
    counted: Callable[[Array], Any],
    step: Step,
    values: Callable[[Array], dict[str, Any]],
    needs_params: str | None = None,
) -> Transform:
    """A rule whose state is how many steps were made; `step`, as of `stateless`, is told `values` of them."""

    def update(updates: PyTree, state: Any, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, Any]:
        updates, *_ = step(*_trees(updates, needs_params, params), **values(state.count))
        return updates, counted(increment(state.count))

    return Transform(lambda params: counted(counter()), update)


def _trees(updates: PyTree, needs_params: str | None, params: PyTree | None) -> tuple[PyTree, ...]:
    return (updates,) if needs_params is None else (updates, need_params(needs_params, params))


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
