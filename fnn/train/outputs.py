"""What a model gives for rows of arrays, a batch at a time, and the scores of that."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from fnn import checks
from fnn.layer import Layer
from fnn.metrics.protocol import measure_all
from fnn.tasks.task import Task, mean_loss
from fnn.train import rows as rows_
from fnn.train.sharding import round_up, split, whole
from fnn.train.trained import Trained, apply_trained
from fnn.typing import Array, PyTree


def outputs_of(
    model: Layer, trained: Trained, x: PyTree, rows: Array | None, batch_size: int, mesh: Mesh | None = None
) -> PyTree:
    """The model's outputs for the given rows (all of them for None), `batch_size` at a time, split over the mesh."""
    total = rows_.count(x) if rows is None else rows.shape[0]
    batch_size = round_up(mesh, min(batch_size, total))
    batches = -(-total // batch_size)

    def one(place: Array) -> PyTree:
        slots = jnp.minimum(place * batch_size + jnp.arange(batch_size), total - 1)
        chosen = slots if rows is None else jnp.maximum(rows[slots], 0)
        return apply_trained(model, trained, split(mesh, rows_.take(x, chosen)))

    if batches == 1 and rows is None and mesh is None:
        return apply_trained(model, trained, x)
    stacked = jax.lax.map(one, jnp.arange(batches))
    return whole(mesh, jax.tree.map(lambda leaf: leaf.reshape(batches * batch_size, *leaf.shape[2:])[:total], stacked))


def scores_from(task: Task, outputs: Array, data: rows_.Checked, rows: Array | None) -> dict[str, Array]:
    """Loss and metrics of the outputs for the given rows; empty slots and zero weights do not count. All are NaN where
    nothing does: an error of 0 would be the best there is."""
    _, targets, weights = data
    if rows is not None:
        targets = rows_.take(targets, jnp.maximum(rows, 0))
        own = jnp.ones(rows.shape, jnp.float32) if weights is None else weights[jnp.maximum(rows, 0)]
        weights = jnp.where(rows >= 0, own, 0)
    loss, counted, _ = mean_loss(task, outputs, targets, weights)
    scores = {"loss": loss}
    scores |= measure_all(task.metrics, outputs, targets, weights)
    nan = lambda score: jnp.where(counted == 0, jnp.nan, score)  # noqa: E731
    return {
        n: nan(score) if jnp.issubdtype(jnp.result_type(score), jnp.floating) else score for n, score in scores.items()
    }


def one_number_each(scores: dict[str, Array]) -> dict[str, Array]:
    """The scores of an epoch, of which a history has one entry."""
    for name, score in scores.items():
        if jnp.ndim(score):
            raise ValueError(
                f"expected the metric {name!r} to be one number, as every epoch has an entry in the history, got "
                f"{checks.describe(score)}; evaluate takes metrics of several numbers"
            )
    return scores
