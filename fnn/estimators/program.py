"""One fit as a program: epochs of a run, with everything that is a number as an argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import optim
from fnn.layer import Layer
from fnn.optim.transform import Transform
from fnn.selection.members import run_alone
from fnn.selection.training import Case, Member, member_from
from fnn.tasks import Task
from fnn.train.divergence import replay
from fnn.train.inputs import Inputs
from fnn.train.loop import Recipe, outcome_of
from fnn.train.options import Options
from fnn.train.trained import Trained, TrainState
from fnn.typing import Key, PyTree


class Description(NamedTuple):
    """What decides the program of a fit: everything that is not an array."""

    model: Layer
    optimizer: Transform | Callable[[Any], Transform]
    task: Task
    schedule: Callable[[Any], Any] | None
    penalized: bool
    options: Options


class Numbers(NamedTuple):
    """What a fit takes as arguments beside its data."""

    learning_rate: Any
    l2: Any
    key: Key


class Outcome(NamedTuple):
    """What a fit gives: the state to go on from, what to predict with, one row per epoch, epochs run, where it diverged
    and what is known of that, and whether it came to its end."""

    train_state: TrainState
    trained: Trained
    history: dict[str, np.ndarray]
    epochs: int
    diverged_at: int
    replay: str
    finished: bool


def train(
    description: Description,
    numbers: Numbers,
    inputs: Inputs,
    start: Trained | TrainState | None,
    first: int,
    last: int,
    progress: bool | None = False,
) -> Outcome:
    """The epochs from `first` up to `last`: of a new run, or going on from `start`."""
    shared = {"numbers": numbers, "inputs": inputs} | ({} if start is None else {"start": start})
    carry, whole = run_alone(_member, description, shared, first=first, last=last, progress=progress)
    trained, history = outcome_of(_recipe(description, numbers), carry)
    state, diverged_at = carry.train_state, int(carry.diverged_at)
    said = "" if diverged_at < 0 else replay(_recipe(description, numbers), numbers.key, inputs, state, diverged_at)
    if carry.best is not None and state.trained.params is state.params:
        # The best epoch's. Parameters that an optimizer averages are not their average: those go on from the last.
        state = state._replace(params=trained.params, state=trained.state)
    state, trained, history = _host((state, trained, history))
    epochs = int(history["epochs"])
    rows = {name: history[name][:epochs] for name in carry.history}
    return Outcome(state, trained, rows, epochs, diverged_at, said, whole)


def _member(description: Description) -> Member:
    """The run that `fnn.trainer` would make."""

    def case_of(one: PyTree, shared: PyTree, prepared: PyTree) -> Case:
        numbers: Numbers = shared["numbers"]
        return Case(_recipe(description, numbers), numbers.key, shared["inputs"], shared.get("start"))

    return member_from(case_of, lambda case, one, shared, carry: ())


def _recipe(description: Description, numbers: Numbers) -> Recipe:
    optimizer: Any = description.optimizer
    if not hasattr(optimizer, "update"):
        optimizer = optimizer(description.schedule or numbers.learning_rate)
    options = description.options._replace(penalty=optim.l2(numbers.l2) if description.penalized else None)
    return Recipe(description.model, optimizer, description.task, options)


def pad_rows(array: Any, rows: int, fill: float = 0) -> np.ndarray:
    """`array` with rows of `fill` at its end, `rows` of them in all."""
    array = np.asarray(array)
    return np.pad(array, [(0, rows - len(array))] + [(0, 0)] * (array.ndim - 1), constant_values=fill)


def ceiling(number: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-number // step) * step


def _host(tree: PyTree) -> PyTree:
    """Arrays of NumPy, which any pickle carries; random keys as they are."""
    keys = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)  # noqa: E731
    return jax.tree.map(lambda leaf: leaf if keys(leaf) else np.array(leaf), tree)
