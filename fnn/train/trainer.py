"""A whole training run as one pure, compiled function of arrays."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from fnn import checks, programs
from fnn.layer import Layer
from fnn.optim.transform import Transform
from fnn.tasks import Task, as_task
from fnn.train import epoch as epoch_
from fnn.train import rows as rows_
from fnn.train import stopping
from fnn.train.divergence import require_possible, warn_if_diverged
from fnn.train.identity import Parts
from fnn.train.inputs import Inputs, checked_run
from fnn.train.predict import scores_of
from fnn.train.processes import require_same_run
from fnn.train.sharding import automatic, checked_mesh, lying_on, on_automatic_axes, replicate
from fnn.train.step import require_parts, train_step
from fnn.train.stopping import Best, EarlyStopping
from fnn.train.trained import Trained, TrainState
from fnn.typing import Array, Key, PyTree

__all__ = ["trainer"]

EVALUATION_ROWS = 1024
"""Rows computed at once during validation."""


def score_row(model: Layer, task: Task, progress: epoch_.Progress, inputs: Inputs) -> dict[str, Array]:
    """The epoch's entry in the history."""
    row = {"loss": epoch_.mean_loss(progress)}
    if inputs.validation is not None:
        trained = progress.train_state.trained
        scores = scores_of(model, task, trained, inputs.validation, inputs.validation_rows, EVALUATION_ROWS)
        row |= {f"validation_{name}": score for name, score in scores.items()}
    return row


class Run(NamedTuple):
    """What a run carries from epoch to epoch."""

    progress: epoch_.Progress
    best: Best | None


class Pieces(NamedTuple):
    """A run in parts: `begin(keys, inputs, start) -> run`, `epoch(keys, inputs, run, number) -> (run, row)`."""

    begin: Callable[[epoch_.Keys, Inputs, Trained | None], Run]
    epoch: Callable[[epoch_.Keys, Inputs, Run, Array], tuple[Run, dict[str, Array]]]


