"""A run driven from the host: progress bar, callbacks, Ctrl-C, over the same compiled loop as `trainer`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from fnn import checks
from fnn.layer import Layer
from fnn.optim.transform import Transform
from fnn.tasks import Task, as_task
from fnn.train.callbacks import Callback, check_callbacks
from fnn.train.checkpoint import Checkpoints, Store
from fnn.train.console import interruption, progress_bar, suggest_cores
from fnn.train.drive import Run
from fnn.train.identity import identity_of
from fnn.train.loop import Recipe, check_recipe
from fnn.train.options import Options
from fnn.train.processes import on_a_mesh, require_same_run
from fnn.train.sources import source_of
from fnn.train.stopping import EarlyStopping
from fnn.train.trained import Trained, as_trained
from fnn.typing import Augmentation, Data, DType, History, Key, LossFunction, PenaltyFunction, Rows, Validation

__all__ = ["fit"]


@on_a_mesh("fit")
def fit(
    model: Layer,
    optimizer: Transform,
    task: Task | LossFunction,
    data: Data,
    *,
    key: Key | None = None,
    epochs: int,
    batch_size: int | None = 32,
    rows: Rows | None = None,
    validation: Validation | None = None,
    penalty: PenaltyFunction | None = None,
    augment: Augmentation | None = None,
    early_stopping: EarlyStopping | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
    start: Trained | None = None,
    checkpoint: str | Path | Checkpoints | None = None,
    shuffle: bool = True,
    training_metrics: bool = True,
    compute_dtype: DType | None = None,
    mesh: Mesh | None = None,
) -> tuple[Trained, History]:
    """Train a model and watch it: the numbers of `trainer`, with a progress bar, callbacks and Ctrl-C.

    Args:
        model, optimizer, task, epochs, batch_size, penalty, augment, early_stopping, shuffle, training_metrics,
            compute_dtype, mesh: as for `trainer`.
        data: `(x, targets)` or `(x, targets, weights)`; a loss function in the task's place may take several arrays of
            targets, in a dict or a named tuple. Of a memory map as `x` (`numpy.load(…, mmap_mode="r")`) the rows of a
            batch are read when they are trained on. Or a stream of such batches, which need not fit into memory: a
            function of nothing or of the `epoch` (from 0) that gives them, a generator function mostly, or anything
            that can be iterated again, as a torch `DataLoader`, `tf.data`, grain, a list of batches or of the names of
            files, each a batch that `numpy.savez(path, x=x, y=y)` wrote. They are arrays of NumPy, JAX or torch's on a
            CPU, of one dtype and, but for the number of rows, of one shape; a thread reads ahead, and all sizes are one
            program. A stream makes its own batches in its own order: `batch_size`, `rows` and a fraction as
            `validation` are of arrays. An epoch is one pass: a stream without an end never ends the first one, so cut
            it, `lambda: itertools.islice(endless, 1000)`. In several processes each gives its own part of every batch,
            of the same form, in any number of rows; one that has none, or none left, computes on with rows that do not
            count. Of a memory map each reads its own rows.
        key: random key; the same key gives the same run.
        rows: row numbers to train on, all by default.
        validation: scored after every epoch, as for `trainer`; or a stream, of which each of several processes gives
            its part, and the scores are those of all rows together.
        callbacks: functions of an `EpochEnd`, or `fnn.every(steps, function)`, which is called after every so many
            steps; one that returns True ends the run. What it raises in one of several processes is raised in all.
        progress: show a bar (needs tqdm); by default if tqdm is installed.
        start: a `Trained` to go on from.
        checkpoint: a directory, or `fnn.checkpoints(directory, keep=2, every=1, best=False, steps=None)`. The run is
            saved there after every epoch, with `steps` also within one; called again with the same arguments, or with
            more epochs, `fit` goes on where it was saved last and ends with the numbers of an unbroken run. Called
            with anything else it says what differs. A stream with `state_dict` and `load_state_dict`, or whose iterator
            has `get_state` and `set_state`, is given its state back, also one to validate on; a function of the epoch
            needs none; any other is read again up to that place, with a warning, and one to validate on is held against
            what it gave before, with a warning if it gives something else. Of several processes the first one writes
            and reads the files, and tells the others; a process that computes alone, without a mesh of all, saves its
            own run.

    Returns:
        `(trained, history)` as from `trainer`, the history as lists of floats with one entry per epoch that was run,
        which `json.dumps` takes. After Ctrl-C: what is trained so far.

    Raises:
        StreamError: where a stream fails, ends before its `len` or gives a bad batch, naming it; it holds what was
            trained until then.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x = jnp.linspace(-1, 1, 20).reshape(20, 1)
        >>> trained, history = fnn.fit(
        ...     fnn.dense(1), fnn.optim.sgd(0.3), fnn.tasks.regression(), (x, 3 * x[:, 0]),
        ...     key=jax.random.key(0), epochs=50, batch_size=10, progress=False)
        >>> bool(history["loss"][-1] < 1e-3)
        True
    """
    key = checks.random_key("fit", checks.require_key("fit", key, "training"))
    options = Options(epochs, batch_size, penalty, augment, early_stopping, shuffle, training_metrics, compute_dtype)
    recipe = check_recipe("fit", Recipe(model, optimizer, as_task(task), options, mesh))
    check_callbacks("fit", callbacks)
    # The host keeps the history: a run of more epochs is the same program.
    recipe = recipe._replace(options=recipe.options._replace(epochs=0))
    rule = recipe.options.early_stopping
    # A copy: the loop gives its buffers away, and the caller's must live on.
    start = None if start is None else jax.tree.map(jnp.copy, as_trained("start", start))
    with (
        interruption() as interrupted,
        contextlib.closing(source_of(recipe, epochs, key, data, rows, validation, interrupted)) as source,
    ):
        suggest_cores(model, progress)
        beside = {"epochs": epochs, "checkpoint": bool(checkpoint)}
        require_same_run("fit", recipe, source.inputs, key, start, source.describe, beside)
        run = Run(source, source.begin(start), callbacks, interrupted)
        if checkpoint is not None:
            own = identity_of(recipe, source.key, source.inputs, source.describe, run.carry, start, run.columns())
            run.store = Store(checkpoint, rule, own, mesh)
        if rule is not None:
            run.columns()  # a score that is not there is said before the first step
        with progress_bar(progress, None if source.steps is None else epochs * source.steps) as show:
            return run.drive(epochs, show)
