"""A run driven from the host: progress bar, callbacks, Ctrl-C, over the same compiled steps as `trainer`."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fnn import checks
from fnn.layer import Layer
from fnn.optim.transform import Transform
from fnn.programs import compile as compiled
from fnn.tasks import Task, as_task
from fnn.train import epoch as epoch_
from fnn.train import rows as rows_
from fnn.train import stopping
from fnn.train.checkpoint import Checkpoints, checkpoints
from fnn.train.console import interruption, progress_bar, suggest_cores
from fnn.train.divergence import require_possible, warn_if_diverged
from fnn.train.identity import Parts, identity_of
from fnn.train.inputs import Inputs, checked_run
from fnn.train.sharding import checked_mesh, replicate
from fnn.train.step import TrainStep, require_parts, train_step
from fnn.train.stopping import Best, EarlyStopping
from fnn.train.trained import Trained, TrainState
from fnn.train.trainer import begin, score_row
from fnn.typing import Array, Key, PyTree

__all__ = ["EpochEnd", "fit"]

RESPONSE_SECONDS = 0.2
"""How long the compiled program runs before the host looks up: the bar moves, Ctrl-C is heard."""


class EpochEnd(NamedTuple):
    """What a callback is told: the `epoch` (from 0), its `row` of the history, the `train_state`.

    Example:
        >>> import fnn
        >>> def stop_when_good(end: fnn.EpochEnd) -> bool:
        ...     return end.row["loss"] < 0.01
    """

    epoch: int
    row: dict[str, float]
    train_state: TrainState


class _Programs(NamedTuple):
    """The compiled pieces of a run."""

    order: Callable[..., tuple[Array, Array]]
    advance: Callable[..., epoch_.Progress]
    row: Callable[..., dict[str, Array]]
    observe: Callable[..., Any]
    steps: int


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
    key, inputs, start = replicate(mesh, (key, inputs, start))
    sources = epoch_.keys(key)
    steps = -(-inputs.slots // size)
    given = _Given(model, optimizer, task, penalty, augment, size, steps, mesh)
    train_state = compiled(_initial, given)(sources.init, inputs.data[0], start)
    programs = _Programs(
        compiled(_order, shuffle), compiled(_advance, given, donate=(0,)), compiled(_row, (model, task)),
        compiled(stopping.observe, early_stopping), steps,
    )  # fmt: skip
    explain = functools.partial(_explained, model, task, inputs)
    run = _Run(programs, sources, inputs, early_stopping, callbacks, explain)
    saved = _begin(run, train_state)
    kept = checkpoints(checkpoint, lambda: identity_of(
        Parts(model, task, step, penalty, augment), saved, inputs, sources.train, start,
        batch_size=size, shuffle=shuffle, early_stopping=early_stopping and repr(early_stopping),
        metrics=sorted(jax.eval_shape(programs.row, saved.progress, inputs)),
    ))  # fmt: skip
    with progress_bar(progress, epochs * steps) as show, interruption() as interrupted:
        return _drive(run, saved, epochs, kept, show, interrupted)


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


class _Run(NamedTuple):
    """What does not change while a run is driven."""

    programs: _Programs
    sources: epoch_.Keys
    inputs: Inputs
    rule: EarlyStopping | None
    callbacks: Sequence[Callable[[EpochEnd], Any]]
    explain: Callable[[Trained], None]


class _Saved(NamedTuple):
    """What changes, and is saved: enough to go on exactly."""

    progress: epoch_.Progress
    best: Best | None
    key: Key


def _begin(run: _Run, train_state: TrainState) -> _Saved:
    # Copies, because the loop gives its buffers away and the caller's `start` must live on.
    best = stopping.start(run.rule, train_state.trained) if run.rule else None
    return _Saved(epoch_.begin(jax.tree.map(jnp.copy, train_state)), best, run.sources.train)


def _drive(
    run: _Run,
    saved: _Saved,
    epochs: int,
    kept: Checkpoints,
    show: Callable[[int, dict[str, float]], None],
    interrupted: Callable[[], bool],
) -> tuple[Trained, dict[str, Any]]:
    first, saved, table = _resumed(kept, saved, epochs)
    show(first * run.programs.steps, table[-1] if table else {})
    for epoch in range(first, epochs):
        if _ended(run, saved):
            break
        progress = _one_epoch(run, saved.progress, jnp.asarray(epoch), show, interrupted)
        saved = saved._replace(progress=progress)
        if interrupted():
            break
        scores = run.programs.row(progress, run.inputs)
        table.append({name: float(value) for name, value in scores.items()})
        show(0, table[-1])
        if saved.best is not None:
            saved = saved._replace(
                best=run.programs.observe(saved.best, scores, jnp.asarray(epoch), _copy(progress).trained)
            )
        kept.save(saved, table)
        ends = [callback(EpochEnd(epoch, dict(table[-1]), _copy(progress))) for callback in run.callbacks]
        if any(map(_is_true, ends)):
            break
    return _finished(run, saved, table)


def _resumed(kept: Checkpoints, saved: _Saved, epochs: int) -> tuple[int, _Saved, list[dict[str, float]]]:
    found = kept.restore(saved)
    if found is None:
        return 0, saved, []
    if len(found.table) > epochs:
        raise ValueError(
            f"fit: expected epochs >= {len(found.table)}, those the checkpoint was trained for, got {epochs}; give as "
            "many, or another directory"
        )
    return len(found.table), found.arrays, found.table


def _copy(progress: epoch_.Progress) -> TrainState:
    """The training state in buffers of its own: the loop gives its buffers away."""
    return jax.tree.map(jnp.copy, progress.train_state)


def _is_true(answer: Any) -> bool:
    """True itself, of Python, NumPy or JAX; what a callback returns by the way, a list say, ends nothing."""
    scalar = getattr(answer, "ndim", None) == 0 and answer.dtype == np.bool_
    return answer is True or (scalar and bool(answer))


def _ended(run: _Run, saved: _Saved) -> bool:
    out_of_patience = run.rule and saved.best and bool(stopping.exhausted(run.rule, saved.best))
    return bool(out_of_patience) or int(saved.progress.diverged_at) >= 0


def _finished(run: _Run, saved: _Saved, table: list[dict[str, float]]) -> tuple[Trained, dict[str, Any]]:
    diverged_at = int(saved.progress.diverged_at)
    if 0 <= diverged_at < run.programs.steps:
        run.explain(saved.progress.train_state.trained)
    warn_if_diverged("fit", diverged_at, run.programs.steps)
    # Before the first epoch's end there is no row yet: its columns are what the program would return.
    columns = table[0] if table else jax.eval_shape(run.programs.row, saved.progress, run.inputs)
    history: dict[str, Any] = {name: np.array([row[name] for row in table], float) for name in columns}
    trained = saved.progress.train_state.trained
    if saved.best is not None and run.rule is not None:
        if diverged_at < 0:
            stopping.warn_if_never_scored("fit", run.rule, history)
        history["best_epoch"] = int(saved.best.epoch)
        trained = saved.best.trained if history["best_epoch"] >= 0 else trained
    return trained, history | {
        "epochs": len(table), "diverged_at": diverged_at, "skipped": int(saved.progress.skipped)
    }  # fmt: skip


def _explained(model: Layer, task: Task, inputs: Inputs, trained: Trained) -> None:
    require_possible("fit", model, task, trained, *inputs.data[:2])


def _one_epoch(
    run: _Run,
    progress: epoch_.Progress,
    epoch: Array,
    show: Callable[[int, dict[str, float]], None],
    interrupted: Callable[[], bool],
) -> epoch_.Progress:
    programs, data = run.programs, run.inputs.data
    order = programs.order(run.sources, epoch, run.inputs)
    progress, place, chunk = epoch_.next_epoch(progress), 0, 1
    while place < programs.steps and not interrupted():
        began, last = time.perf_counter(), min(place + chunk, programs.steps)
        progress = programs.advance(progress, jnp.asarray(place), jnp.asarray(last), run.sources, epoch, order, data)
        if int(progress.diverged_at) >= 0:
            break
        seconds = max(time.perf_counter() - began, 1e-6)
        show(last - place, {"loss": float(epoch_.mean_loss(progress))})
        chunk = max(1, min(4 * chunk, int(chunk * RESPONSE_SECONDS / seconds)))
        place = last
    return progress
