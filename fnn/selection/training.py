"""The loop for many runs at once: each a function of what it has of its own and of what all of them read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.tasks import Task, as_task
from fnn.train import rows as rows_
from fnn.train.epochs import sizes, take_steps_of_epoch
from fnn.train.inputs import Inputs
from fnn.train.loop import Carry, Recipe, begin, end_epoch, keys_of
from fnn.train.options import Options, check_options
from fnn.train.trained import Trained, TrainState
from fnn.typing import Array, Key, LossFunction, PyTree


def check_training(
    where: str, task: Task | LossFunction, data: Any, key: Key, options: Options
) -> tuple[Task, Options, rows_.Checked, Key]:
    """What every training here is given, checked on the host."""
    checks.require_host(where, key, data)
    task = as_task(task)
    options = check_options(where, task, options)
    checked = rows_.check_data(where, data, task)
    rows_.check_classes(where, checked[1])
    return task, options, checked, checks.random_key(where, key)


class Case(NamedTuple):
    """What one member trains, on what, from which key; `start` is where to go on from."""

    recipe: Recipe
    key: Key
    inputs: Inputs
    start: Trained | TrainState | Carry | None = None


class Running(NamedTuple):
    """What a member carries: arrays prepared once, and the run."""

    prepared: PyTree
    carry: Carry


class Member(NamedTuple):
    """A training in pieces. `one` is what the member has of its own, `shared` what all members read.

    - `begin(one, shared) -> running`.
    - `steps(one, shared) -> int`, of an epoch.
    - `advance(one, shared, running, epoch, first, last) -> running`: steps `first` to `last` of an epoch.
    - `close(one, shared, running, epoch) -> running`: the epoch's row of the history, and whether it was the last.
    - `finish(one, shared, running) -> result`.
    """

    begin: Callable[..., Running]
    steps: Callable[..., int]
    advance: Callable[..., Running]
    close: Callable[..., Running]
    finish: Callable[..., PyTree]


def member_from(
    case_of: Callable[[PyTree, PyTree, PyTree], Case],
    finish: Callable[[Case, PyTree, PyTree, Carry], PyTree],
    prepare: Callable[[PyTree, PyTree], PyTree] = lambda one, shared: (),
) -> Member:
    """The member that trains `case_of(one, shared, prepared)` and gives back `finish(case, one, shared, carry)`.

    `case_of` is asked again in every piece, so it only arranges arrays; `prepare` computes once, such as scaled inputs.
    """

    def start(one: PyTree, shared: PyTree) -> Running:
        prepared = prepare(one, shared)
        case = case_of(one, shared, prepared)
        if isinstance(case.start, Carry):
            return Running(prepared, case.start)
        return Running(prepared, begin(case.recipe, keys_of(case.key), case.inputs, case.start))

    def advance(one: PyTree, shared: PyTree, running: Running, epoch: Array, first: Array, last: Array) -> Running:
        case = case_of(one, shared, running.prepared)
        keys = keys_of(case.key)
        carry = take_steps_of_epoch(case.recipe, running.carry, keys, case.inputs, epoch, None, first, last)
        return keep(case, carry, running)

    def close(one: PyTree, shared: PyTree, running: Running, epoch: Array) -> Running:
        case = case_of(one, shared, running.prepared)
        return keep(case, end_epoch(case.recipe, running.carry, case.inputs, epoch)[0], running)

    def end(one: PyTree, shared: PyTree, running: Running) -> PyTree:
        return finish(case_of(one, shared, running.prepared), one, shared, running.carry)

    def steps(one: PyTree, shared: PyTree) -> int:
        case = case_of(one, shared, jax.eval_shape(prepare, one, shared))
        return sizes(case.recipe.options.batch_size, case.inputs.slots)[1]

    def keep(case: Case, new: Carry, old: Running) -> Running:
        """A member that is over waits, unchanged, for those it is trained together with."""
        if case.recipe.options.early_stopping is None:
            return old._replace(carry=new)
        over = old.carry.over
        return old._replace(carry=jax.tree.map(lambda n, o: jnp.where(over, o, n), new, old.carry))

    return Member(start, steps, advance, close, end)
