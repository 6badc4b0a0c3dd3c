"""A run driven from the host: progress bar, callbacks, Ctrl-C, over the same compiled loop as `trainer`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from fnn import checks
from fnn.kernels import placement
from fnn.layer import Layer
from fnn.optim.transform import Transform
from fnn.programs import compile as compiled
from fnn.tasks import Task, as_task
from fnn.train import rows as rows_
from fnn.train.callbacks import Callback, checked_callbacks
from fnn.train.checkpoint import Checkpoints, store_of
from fnn.train.console import interruption, progress_bar, suggest_cores
from fnn.train.divergence import replayed, require_possible
from fnn.train.drive import Setup, Take, drive
from fnn.train.identity import identity_of
from fnn.train.inputs import Inputs, checked_run
from fnn.train.loop import Carry, Keys, Order, Recipe, keys_of, loop_of, order_of, sizes
from fnn.train.options import Options, checked_options
from fnn.train.processes import pace, peers, require_same_run
from fnn.train.sharding import checked_mesh, on_automatic_axes, replicate
from fnn.train.step import require_model_and_optimizer
from fnn.train.stopping import EarlyStopping
from fnn.train.trained import Trained, TrainState, as_trained
from fnn.typing import Array, DType, Key, PyTree

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
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
    start: Trained | None = None,
    checkpoint: str | Path | Checkpoints | None = None,
    shuffle: bool = True,
    training_metrics: bool = True,
    compute_dtype: DType | None = None,
    mesh: Mesh | None = None,
) -> tuple[Trained, dict[str, Any]]:
    """Train a model and watch it: the numbers of `trainer`, with a progress bar, callbacks and Ctrl-C.

    Called again with a model, an optimizer, a task and options that say the same, also when they were built anew, it
    compiles nothing for data of the same shapes: see `fnn.programs`.

    Args:
        model, optimizer, task, epochs, batch_size, penalty, augment, early_stopping, shuffle, training_metrics,
            compute_dtype, mesh: as for `trainer`.
        data: `(x, targets)` or `(x, targets, weights)`.
        key: random key; the same key gives the same run.
        rows: row numbers to train on, all by default.
        validation: scored after every epoch: another data tuple, row numbers of `data`, or a fraction of the rows such
            as 0.2, drawn by the key and of every class its share. Validation rows are not trained on.
        callbacks: functions of an `EpochEnd`, or `fnn.every(steps, function)`, which is called after every so many
            steps; one that returns True ends the run.
        progress: show a bar (needs tqdm); by default if tqdm is installed.
        start: a `Trained` to go on from.
        checkpoint: a directory, or `fnn.checkpoints(directory, keep=2, every=1, best=False)`. The run is saved there
            after every epoch; called again with the same arguments, or with
            more epochs, `fit` goes on after the last epoch saved and ends with the numbers of an unbroken run. Called
            with anything else it says what differs.

    Returns:
        `(trained, history)` as from `trainer`, the history as lists of floats with one entry per epoch that was run,
        which `json.dumps` takes. After Ctrl-C: what is trained so far.

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
    key = checks.random_key("fit", checks.key_given("fit", key, "training"))
    options = Options(epochs, batch_size, penalty, augment, early_stopping, shuffle, training_metrics, compute_dtype)
    options = checked_options("fit", task, options)
    require_model_and_optimizer("fit", model, optimizer)
    checked_callbacks("fit", callbacks)
    if isinstance(data, (tuple, list)) and len(data) > 1:
        data = (rows_.lent(data[0]), *data[1:])  # all is over when `fit` returns
    inputs = checked_run("fit", task, data, rows, validation, key)
    start = None if start is None else as_trained("start", start)
    size, steps = sizes(batch_size, inputs.slots)
    checked_mesh("fit", mesh, size)
    suggest_cores(model, progress)
    require_same_run("fit", Recipe(model, optimizer, task, options, mesh), inputs, key, start)
    key, inputs, start = replicate(mesh, (key, inputs, start))
    # The host keeps the history: a run of more epochs is the same program.
    recipe = Recipe(model, optimizer, task, options._replace(epochs=0), mesh)
    keys = keys_of(key)
    carry = compiled(_begin, recipe)(keys, inputs, start)
    row, finish = compiled(_row, recipe), compiled(_finish, recipe)
    columns = lambda: sorted(jax.eval_shape(row, carry, inputs, jnp.zeros((), jnp.int32))[1])  # noqa: E731
    store = store_of(
        checkpoint, options.early_stopping, lambda: identity_of(recipe, carry, inputs, key, start, columns())
    )
    with peers("fit", mesh), progress_bar(progress, epochs * steps) as show, interruption() as interrupted:
        run = Setup(
            _epochs_of_rows(recipe, keys, inputs), lambda carry, epoch: row(carry, inputs, epoch), finish, steps,
            options.early_stopping, callbacks, functools.partial(_explain, recipe, key, inputs),
            functools.partial(pace, mesh), show, interrupted,
        )  # fmt: skip
        return drive(run, carry, epochs, store)


def _epochs_of_rows(recipe: Recipe, keys: Keys, inputs: Inputs) -> Callable[[int], Take]:
    """Epochs over arrays in memory, by row numbers."""
    order, steps = compiled(order_of, recipe.options.shuffle), compiled(_steps, recipe, donate=(0,))
    count = sizes(recipe.options.batch_size, inputs.slots)[1]

    on_host = (
        recipe.options.shuffle and recipe.mesh is None and placement.platform() == "cpu" and inputs.slots >= rows_.MANY
    )

    def epoch(number: int) -> Take:
        epoch = jnp.asarray(number)
        if on_host:
            drawn = compiled(_bits, inputs.slots)
            rows = Order(*jax.device_put(rows_.shuffled_on_host(drawn(keys.shuffle, epoch), inputs.rows)))
        else:
            rows = order(keys, inputs, epoch)

        def take(carry: Carry, place: int, most: int) -> tuple[Carry, int]:
            last = min(place + most, count)
            if last == place:
                return carry, 0
            return steps(carry, keys, inputs, epoch, rows, jnp.asarray(place), jnp.asarray(last)), last - place

        return take

    return epoch


def _bits(rows: int, key: Key, epoch: Array) -> Array:
    return jax.random.bits(jax.random.fold_in(key, epoch), (rows,), jnp.uint32)


def _begin(recipe: Recipe, keys: Keys, inputs: Inputs, start: Trained | None) -> Carry:
    return loop_of(recipe).begin(keys, inputs, start)


def _steps(recipe: Recipe, carry: Carry, keys: Keys, inputs: Inputs, epoch: Array, order: Order, *ends: Array) -> Carry:
    """Both ends are values, so no part of an epoch is compiled again."""
    return loop_of(recipe).steps(carry, keys, inputs, epoch, order, *ends)


def _row(recipe: Recipe, carry: Carry, inputs: Inputs, epoch: Array) -> tuple[Carry, dict[str, Array]]:
    return loop_of(recipe).row(carry, inputs, epoch)


def _finish(recipe: Recipe, carry: Carry) -> tuple[Trained, dict[str, Array]]:
    return loop_of(recipe).finish(carry)


def _explain(recipe: Recipe, key: Key, inputs: Inputs, before: TrainState, step: int) -> str:
    if step < sizes(recipe.options.batch_size, inputs.slots)[1]:
        require_possible("fit", recipe.model, recipe.task, before.trained, *inputs.data[:2])
    return replayed(recipe, key, inputs, before, step)
