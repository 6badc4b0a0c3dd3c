"""A step on trees, made a transform: what its state keeps and what every step is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fnn.optim.leaves import counter, full_like, increment, need_params
from fnn.optim.transform import EmptyState, Transform
from fnn.typing import Array, ArrayLike, DType, PyTree

Step = Callable[..., tuple[PyTree, ...]]


def begin(kind: Any, dtypes: Mapping[str, DType | None] | None = None, **values: ArrayLike) -> Callable[[PyTree], Any]:
    """The first state, a NamedTuple: a count of no steps, and trees of zeros or these `values`, in these `dtypes`."""

    def first(name: str, params: PyTree) -> PyTree:
        return counter() if name == "count" else full_like(params, values.get(name, 0.0), (dtypes or {}).get(name))

    return lambda params: kind(*(first(name, params) for name in kind._fields))


def stateful(
    init: Callable[[PyTree], Any],
    step: Step,
    values: Callable[[Array], dict[str, Any]] | None = None,
    needs_params: str | None = None,
    *,
    count_from: int = 1,
) -> Transform:
    """A rule whose state is a NamedTuple of the trees that `step(updates, *trees)` changes.

    With `values` the state begins with how many steps were made, and `step` is told `values(count)` besides, of steps
    that count from 0 or 1. The rule of the name `needs_params` is given the parameters as the last of its trees.
    """

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, PyTree]:
        if values is not None and "count" not in getattr(state, "_fields", ()):
            came = type(state).__name__
            raise TypeError(f"expected a state that counts steps, got {came}; write state = rule.init(params)")
        counts: tuple[Array, ...] = () if values is None else (increment(state.count),)
        told = {} if values is None else values(counts[0] if count_from else state.count)
        trees = state[len(counts) :] if state else ()  # of nothing kept it may be any empty one, and None
        seen = () if needs_params is None else (need_params(needs_params, params),)
        updates, *new = step(updates, *trees, *seen, **told)
        return updates, type(state)(*counts, *new[: len(trees)])

    return Transform(init, update)


def stateless(step: Step, needs_params: str | None = None) -> Transform:
    """A rule that keeps nothing: `step(updates)`, or `step(updates, params)` of the rule of this name."""
    return stateful(begin(EmptyState), step, needs_params=needs_params)
