"""The training of one member in pieces, each a pure function of arrays: the host runs as much of it as it likes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.layer import Layer
from fnn.optim.transform import Transform
from fnn.tasks import Task
from fnn.train import epoch as epoch_
from fnn.train import rows as rows_
from fnn.train import stopping
from fnn.train.inputs import Inputs
from fnn.train.step import train_step
from fnn.train.stopping import Best, EarlyStopping
from fnn.train.trained import Trained, TrainState
from fnn.train.trainer import begin, score_row
from fnn.typing import Array, Key, PyTree


class Options(NamedTuple):
    """How every member is trained, as for `trainer`."""

    epochs: int
    batch_size: int | None = 32
    early_stopping: EarlyStopping | None = None
    augment: Callable[[Key, Any, Any], tuple[Any, Any]] | None = None
    shuffle: bool = True


class Case(NamedTuple):
    """What one member trains, on what, from which key; `start` is where to go on from."""

    model: Layer
    optimizer: Transform
    task: Task
    key: Key
    inputs: Inputs
    penalty: Callable[[PyTree], Any] | None = None
    start: Trained | TrainState | Running | None = None


class Running(NamedTuple):
    """What a member carries: arrays prepared once, the run, its history, the epochs it was trained for, and whether it
    stops before the last one."""

    prepared: PyTree
    progress: epoch_.Progress
    best: Best | None
    history: dict[str, Array]
    epochs: Array
    over: Array


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


def in_pieces(
    case_of: Callable[[PyTree, PyTree, PyTree], Case],
    finish: Callable[[Case, PyTree, PyTree, Running], PyTree],
    options: Options,
    prepare: Callable[[PyTree, PyTree], PyTree] = lambda one, shared: (),
) -> Member:
    """The member that trains `case_of(one, shared, prepared)` and gives back `finish(case, one, shared, running)`.

    Args:
        case_of: what is trained; asked again in every piece, so it only arranges arrays.
        finish: what is kept of the training.
        options: as for `trainer`.
        prepare: arrays that are computed once, for instance scaled inputs.
    """
    rule = options.early_stopping

    def step_of(case: Case) -> Any:
        return train_step(case.model, case.optimizer, case.task, penalty=case.penalty, augment=options.augment)

    def sizes(case: Case) -> tuple[int, int]:
        size = rows_.checked_batch_size("trainer", options.batch_size, case.inputs.slots)
        return size, -(-case.inputs.slots // size)

    def start(one: PyTree, shared: PyTree) -> Running:
        prepared = prepare(one, shared)
        case = case_of(one, shared, prepared)
        state = case.start
        if isinstance(state, Running):
            return state._replace(prepared=prepared)
        if not isinstance(state, TrainState):
            state = begin(step_of(case).init, epoch_.keys(case.key).init, case.inputs.data[0], state)
        progress, best = epoch_.begin(state), None if rule is None else stopping.start(rule, state.trained)
        shapes = jax.eval_shape(lambda progress: score_row(case.model, case.task, progress, case.inputs), progress)
        history = {name: jnp.full((options.epochs,), jnp.nan, leaf.dtype) for name, leaf in shapes.items()}
        return Running(prepared, progress, best, history, jnp.zeros((), jnp.int32), jnp.zeros((), bool))

    def advance(one: PyTree, shared: PyTree, running: Running, epoch: Array, first: Array, last: Array) -> Running:
        case = case_of(one, shared, running.prepared)
        keys, (size, steps) = epoch_.keys(case.key), sizes(case)
        step = epoch_.stepper(step_of(case), size, steps, None)
        order = epoch_.epoch_order(keys, epoch, case.inputs.training_rows(), options.shuffle)
        fresh = epoch_.next_epoch(running.progress)
        begun = jax.tree.map(lambda new, old: jnp.where(first == 0, new, old), fresh, running.progress)
        progress = jax.lax.fori_loop(
            first, last, lambda place, progress: step(place, progress, keys, epoch, order, case.inputs.data), begun
        )
        return kept(running._replace(progress=progress), running)

    def close(one: PyTree, shared: PyTree, running: Running, epoch: Array) -> Running:
        case = case_of(one, shared, running.prepared)
        row = score_row(case.model, case.task, running.progress, case.inputs)
        best, over = running.best, running.over
        if rule is not None and best is not None:
            best = stopping.observe(rule, best, row, epoch, running.progress.train_state.trained)
            over = (running.progress.diverged_at >= 0) | stopping.exhausted(rule, best)
        history = {name: values.at[running.epochs].set(row[name]) for name, values in running.history.items()}
        closed = running._replace(best=best, history=history, epochs=running.epochs + 1, over=over)
        return kept(closed, running)

    def end(one: PyTree, shared: PyTree, running: Running) -> PyTree:
        return finish(case_of(one, shared, running.prepared), one, shared, running)

    def steps(one: PyTree, shared: PyTree) -> int:
        return sizes(case_of(one, shared, jax.eval_shape(prepare, one, shared)))[1]

    def kept(new: Running, old: Running) -> Running:
        """A member that is over waits, unchanged, for those it is trained together with."""
        return new if rule is None else jax.tree.map(lambda n, o: jnp.where(old.over, o, n), new, old)

    return Member(start, steps, advance, close, end)


def outcome(running: Running) -> tuple[Any, dict[str, Array]]:
    """`(trained, history)` as `trainer` returns them."""
    progress = running.progress
    ends = {"epochs": running.epochs, "diverged_at": progress.diverged_at, "skipped": progress.skipped}
    history = running.history | ends
    trained = progress.train_state.trained
    if running.best is None:
        return trained, history
    return stopping.chosen(running.best, trained), history | {"best_epoch": running.best.epoch}
