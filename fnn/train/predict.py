"""Inference over any number of rows, in batches of one shape, as one compiled program."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fnn import checks, programs
from fnn.layer import Layer
from fnn.layer.protocol import identity
from fnn.tasks.task import Task, as_task
from fnn.train import rows as rows_
from fnn.train.feeding import Feed
from fnn.train.loop import EVALUATION_ROWS
from fnn.train.memory_maps import MappedFiles, holds_maps, is_mapped, map_files, require_same_kinds, without_inputs
from fnn.train.outputs import outputs_of, scores_from
from fnn.train.process_batches import gather_rows
from fnn.train.processes import on_a_mesh, pace, together
from fnn.train.sharding import check_mesh, replicate
from fnn.train.step import compute_in
from fnn.train.stream import Stream, is_stream, refuse_what_belongs_to_arrays, stream_of
from fnn.train.stream_outputs import Application, Scoring, collect
from fnn.train.trained import Trained, as_trained, check_trained
from fnn.typing import Array, Data, DType, LossFunction, PyTree, Rows

__all__ = ["evaluate", "predict"]


@on_a_mesh("predict", ends=True)
def predict(
    model: Layer,
    trained: Trained,
    x: PyTree,
    task: Task | None = None,
    *,
    batch_size: int = EVALUATION_ROWS,
    compute_dtype: DType | None = None,
    mesh: Mesh | None = None,
) -> PyTree:
    """The model's predictions for any number of rows; no row is dropped, every batch has one shape.

    Args:
        model: the layer that was trained.
        trained: its `Trained(params, state)`, or the `TrainState` of a callback: what its optimizer evaluates with.
        x: inputs, (rows, …), where a memory map is read by the rows of a batch; or a stream of inputs, or of batches
            `(x, targets)` whose targets are left, as for `fit`. In several processes arrays and memory maps are given
            whole to each, of which it computes its part, of a stream each gives its own part of every batch.
        task: decodes the outputs to classes or values, with a warning where they are NaN; None gives the outputs
            themselves.
        batch_size: rows computed at once.
        compute_dtype: what parameters and inputs are cast to, as for `trainer`; outputs are float32 then.
        mesh: devices to split them over, as for `trainer`.

    Returns:
        One prediction for each row that was given, (rows, …); of a stream and of a memory map on the host, NumPy's.
        Each of several processes has those of all rows of arrays and maps, and those of its own of a stream: all are
        `jax.experimental.multihost_utils.process_allgather(predictions, tiled=True)` where all have as many.

    Raises:
        StreamError: on a bad batch of a stream or of a memory map, naming it.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.dense(3)
        >>> trained = fnn.Trained(*model.init(jax.random.key(0), jnp.ones((1, 2))))
        >>> fnn.predict(model, trained, jnp.ones((5, 2)), fnn.tasks.multiclass(3), batch_size=2).shape
        (5,)
    """
    checks.integer("predict", "batch_size", batch_size)
    checks.floating_dtype("predict", "compute_dtype", compute_dtype)
    check_mesh("predict", mesh)
    require_same_kinds("predict", mesh, x=x if is_stream(x) else (x, None))
    trained = as_trained("predict", trained)
    decode = identity if task is None else functools.partial(_decode, as_task(task).decode)
    applied = Application("predict", compute_in(compute_dtype, model), decode, mesh)
    if (stream := _inputs_as_stream(x, trained, batch_size, mesh)) is not None:
        with contextlib.closing(Feed(stream, mesh)) as feed:
            found = collect(feed, applied, replicate(mesh, trained))
            found = _in_order(*gather_rows(found)) if feed.joined and not is_stream(x) else found[0]
    else:
        x = rows_.check_inputs("predict", x)
        _wait_for_all(applied, trained, x)
        found = programs.compile(_predict, (applied, batch_size))(*replicate(mesh, (trained, x)))
    return found if task is None else _warn_of_nan(*found)


def _predict(given: tuple[Application, int], trained: Trained, x: PyTree, rows: Array | None = None) -> PyTree:
    (where, model, decode, mesh), batch_size = given
    check_trained(where, model, trained, x)
    return decode(outputs_of(model, trained, x, rows, batch_size, mesh))


def _decode(decode: Callable[..., Any], outputs: PyTree) -> tuple[PyTree, Array]:
    """What the outputs mean, and of which rows they are NaN: a class is a number like any other then."""
    undefined = [jnp.isnan(leaf).reshape(len(leaf), -1).any(axis=1) for leaf in jax.tree.leaves(outputs)]
    return decode(outputs), functools.reduce(jnp.logical_or, undefined)


def _warn_of_nan(predictions: PyTree, undefined: Any) -> PyTree:
    """The predictions, after a warning where they mean nothing."""
    if checks.is_concrete(undefined) and getattr(undefined, "is_fully_addressable", True):
        rows = np.flatnonzero(undefined)
        if len(rows):
            checks.warn(
                f"predict: the outputs of {len(rows)} of {len(undefined)} rows are NaN, of row {rows[0]} first; what "
                "they are decoded to means nothing: numbers beyond an embedding's table give NaN, and parameters that "
                "diverged; without the task predict gives the outputs themselves"
            )
    return predictions


def _inputs_as_stream(x: Any, trained: Any, batch_size: int, mesh: Mesh | None) -> Stream | None:
    """What is read batch by batch, None for arrays; the targets of a memory map are the numbers of its rows."""
    if is_stream(x):
        refuse_what_belongs_to_arrays("predict", batch_size, EVALUATION_ROWS, None)
        return stream_of("predict", x, None, 1)
    if not holds_maps(x) or not checks.are_known(x, trained):
        return None
    total = rows_.count(x, "predict")
    checks.at_least_one("predict", "row", total, checks.describe(x))
    rows = np.arange(total, dtype=np.int32)
    return MappedFiles(x, rows, None).stream("predict", lambda epoch: rows, min(batch_size, total), mesh)


def _in_order(outputs: PyTree, rows: np.ndarray, weights: np.ndarray) -> PyTree:
    """What the processes computed of the rows with these numbers; those that do not count fill up the last batch."""
    counted = np.flatnonzero(weights)
    order = counted[np.argsort(rows[counted])]
    return jax.tree.map(lambda leaf: leaf[order], outputs)


def _wait_for_all(given: Application, trained: Trained, x: PyTree) -> None:
    """All processes are ready for the program, in which they could only wait for one that is not."""
    if together(given.mesh) and checks.are_known(trained, x):
        check_trained(given.where, given.model, trained, x)
        pace(given.mesh, 1)


@on_a_mesh("evaluate", ends=True)
def evaluate(
    model: Layer,
    trained: Trained,
    data: Data,
    task: Task | LossFunction,
    rows: Rows | None = None,
    *,
    batch_size: int = EVALUATION_ROWS,
    compute_dtype: DType | None = None,
    mesh: Mesh | None = None,
) -> dict[str, float] | dict[str, Array]:
    """Loss and metrics of a trained model over a data set.

    Args:
        model, trained, batch_size, compute_dtype, mesh: as for `predict`.
        data: `(x, targets)` or `(x, targets, weights)`, where a memory map `x` is read by the rows of a batch, or a
            stream of such batches, as for `fit`, of which each of several processes gives its part. Of streams and
            memory maps the outputs of all rows are held, the inputs are not.
        task: a task, or a bare loss function.
        rows: row numbers to score, all of them by default; a negative number is an empty slot.

    Returns:
        A dict: "loss" and one entry per metric of the task, floats, or scalar arrays where it is traced. A metric that
        is not defined on these rows is NaN, with a warning; where no target counts, all are. Several processes are
        given the same numbers, those of all rows of all of them.

    Raises:
        StreamError: on a bad batch of a stream or of a memory map, naming it.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.dense(1)
        >>> trained = fnn.Trained(*model.init(jax.random.key(0), jnp.ones((1, 2))))
        >>> sorted(fnn.evaluate(model, trained, (jnp.ones((5, 2)), jnp.ones(5)), fnn.tasks.regression()))
        ['loss', 'mae', 'mse', 'r2', 'rmse']
    """
    checks.integer("evaluate", "batch_size", batch_size)
    checks.floating_dtype("evaluate", "compute_dtype", compute_dtype)
    task = as_task(task)
    require_same_kinds("evaluate", mesh, data=data)
    check_mesh("evaluate", mesh)
    trained = as_trained("evaluate", trained)
    applied = Application("evaluate", compute_in(compute_dtype, model), identity, mesh)
    if is_stream(data):
        refuse_what_belongs_to_arrays("evaluate", batch_size, EVALUATION_ROWS, rows)
        return _evaluate_stream(applied, task, stream_of("evaluate", data, task, 1), trained)
    in_files = is_mapped(data) and checks.are_known(data, trained, rows)
    checked = rows_.check_data("evaluate", without_inputs("evaluate", data) if in_files else data, task)
    if rows is not None:
        rows = rows_.check_rows("evaluate", rows, rows_.count(checked[0]))
        rows_.check_counted("evaluate, rows", checked[2], rows)
    if in_files:
        stream = _files_as_stream(map_files(data, checked), rows, batch_size, mesh)
        return _evaluate_stream(applied, task, stream, trained)
    _wait_for_all(applied, trained, checked[0])
    run = programs.compile(_scores, (applied, batch_size, task))
    return _as_floats(run(*replicate(mesh, (trained, checked, rows))))


def _files_as_stream(files: MappedFiles, rows: Any, batch_size: int, mesh: Mesh | None) -> Stream:
    """The rows in their order, empty slots left out."""
    if rows is not None:
        files = files.with_weights()
    chosen = np.arange(rows_.count(files.targets)) if rows is None else rows[rows >= 0]
    return files.stream("evaluate", lambda epoch: chosen, min(batch_size, len(chosen)), mesh)


def _evaluate_stream(applied: Application, task: Task, stream: Stream, trained: Trained) -> Any:
    with contextlib.closing(Scoring(applied, task, stream)) as scoring:
        scores = scoring(replicate(applied.mesh, trained))
    assert scores is not None, "nothing interrupts it"
    return _as_floats(scores)


def _as_floats(scores: dict[str, Array]) -> dict[str, float] | dict[str, Array]:
    """As they are where they are traced, and where a metric of the caller's is no scalar."""
    if not all(checks.is_concrete(score) and score.ndim == 0 for score in scores.values()):
        return scores
    plain = {name: float(score) for name, score in jax.device_get(scores).items()}
    # A metric that is NaN where the loss is finite is not defined on these rows.
    names = [name for name, score in plain.items() if score != score and plain["loss"] == plain["loss"]]
    if names:
        checks.warn(
            f"evaluate: {', '.join(names)} {'are' if len(names) > 1 else 'is'} not defined on these rows, NaN: a "
            "single row or a single class has no variance and no order; score more rows together"
        )
    return plain


def _scores(given: tuple[Application, int, Task], trained: Trained, data: rows_.Checked, rows: Any) -> dict[str, Array]:
    applied, batch_size, task = given
    return scores_from(task, _predict((applied, batch_size), trained, data[0], rows), data, rows)
