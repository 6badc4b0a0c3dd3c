"""Inference over any number of rows, in batches of one shape, as one compiled program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from fnn import checks, programs
from fnn.layer import Layer
from fnn.layer.protocol import unchanged
from fnn.tasks.task import Task, as_task, mean_loss
from fnn.train import rows as rows_
from fnn.train.precision import computed_in, require_compute_dtype
from fnn.train.sharding import checked_mesh, on_automatic_axes, replicate, splitter, whole
from fnn.train.trained import Trained, as_trained, check_trained
from fnn.typing import Array, DType, PyTree

__all__ = ["evaluate", "predict"]


def outputs_of(
    model: Layer, trained: Trained, x: PyTree, rows: Array | None, batch_size: int, mesh: Mesh | None = None
) -> PyTree:
    """The model's outputs for the given rows (all of them for None), `batch_size` at a time, split over the mesh."""
    total = rows_.count(x) if rows is None else rows.shape[0]
    batch_size, split = min(batch_size, total), splitter(mesh)
    if mesh is not None:
        batch_size = -(-batch_size // mesh.size) * mesh.size
    batches = -(-total // batch_size)

    def one(place: Array) -> PyTree:
        slots = jnp.minimum(place * batch_size + jnp.arange(batch_size), total - 1)
        chosen = slots if rows is None else jnp.maximum(rows[slots], 0)
        return model.apply(trained.params, trained.state, split(rows_.take(x, chosen)))[0]

    if batches == 1 and rows is None and mesh is None:
        return model.apply(trained.params, trained.state, x)[0]
    stacked = jax.lax.map(one, jnp.arange(batches))
    return whole(mesh, jax.tree.map(lambda leaf: leaf.reshape(batches * batch_size, *leaf.shape[2:])[:total], stacked))


def scores_of(
    model: Layer,
    task: Task,
    trained: Trained,
    data: tuple[PyTree, Array, Array | None],
    rows: Array | None,
    batch_size: int,
    mesh: Mesh | None = None,
) -> dict[str, Array]:
    """Loss and metrics over the given rows; empty slots and zero weights do not count."""
    return scores_from(task, outputs_of(model, trained, data[0], rows, batch_size, mesh), data, rows)


def scores_from(
    task: Task, outputs: Array, data: tuple[PyTree, Array, Array | None], rows: Array | None
) -> dict[str, Array]:
    """`scores_of` for the outputs of these rows."""
    _, targets, weights = data
    if rows is not None:
        targets = rows_.take(targets, jnp.maximum(rows, 0))
        own = jnp.ones(rows.shape, jnp.float32) if weights is None else weights[jnp.maximum(rows, 0)]
        weights = jnp.where(rows >= 0, own, 0)
    scores = {"loss": mean_loss(task, outputs, targets, weights)[0]}
    return scores | {name: metric(outputs, targets, weights=weights) for name, metric in task.metrics.items()}


class _Predicting(NamedTuple):
    """What decides the program of `predict`."""

    model: Layer
    decode: Callable[..., Any]
    batch_size: int
    compute_dtype: DType | None
    mesh: Mesh | None


def _predict(given: _Predicting, trained: Trained, x: PyTree) -> PyTree:
    check_trained("predict", given.model, trained, x)
    model = computed_in(given.compute_dtype, given.model)
    return given.decode(outputs_of(model, trained, x, None, given.batch_size, given.mesh))


@on_automatic_axes
def predict(
    model: Layer,
    trained: Trained,
    x: PyTree,
    task: Task | None = None,
    *,
    batch_size: int = 1024,
    compute_dtype: DType | None = None,
    mesh: Mesh | None = None,
) -> PyTree:
    """The model's predictions for any number of rows; no row is dropped, every batch has one shape.

    Called again with a model and a task that say the same, also when they were built anew, it compiles nothing for
    rows of the same shape: see `fnn.programs`.

    Args:
        model: the layer that was trained.
        trained: its `Trained(params, state)`, or the `TrainState` of a callback: what its optimizer evaluates with.
        x: inputs, (rows, …).
        task: decodes the outputs to classes or values; None gives the outputs themselves.
        batch_size: rows computed at once.
        compute_dtype: what parameters and inputs are cast to, as for `trainer`; outputs are float32 then.
        mesh: devices to split them over, as for `trainer`.

    Returns:
        Predictions, (rows, …).

    Raises:
        ValueError: on empty or non-finite inputs.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.dense(3)
        >>> trained = fnn.Trained(*model.init(jax.random.key(0), jnp.ones((1, 2))))
        >>> fnn.predict(model, trained, jnp.ones((5, 2)), fnn.tasks.multiclass(3), batch_size=2).shape
        (5,)
    """
    checks.integer("predict", "batch_size", batch_size)
    require_compute_dtype("predict", compute_dtype)
    x = rows_.checked_inputs("predict", x)
    decode = unchanged if task is None else task.decode
    checked_mesh("predict", mesh)
    trained, x = replicate(mesh, (as_trained("predict", trained), x))
    return programs.compile(_predict, _Predicting(model, decode, batch_size, compute_dtype, mesh))(trained, x)


@on_automatic_axes
def evaluate(
    model: Layer,
    trained: Trained,
    data: tuple[Any, ...],
    task: Task | Callable[[Any, Any], Array],
    rows: Any = None,
    *,
    batch_size: int = 1024,
    compute_dtype: DType | None = None,
    mesh: Mesh | None = None,
) -> dict[str, Any]:
    """Loss and metrics of a trained model over a data set.

    Remembered as `predict` is: a model and a task that say the same compile once.

    Args:
        model: the layer that was trained.
        trained: its `Trained(params, state)`, or the `TrainState` of a callback: what its optimizer evaluates with.
        data: `(x, targets)` or `(x, targets, weights)`.
        task: a task, or a bare loss function.
        rows: row numbers to score, all of them by default; a negative number is an empty slot.
        batch_size: rows computed at once.
        compute_dtype: what parameters and inputs are cast to, as for `trainer`; outputs are float32 then.
        mesh: devices to split them over, as for `trainer`.

    Returns:
        A dict: "loss" and one entry per metric of the task, floats, or scalar arrays where it is traced. A metric that
        is not defined on these rows is NaN, with a warning.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.dense(1)
        >>> trained = fnn.Trained(*model.init(jax.random.key(0), jnp.ones((1, 2))))
        >>> sorted(fnn.evaluate(model, trained, (jnp.ones((5, 2)), jnp.ones(5)), fnn.tasks.regression()))
        ['loss', 'mae', 'mse', 'r2', 'rmse']
    """
    checks.integer("evaluate", "batch_size", batch_size)
    require_compute_dtype("evaluate", compute_dtype)
    task = as_task(task)
    checked = rows_.checked_data("evaluate", data, task)
    if rows is not None:
        rows = rows_.checked_rows("evaluate", rows, rows_.count(checked[0]))
        rows_.check_counted("evaluate, rows", checked[2], rows)
    checked_mesh("evaluate", mesh)
    trained, checked, rows = replicate(mesh, (as_trained("evaluate", trained), checked, rows))
    scores = programs.compile(_scores, _Scoring(model, task, batch_size, compute_dtype, mesh))(trained, checked, rows)
    if not all(checks.is_concrete(score) and score.ndim == 0 for score in scores.values()):
        return scores
    plain = {name: float(score) for name, score in jax.device_get(scores).items()}
    _warn_of_undefined(plain)
    return plain


def _warn_of_undefined(scores: dict[str, float]) -> None:
    """A metric that is NaN where the loss is finite is not defined on these rows."""
    names = [name for name, score in scores.items() if score != score and scores["loss"] == scores["loss"]]
    if names:
        checks.warn(
            f"evaluate: {', '.join(names)} {'are' if len(names) > 1 else 'is'} not defined on these rows, NaN: a "
            "single row or a single class has no variance and no order; score more rows together"
        )


class _Scoring(NamedTuple):
    """What decides the program of `evaluate`."""

    model: Layer
    task: Task
    batch_size: int
    compute_dtype: DType | None
    mesh: Mesh | None


def _scores(
    given: _Scoring, trained: Trained, data: tuple[PyTree, Array, Array | None], rows: Array | None
) -> dict[str, Array]:
    check_trained("evaluate", given.model, trained, data[0])
    model = computed_in(given.compute_dtype, given.model)
    return scores_of(model, given.task, trained, data, rows, given.batch_size, given.mesh)
