"""Networks that predict together."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, programs
from fnn.layer import Layer
from fnn.tasks import Task
from fnn.train import rows as rows_
from fnn.train.loop import EVALUATION_ROWS
from fnn.train.outputs import outputs_of
from fnn.train.trained import Trained
from fnn.typing import Array, PyTree

__all__ = ["Ensemble"]


class Ensemble(NamedTuple):
    """Networks that predict together, made by `ensemble` or `snapshots`.

    - `model`, `task`: what was trained, and for what.
    - `trained`: the members' parameters, stacked along a first axis.
    - `history`: name -> (members, …).
    - `out_of_bag`: for every row, the average over the members that did not train on it: probabilities of a task of
      classes, values otherwise; NaN where every member did. None without bootstrap samples.
    - `out_of_bag_scores`: the task's metrics over the rows that have an estimate; empty without bootstrap samples.
    - `always_in_bag`: number of rows without an estimate.

    Of a model with several outputs, what is said of outputs and values holds of each in its place. Every method takes
    inputs `x` (rows, …), of which `batch_size` rows are computed at once.
    """

    model: Layer
    task: Task
    trained: Trained
    history: dict[str, np.ndarray]
    out_of_bag: Any = None
    out_of_bag_scores: dict[str, float] = {}  # noqa: RUF012
    always_in_bag: int = 0

    def outputs(self, x: PyTree, *, batch_size: int = EVALUATION_ROWS) -> Array:
        """Every member's outputs, (members, rows, …)."""
        checks.integer("outputs", "batch_size", batch_size)
        run = programs.compile(_outputs, (self.model, batch_size))
        return run(self.trained, rows_.check_inputs("outputs", x))

    def members(self, x: PyTree, *, batch_size: int = EVALUATION_ROWS) -> Array:
        """Every member's probabilities, or values where the task has none, (members, rows, …)."""
        return probabilities(self.task, self.outputs(x, batch_size=batch_size))

    def mean(self, x: PyTree, *, batch_size: int = EVALUATION_ROWS) -> Array:
        """Averaged probabilities, or values: $\\frac1M\\sum_m p_m(x)$."""
        return jax.tree.map(lambda leaf: leaf.mean(axis=0), self.members(x, batch_size=batch_size))

    def spread(self, x: PyTree, *, batch_size: int = EVALUATION_ROWS) -> Array:
        """Standard deviation of the members' probabilities, or values."""
        return jax.tree.map(lambda leaf: leaf.std(axis=0), self.members(x, batch_size=batch_size))

    def uncertainty(self, x: PyTree, *, batch_size: int = EVALUATION_ROWS) -> tuple[Array, Array]:
        """Entropy of the averaged probabilities, and how much of it is the members' disagreement: nats, (rows,).

        $H(\\bar p)$ and the mutual information $H(\\bar p) - \\frac1M\\sum_m H(p_m)$.
        """
        outputs = self.outputs(x, batch_size=batch_size)
        if self.task.probabilities is None or self.task.decode(outputs[0]).ndim != 1:
            raise ValueError(f"uncertainty: {self.task.name} does not give probabilities of one class; write spread(x)")
        each = probabilities(self.task, outputs)
        total = _entropy(each.mean(axis=0))
        return total, jnp.maximum(total - _entropy(each).mean(axis=0), 0)

    def predict(self, x: PyTree, how: str = "average", *, batch_size: int = EVALUATION_ROWS) -> Array:
        """Predictions in the terms of the task, (rows, …), by the "average" of probabilities or values, or by "vote":
        the class most members predict, the smallest class among equals."""
        checks.one_of("predict", "how", how, ("average", "vote"))
        outputs = self.outputs(x, batch_size=batch_size)
        if how == "average":
            mean = jax.tree.map(lambda leaf: leaf.mean(axis=0), probabilities(self.task, outputs))
            known = self.task.probabilities is not None
            return self.task.decode(outputs_for(self.task, mean, outputs.shape[1:]) if known else mean)
        classes = jax.vmap(self.task.decode)(outputs)
        if not all(jnp.issubdtype(leaf.dtype, jnp.integer) for leaf in jax.tree.leaves(classes)):
            raise ValueError(f'predict: members vote on classes, {self.task.name} has none; write how="average"')
        count = int(classes.max()) + 1
        return jnp.stack([(classes == k).sum(axis=0) for k in range(count)]).argmax(axis=0).astype(classes.dtype)


def _outputs(given: tuple[Layer, int], trained: Trained, x: PyTree) -> Array:
    model, batch_size = given
    return jax.vmap(lambda one: outputs_of(model, one, x, None, batch_size))(trained)


def _entropy(p: Array) -> Array:
    return -jax.scipy.special.xlogy(p, p).sum(axis=-1)


def probabilities(task: Task, outputs: Array) -> Array:
    """Of every member, or its values where the task has none."""
    return outputs if task.probabilities is None else jax.vmap(task.probabilities)(outputs)


def outputs_for(task: Task, p: Array, shape: tuple[int, ...]) -> Array:
    """Outputs of this shape that say the probabilities `p`, in the form that the task's loss and metrics take.

    As logits $\\log p$ of classes that exclude each other, $\\log p/(1-p)$ of each label, and of the second class where
    one output stands for two.
    """
    each = p.shape == shape
    own = p if each else p[..., 1].reshape(shape)
    if task.takes == "probabilities":
        return own
    exclusive = each and jax.eval_shape(task.decode, jax.ShapeDtypeStruct(shape, p.dtype)).ndim < len(shape)
    return jnp.log(own) if exclusive or task.takes == "log_probabilities" else jnp.log(own) - jnp.log1p(-own)