def pieces(
    model: Layer,
    optimizer: Transform,
    task: Task,
    *,
    batch_size: int | None,
    penalty: Callable[[PyTree], Any] | None = None,
    augment: Callable[[Key, Any, Any], tuple[Any, Any]] | None = None,
    early_stopping: EarlyStopping | None = None,
    shuffle: bool = True,
    mesh: Mesh | None = None,
) -> Pieces:
    """The start and one epoch of a run, to be looped over."""
    early_stopping = stopping.resolve(early_stopping, task)
    step = train_step(model, optimizer, task, penalty=penalty, augment=augment)

    def start_run(keys: epoch_.Keys, inputs: Inputs, start: Trained | None) -> Run:
        train_state = begin(step.init, keys.init, inputs.data[0], start)
        return Run(epoch_.begin(train_state), early_stopping and stopping.start(early_stopping, train_state.trained))

    def epoch(keys: epoch_.Keys, inputs: Inputs, run: Run, number: Array) -> tuple[Run, dict[str, Array]]:
        size = rows_.checked_batch_size("trainer", batch_size, inputs.slots)
        checked_mesh("trainer", mesh, size)
        steps = -(-inputs.slots // size)
        one_epoch = epoch_.whole_epoch(epoch_.stepper(step, size, steps, mesh), steps)
        order = epoch_.epoch_order(keys, number, inputs.training_rows(), shuffle)
        progress = one_epoch(run.progress, keys, number, order, inputs.data)
        row = score_row(model, task, progress, inputs)
        best = run.best
        if early_stopping is not None and best is not None:
            best = stopping.observe(early_stopping, best, row, number, progress.train_state.trained)
        return Run(progress, best), row

    return Pieces(start_run, epoch)


def _no_history(epoch: Callable[..., Any], run: Run, epochs: int) -> dict[str, Array]:
    shapes = jax.eval_shape(epoch, run, jnp.zeros((), jnp.int32))[1]
    return {name: jnp.full((epochs,), jnp.nan, leaf.dtype) for name, leaf in shapes.items()}


def trainer(
    model: Layer,
    optimizer: Transform,
    task: Task | Callable[[Any, Any], Array],
    *,
    epochs: int,
    batch_size: int | None = 32,
    penalty: Callable[[PyTree], Any] | None = None,
    augment: Callable[[Key, Any, Any], tuple[Any, Any]] | None = None,
    early_stopping: EarlyStopping | None = None,
    shuffle: bool = True,
    mesh: Mesh | None = None,
) -> Callable[..., tuple[Trained, dict[str, Array]]]:
    """Configure a whole training run: `run(key, data, rows=None, *, validation=None, start=None)`.

    The run is one compiled program, the same one for every `trainer` that is configured alike, also when everything was
    built anew (see `fnn.programs`): initialization, shuffling, every step of every epoch, validation and early
    stopping. It is a pure function, so `jax.vmap` over keys, rows or learning rates trains many models at once.

    Args:
        model: any layer.
        optimizer: fnn's or optax's.
        task: a task, or a bare loss function.
        epochs: passes over the data.
        batch_size: examples per step, at most as many as there are; None for all at once. A last partial batch is
            filled up with rows that do not count, so no row is dropped and nothing is compiled twice.
        penalty: params -> scalar, added to the loss.
        augment: `augment(key, x, targets) -> (x, targets)`, a random change of every training batch, for instance
            `fnn.data.random_flip()`; validation sees the data as they are.
        early_stopping: a rule made by `fnn.early_stopping`; the best parameters are returned. The run then
            contains a while loop, which JAX cannot differentiate in reverse.
        shuffle: a new order each epoch.
        mesh: devices to split every batch over: `fnn.devices.data_mesh()`, or `jax.make_mesh((n,), ("data",))` with
            explicit axes or automatic ones; the numbers are those of one device.

    Returns:
        `run(key, data, rows, validation=, start=) -> (trained, history)`. `data` is `(x, targets)` or
        `(x, targets, weights)`; `rows` are the row numbers to train on (negative: an empty slot); `start` is a
        `Trained` to go on from. `validation` is another data tuple, row numbers of `data`, or a fraction of the rows
        such as 0.2, drawn by the key and of every class its share. Validation rows are not trained on: given as both
        they are an error, and where they are traced they are left out of the training rows. `history` has one entry
        per epoch of "loss" and "validation_…" (NaN after the run has stopped, and where no row counts), the number of
        "epochs" run, "diverged_at", the first step whose loss was not finite, or -1, and "skipped", the number of
        steps that the optimizer left out (`apply_if_finite`), which are no divergence. The parameters before a
        divergence are kept.

    Raises:
        ValueError, TypeError: on data that cannot be trained on, saying what to write.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x = jnp.linspace(-1, 1, 20).reshape(20, 1)
        >>> run = fnn.trainer(fnn.dense(1), fnn.optim.sgd(0.3), fnn.tasks.regression(), epochs=50, batch_size=10)
        >>> trained, history = run(jax.random.key(0), (x, 3 * x[:, 0]))
        >>> history["loss"].shape, bool(history["loss"][-1] < 1e-3)
        ((50,), True)
    """
    task = as_task(task)
    checks.integer("trainer", "epochs", epochs)
    require_parts("trainer", model, optimizer, penalty, augment)
    if batch_size is not None:
        checks.integer("trainer", "batch_size", batch_size)
    theirs, mesh = mesh, automatic(mesh)
    given = _Given(model, optimizer, task, epochs, batch_size, penalty, augment, early_stopping, shuffle, mesh)
    given.pieces()  # says what does not fit together
    # A run of what cannot be compared, or is traced, has a program of its own.
    own = jax.jit(functools.partial(_whole_run, given))

    @on_automatic_axes
    def run(
        key: Key, data: Any, rows: Any = None, *, validation: Any = None, start: Trained | None = None
    ) -> tuple[Trained, dict[str, Array]]:
        key = rows_.checked_key("trainer", key)
        inputs = checked_run("trainer", task, data, rows, validation, key)
        require_same_run(
            "trainer", mesh, given.parts(), inputs, key, start,
            batch_size=rows_.checked_batch_size("trainer", batch_size, inputs.slots),
            epochs=epochs, shuffle=shuffle, early_stopping=early_stopping,
        )  # fmt: skip
        compiled = programs.compile(_whole_run, given, otherwise=own)
        trained, history = lying_on(theirs, compiled(*replicate(mesh, (key, inputs, start))))
        if checks.is_concrete(history["diverged_at"]) and history["diverged_at"].ndim == 0:
            total = rows_.count(inputs.data[0]) if inputs.rows is None else inputs.rows.shape[0]
            diverged_at = int(history["diverged_at"])
            steps = -(-total // rows_.checked_batch_size("trainer", batch_size, total))
            if 0 <= diverged_at < steps:
                require_possible("trainer", model, task, trained, *inputs.data[:2])
            warn_if_diverged("trainer", diverged_at, steps)
            if early_stopping is not None and diverged_at < 0:
                stopping.warn_if_never_scored("trainer", early_stopping, history)
        return trained, history

    return run


class _Given(NamedTuple):
    """What decides the program of a run."""

    model: Layer
    optimizer: Transform
    task: Task
    epochs: int
    batch_size: int | None
    penalty: Callable[[PyTree], Any] | None
    augment: Callable[[Key, Any, Any], tuple[Any, Any]] | None
    early_stopping: EarlyStopping | None
    shuffle: bool
    mesh: Mesh | None

    def parts(self) -> Parts:
        step = train_step(self.model, self.optimizer, self.task, penalty=self.penalty, augment=self.augment)
        return Parts(self.model, self.task, step, self.penalty, self.augment)

    def pieces(self) -> Pieces:
        return pieces(
            self.model, self.optimizer, self.task, batch_size=self.batch_size, penalty=self.penalty,
            augment=self.augment, early_stopping=self.early_stopping, shuffle=self.shuffle, mesh=self.mesh,
        )  # fmt: skip


def _whole_run(given: _Given, key: Key, inputs: Inputs, start: Trained | None) -> tuple[Trained, dict[str, Array]]:
    keys, parts, epochs = epoch_.keys(key), given.pieces(), given.epochs
    run, epoch = parts.begin(keys, inputs, start), functools.partial(parts.epoch, keys, inputs)
    if given.early_stopping is None:
        return _finished(*jax.lax.scan(epoch, run, jnp.arange(epochs)), jnp.asarray(epochs, jnp.int32))
    return _finished(*until_stopped(epoch, run, epochs, given.early_stopping))


def begin(init: Callable[..., TrainState], key: Key, x: PyTree, start: Trained | None) -> TrainState:
    """The training state at the first step: fresh, or going on from trained parameters."""
    example = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype), x)
    # The optimizer begins at these parameters too: averages and distances start from them, not from fresh ones.
    return init(key, example, start)


