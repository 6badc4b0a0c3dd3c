"""A run driven from the host: progress bar, callbacks, Ctrl-C, over the same compiled loop as `trainer`."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from fnn import checks
from fnn.layer import Layer
from fnn.optim.transform import Transform
from fnn.programs import compile as compiled
from fnn.tasks import Task, as_task
from fnn.train.callbacks import Callback, check_callbacks
from fnn.train.checkpoint import Checkpoints, store_of
from fnn.train.console import interruption, progress_bar, suggest_cores
from fnn.train.drive import Setup, drive
from fnn.train.identity import Identity, identity_of
from fnn.train.loop import Carry, Recipe, begin, check_recipe, end_epoch, keys_of, outcome_of
from fnn.train.options import Options
from fnn.train.processes import on_a_mesh, pace, require_same_run
from fnn.train.sharding import replicate
from fnn.train.sources import source_of
from fnn.train.stopping import EarlyStopping
from fnn.train.trained import Trained, as_trained
from fnn.typing import Array, Augmentation, Data, DType, History, Key, LossFunction, PenaltyFunction, Rows, Validation

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

    Called again with a model, an optimizer, a task and options that say the same, also when they were built anew, it
    compiles nothing for data of the same shapes: see `fnn.programs`.

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
        validation: scored after every epoch: another data tuple, a stream, row numbers of `data`, or a fraction of the
            rows such as 0.2, drawn by the key and of every class its share. Validation rows are not trained on. Of a
            stream each of several processes gives its part, and the scores are those of all rows together.
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
        ValueError, TypeError: on data that cannot be trained on, saying what to write.
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
    # A copy: the loop gives its buffers away, and the caller's must live on.
    start = None if start is None else jax.tree.map(jnp.copy, as_trained("start", start))
    with interruption() as interrupted, contextlib.closing(source_of(recipe, key, data, rows, validation)) as source:
        suggest_cores(model, progress)
        require_same_run("fit", recipe, source.inputs, key, start, source.describe, {"checkpoint": bool(checkpoint)})
        key, inputs, start = replicate(mesh, (key, source.inputs, start))
        # The host keeps the history: a run of more epochs is the same program.
        recipe = recipe._replace(options=recipe.options._replace(epochs=0))
        keys = keys_of(key)
        carry = compiled(begin, recipe)(keys, inputs, start)
        score, row, finish = source.score, compiled(end_epoch, recipe), compiled(outcome_of, recipe)

        def columns(carry: Carry) -> list[str]:
            scores = score and dict.fromkeys(("loss", *recipe.task.metrics), jax.ShapeDtypeStruct((), jnp.float32))
            return sorted(jax.eval_shape(row, carry, inputs, jnp.zeros((), jnp.int32), scores)[1])

        def identity() -> Identity:
            return identity_of(recipe, carry, inputs, key, start, columns(carry), source.describe(inputs))

        def close(carry: Carry, epoch: Array) -> tuple[Carry, dict[str, Array] | None]:
            scores = score and score(carry.train_state.trained, int(epoch), interrupted)
            return (carry, None) if score and scores is None else row(carry, inputs, epoch, scores)

        store = store_of(checkpoint, recipe.options.early_stopping, identity, mesh)
        total = None if source.steps is None else epochs * source.steps
        if recipe.options.early_stopping is not None:
            columns(carry)  # a score that is not there is said before the first step
        with progress_bar(progress, total) as show:
            run = Setup(
                source.epochs(recipe, keys, inputs, interrupted), source.stands if checkpoint else lambda epochs: None,
                functools.partial(source.resume, interrupted), close, columns, finish, recipe.options.early_stopping,
                callbacks, functools.partial(source.explain, recipe, key, inputs), functools.partial(pace, mesh), show,
                interrupted,
            )  # fmt: skip
            return drive(run, carry, epochs, store)
