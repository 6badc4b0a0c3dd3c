"""A run driven from the host: progress bar, callbacks, Ctrl-C, over the same compiled steps as `trainer`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from fnn import checks
from fnn.layer import Layer
from fnn.optim.transform import Transform
from fnn.programs import compile as compiled
from fnn.tasks import Task, as_task
from fnn.train import epoch as epoch_
from fnn.train import rows as rows_
from fnn.train import stopping
from fnn.train.checkpoint import checkpoints
from fnn.train.console import interruption, progress_bar, suggest_cores
from fnn.train.divergence import require_possible
from fnn.train.drive import EpochEnd, Programs, Setup, begin_saved, drive
from fnn.train.identity import Parts, identity_of
from fnn.train.inputs import Inputs, checked_run
from fnn.train.processes import pace, peers, require_same_run
from fnn.train.sharding import checked_mesh, on_automatic_axes, replicate
from fnn.train.step import TrainStep, require_parts, train_step
from fnn.train.stopping import EarlyStopping
from fnn.train.trained import Trained, TrainState
from fnn.train.trainer import begin, score_row
from fnn.typing import Array, Key, PyTree

__all__ = ["fit"]


@on_automatic_axes
def fit(
    model: Layer,
    optimizer: Transform,
    task: Task | Callable[[Any, Any], Array],
    data: tuple[Any, ...],
    *,
    key: Key | None = None,
    epochs: int,
    batch_size: int | None = 32,
    rows: Any = None,
    validation: Any = None,
    penalty: Callable[[PyTree], Any] | None = None,
    augment: Callable[[Key, Any, Any], tuple[Any, Any]] | None = None,
    early_stopping: EarlyStopping | None = None,
    callbacks: Sequence[Callable[[EpochEnd], Any]] = (),
    progress: bool | None = None,
    start: Trained | None = None,
    checkpoint: str | Path | None = None,
    shuffle: bool = True,
    mesh: Mesh | None = None,
) -> tuple[Trained, dict[str, Any]]:
    """Train a model and watch it: the numbers of `trainer`, with a progress bar, callbacks and Ctrl-C.

    Called again with a model, an optimizer, a task and options that say the same, also when they were built anew, it
    compiles nothing for data of the same shapes: see `fnn.programs`.

    Args:
        model, optimizer, task, epochs, batch_size, penalty, augment, early_stopping, shuffle, mesh: as for `trainer`.
        data: `(x, targets)` or `(x, targets, weights)`.
        key: random key; the same key gives the same run.
        rows: row numbers to train on, all by default.
        validation: scored after every epoch: another data tuple, row numbers of `data`, or a fraction of the rows such
            as 0.2, drawn by the key and of every class its share. Validation rows are not trained on.
        callbacks: functions of an `EpochEnd`; one that returns True ends the run.
        progress: show a bar (needs tqdm); by default if tqdm is installed.
        start: a `Trained` to go on from.
        checkpoint: a directory. The run is saved there after every epoch; called again with the same arguments, or with
            more epochs, `fit` goes on after the last epoch saved and ends with the numbers of an unbroken run. Called
            with anything else it says what differs.

    Returns:
        `(trained, history)` as from `trainer`, the history as NumPy arrays with one entry per epoch that was run.
        After Ctrl-C: what is trained so far.

    Raises:
        ValueError, TypeError: on data that cannot be trained on, saying what to write.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x = jnp.linspace(-1, 1, 20).reshape(20, 1)
        >>> trained, history = fnn.fit(
        ...     fnn.dense(1), fnn.optim.sgd(0.3), fnn.tasks.regression(), (x, 3 * x[:, 0]),
        ...     key=jax.random.key(0), epochs=50, batch_size=10, progress=False)
        >>> bool(history["loss"][-1] < 1e-3)
        True
    """
    task = as_task(task)
    early_stopping = stopping.resolve(early_stopping, task)
    key = rows_.checked_key("fit", checks.key_given("fit", key, "training"))
    checks.integer("fit", "epochs", epochs)
    require_parts("fit", model, optimizer, penalty, augment)
    if callable(callbacks) or not all(map(callable, callbacks)):
        came = checks.called(callbacks) if callable(callbacks) else repr(callbacks)
        raise TypeError(f"fit: expected callbacks to be a list of functions, got {came}; write callbacks=[function]")
    inputs = checked_run("fit", task, data, rows, validation, key)
    size = rows_.checked_batch_size("fit", batch_size, inputs.slots)
    checked_mesh("fit", mesh, size)
    suggest_cores(model, progress)
    step = train_step(model, optimizer, task, penalty=penalty, augment=augment)
    parts = Parts(model, task, step, penalty, augment)
    require_same_run(
        "fit", mesh, parts, inputs, key, start,
        epochs=epochs, batch_size=size, shuffle=shuffle, early_stopping=early_stopping,
    )  # fmt: skip
    key, inputs, start = replicate(mesh, (key, inputs, start))
    sources = epoch_.keys(key)
    steps = -(-inputs.slots // size)
    given = _Given(model, optimizer, task, penalty, augment, size, steps, mesh)
    train_state = compiled(_initial, given)(sources.init, inputs.data[0], start)
    programs = Programs(
        compiled(_order, shuffle), compiled(_advance, given, donate=(0,)), compiled(_row, (model, task)),
        compiled(stopping.observe, early_stopping), steps,
    )  # fmt: skip
    explain = functools.partial(_explained, model, task, inputs)
    run = Setup(programs, sources, inputs, early_stopping, callbacks, explain, functools.partial(pace, mesh))
    saved = begin_saved(run, train_state)
    kept = checkpoints(checkpoint, lambda: identity_of(
        parts, saved, inputs, sources.train, start,
        batch_size=size, shuffle=shuffle, early_stopping=early_stopping and repr(early_stopping),
        metrics=sorted(jax.eval_shape(programs.row, saved.progress, inputs)),
    ))  # fmt: skip
    with peers("fit", mesh), progress_bar(progress, epochs * steps) as show, interruption() as interrupted:
        return drive(run, saved, epochs, kept, show, interrupted)


class _Given(NamedTuple):
    """What decides the program of the steps."""

    model: Layer
    optimizer: Transform
    task: Task
    penalty: Callable[[PyTree], Any] | None
    augment: Callable[[Key, Any, Any], tuple[Any, Any]] | None
    size: int
    steps: int
    mesh: Mesh | None

    def step(self) -> TrainStep:
        return train_step(self.model, self.optimizer, self.task, penalty=self.penalty, augment=self.augment)


def _initial(given: _Given, key: Key, x: PyTree, start: Trained | None) -> TrainState:
    return begin(given.step().init, key, x, start)


def _order(shuffle: bool, sources: epoch_.Keys, number: Array, inputs: Inputs) -> tuple[Array, Array]:
    return epoch_.epoch_order(sources, number, inputs.training_rows(), shuffle)


def _row(given: tuple[Layer, Task], progress: epoch_.Progress, inputs: Inputs) -> dict[str, Array]:
    return score_row(*given, progress, inputs)


def _advance(given: _Given, progress: epoch_.Progress, first: Array, last: Array, *rest: Any) -> epoch_.Progress:
    """Steps `first` to `last` of an epoch; both are values, so no part of an epoch is compiled again."""
    one = epoch_.stepper(given.step(), given.size, given.steps, given.mesh)
    return jax.lax.fori_loop(first, last, lambda place, progress: one(place, progress, *rest), progress)


def _explained(model: Layer, task: Task, inputs: Inputs, trained: Trained) -> None:
    require_possible("fit", model, task, trained, *inputs.data[:2])