def until_stopped(
    epoch: Callable[..., tuple[Run, dict[str, Array]]], run: Run, epochs: int, rule: EarlyStopping
) -> tuple[Run, dict[str, Array], Array]:
    """Up to `epochs` epochs; a history with NaN in those that were not run; the epochs that were run."""
    history = _no_history(epoch, run, epochs)

    def more(carry: tuple[Array, Run, dict[str, Array]]) -> Array:
        number, run, _ = carry
        go = (number < epochs) & (run.progress.diverged_at < 0)
        return go if run.best is None else go & ~stopping.exhausted(rule, run.best)

    def one(carry: tuple[Array, Run, dict[str, Array]]) -> tuple[Array, Run, dict[str, Array]]:
        number, run, history = carry
        run, row = epoch(run, number)
        return number + 1, run, {name: history[name].at[number].set(row[name]) for name in history}

    number, run, history = jax.lax.while_loop(more, one, (jnp.zeros((), jnp.int32), run, history))
    return run, history, number


def _finished(run: Run, history: dict[str, Array], epochs: Array) -> tuple[Trained, dict[str, Array]]:
    trained = run.progress.train_state.trained
    trained = trained if run.best is None else stopping.chosen(run.best, trained)
    ends = {"epochs": epochs, "diverged_at": run.progress.diverged_at, "skipped": run.progress.skipped}
    history = history | ends
    return trained, history if run.best is None else history | {"best_epoch": run.best.epoch}
