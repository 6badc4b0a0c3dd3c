"""Ensembles: bagging, seeds and snapshots, trained as one compiled program."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fnn import checks
from fnn.layer import Layer
from fnn.optim.transform import Transform
from fnn.schedules import cosine_decay_schedule
from fnn.selection import splits
from fnn.selection.members import batched_is_faster, run_members
from fnn.tasks import Task, as_task
from fnn.train import rows as rows_
from fnn.train.predict import outputs_of
from fnn.train.trained import Trained
from fnn.train.trainer import trainer
from fnn.typing import Array, Key, PyTree

__all__ = ["Ensemble", "ensemble", "snapshots"]


class Ensemble(NamedTuple):
    """Networks that predict together, made by `ensemble` or `snapshots`.

    - `model`, `task`: what was trained, and for what.
    - `trained`: the members' parameters, stacked along a first axis.
    - `history`: name -> (members, …).
    - `out_of_bag`: for every row, the average over the members that did not train on it: probabilities of a task of
      classes, values otherwise; NaN where every member did. None without bootstrap samples.
    - `out_of_bag_scores`: the task's metrics over the rows that have an estimate; empty without bootstrap samples.
    - `always_in_bag`: number of rows without an estimate.
    """

    model: Layer
    task: Task
    trained: Trained
    history: dict[str, np.ndarray]
    out_of_bag: np.ndarray | None = None
    out_of_bag_scores: dict[str, float] = {}  # noqa: RUF012
    always_in_bag: int = 0

    def outputs(self, x: PyTree, *, batch_size: int = 1024) -> Array:
        """Every member's outputs, (members, rows, …)."""
        checks.integer("outputs", "batch_size", batch_size)
        return _outputs(self.model, self.trained, rows_.checked_inputs("outputs", x), batch_size=batch_size)

    def members(self, x: PyTree, *, batch_size: int = 1024) -> Array:
        """Every member's probabilities, or values where the task has none, (members, rows, …)."""
        outputs = self.outputs(x, batch_size=batch_size)
        return outputs if self.task.probabilities is None else jax.vmap(self.task.probabilities)(outputs)

    def mean(self, x: PyTree, *, batch_size: int = 1024) -> Array:
        """Averaged probabilities, or values: $\\frac1M\\sum_m p_m(x)$."""
        return self.members(x, batch_size=batch_size).mean(axis=0)

    def spread(self, x: PyTree, *, batch_size: int = 1024) -> Array:
        """Standard deviation of the members' probabilities, or values."""
        return self.members(x, batch_size=batch_size).std(axis=0)

    def uncertainty(self, x: PyTree, *, batch_size: int = 1024) -> tuple[Array, Array]:
        """Entropy of the averaged probabilities, and how much of it is the members' disagreement: nats, (rows,).

        $H(\\bar p)$ and the mutual information $H(\\bar p) - \\frac1M\\sum_m H(p_m)$.
        """
        outputs = self.outputs(x, batch_size=batch_size)
        if self.task.probabilities is None or self.task.decode(outputs[0]).ndim != 1:
            raise ValueError(f"uncertainty: {self.task.name} does not give probabilities of one class; write spread(x)")
        each = jax.vmap(self.task.probabilities)(outputs)
        total = _entropy(each.mean(axis=0))
        return total, jnp.maximum(total - _entropy(each).mean(axis=0), 0)

    def predict(self, x: PyTree, how: str = "average", *, batch_size: int = 1024) -> Array:
        """Predictions in the terms of the task, (rows, …).

        Args:
            x: inputs, (rows, …).
            how: "average" of probabilities or values, or "vote": the class most members predict, the smallest class
                among equals.
            batch_size: rows computed at once.
        """
        checks.one_of("predict", "how", how, ("average", "vote"))
        outputs = self.outputs(x, batch_size=batch_size)
        if how == "average":
            return self.task.decode(_pooled(self.task, outputs))
        classes = jax.vmap(self.task.decode)(outputs)
        if not jnp.issubdtype(classes.dtype, jnp.integer):
            raise ValueError(f'predict: members vote on classes, {self.task.name} has none; write how="average"')
        count = int(classes.max()) + 1
        return jnp.stack([(classes == k).sum(axis=0) for k in range(count)]).argmax(axis=0).astype(classes.dtype)


@functools.partial(jax.jit, static_argnames=("model", "batch_size"))
def _outputs(model: Layer, trained: Trained, x: PyTree, *, batch_size: int) -> Array:
    return jax.vmap(lambda one: outputs_of(model, one, x, None, batch_size))(trained)


def _entropy(p: Array) -> Array:
    return -jax.scipy.special.xlogy(p, p).sum(axis=-1)


def _pooled(task: Task, outputs: Array) -> Array:
    """Outputs that decode to what the members' averaged probabilities (or values) say."""
    if task.probabilities is None:
        return outputs.mean(axis=0)
    return _logits(jax.vmap(task.probabilities)(outputs).mean(axis=0), outputs.shape[1:])


def _logits(p: Array, shape: tuple[int, ...]) -> Array:
    """$\\log p/(1-p)$: of the second class where one output stands for two, of each class otherwise."""
    p = p if p.shape == shape else p[..., 1].reshape(shape)
    return jnp.log(p) - jnp.log1p(-p)


def ensemble(
    model: Layer,
    optimizer: Transform,
    task: Task | Callable[[Any, Any], Array],
    data: tuple[Any, ...],
    *,
    key: Key,
    members: int = 10,
    bootstrap: bool = True,
    epochs: int,
    batch_size: int | None = 32,
    penalty: Callable[[PyTree], Any] | None = None,
    together: bool | None = None,
    chunk: int | None = None,
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> Ensemble:
    """Train many networks that predict together: on bootstrap samples (bagging), or on all rows from different seeds.

    Args:
        model, optimizer, task, epochs, batch_size, penalty: as for `trainer`.
        data: `(x, targets)` or `(x, targets, weights)`.
        key: random key; member m trains from `split(key, members)[m]`, the samples are drawn from the key as well.
        members: number of networks.
        bootstrap: each member trains on as many rows, drawn with replacement; False: on all rows.
        together, chunk, mesh, progress: as for `fnn.selection.cross_validate`.

    Returns:
        An `Ensemble`, with an out-of-bag estimate if members train on bootstrap samples.

    Raises:
        ValueError: on data that cannot be trained on, or if every member diverged; a few are left out with a warning.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x = jnp.linspace(-1, 1, 20).reshape(20, 1)
        >>> bag = fnn.selection.ensemble(
        ...     fnn.dense(1), fnn.optim.sgd(0.3), fnn.tasks.regression(), (x, 3 * x[:, 0]), key=jax.random.key(0),
        ...     members=4, epochs=20, batch_size=5, progress=False)
        >>> bag.outputs(x).shape, bag.out_of_bag.shape
        ((4, 20, 1), (20, 1))

    References:
        Breiman, Bagging predictors, 1996; Lakshminarayanan et al., Simple and Scalable Predictive Uncertainty
        Estimation using Deep Ensembles, 2017.
    """
    task, count = as_task(task), checks.integer("ensemble", "members", members)
    checked = rows_.checked_data("ensemble", data, task)
    rows_.checked_classes("ensemble", checked[1])
    key, total = rows_.checked_key("ensemble", key), rows_.count(checked[0])
    rows_.checked_batch_size("ensemble", batch_size, total)
    run = trainer(model, optimizer, task, epochs=epochs, batch_size=batch_size, penalty=penalty)
    bags = _bags(key, total, count) if bootstrap else None

    def member(one: PyTree, shared: PyTree) -> PyTree:
        given = shared if shared[2] is not None else shared[:2]
        trained, history = run(one["key"], given, one.get("train"))
        return trained, history, outputs_of(model, trained, shared[0], one["valid"], 1024) if bootstrap else ()

    arguments = {"key": jax.random.split(key, count)}
    if bags is not None:
        arguments |= {"train": jnp.asarray(bags.train), "valid": jnp.asarray(bags.valid)}
    together = batched_is_faster(model) if together is None else together
    (trained, history, outputs), finished = run_members(
        member, arguments, checked, together=together, chunk=chunk, mesh=mesh, progress=progress
    )
    sound = finished & ~_diverged("ensemble", history["diverged_at"])
    trained, history, outputs = jax.tree.map(lambda leaf: leaf[sound], (trained, history, outputs))
    made = Ensemble(model, task, Trained(*jax.tree.map(jnp.asarray, trained)), history)
    if bags is None:
        return made
    return made._replace(**_out_of_bag(task, checked, outputs, bags.valid[sound]))


def _bags(key: Key, rows: int, members: int) -> splits.Folds:
    """The same bootstrap samples for the same key."""
    data = key if key.dtype == jnp.uint32 else jax.random.key_data(key)
    return splits.bootstrap(rows, members, seed=int.from_bytes(np.asarray(data).tobytes(), "big"))


def _out_of_bag(task: Task, data: tuple[Any, Array, Any], outputs: np.ndarray, valid: np.ndarray) -> dict[str, Any]:
    """Estimates from the members that did not see a row, and their scores."""
    _, targets, weights = data
    each = np.asarray(outputs if task.probabilities is None else jax.vmap(task.probabilities)(jnp.asarray(outputs)))
    total = np.zeros((len(targets), *each.shape[2:]))
    times = np.zeros(len(targets))
    for predicted, rows in zip(each, valid, strict=True):
        total[rows[rows >= 0]] += predicted[rows >= 0]
        times[rows[rows >= 0]] += 1
    seen = times > 0
    estimate = total / np.where(seen, times, np.nan).reshape(-1, *[1] * (total.ndim - 1))
    scores: dict[str, float] = {}
    if seen.any():
        pooled = jnp.asarray(estimate[seen], each.dtype)
        if task.probabilities is not None:
            pooled = _logits(pooled, (int(seen.sum()), *outputs.shape[2:]))
        own = None if weights is None else weights[seen]
        scores = {name: float(metric(pooled, targets[seen], weights=own)) for name, metric in task.metrics.items()}
    return {"out_of_bag": estimate, "out_of_bag_scores": scores, "always_in_bag": int((~seen).sum())}


def snapshots(
    model: Layer,
    optimizer: Callable[..., Transform],
    task: Task | Callable[[Any, Any], Array],
    data: tuple[Any, ...],
    *,
    key: Key,
    learning_rate: float,
    members: int = 5,
    epochs: int,
    batch_size: int | None = 32,
    penalty: Callable[[PyTree], Any] | None = None,
) -> Ensemble:
    """One training with cosine restarts; the network at the end of each cycle is a member.

    Args:
        model, task, data, batch_size, penalty: as for `trainer`.
        optimizer: makes a transform from a learning rate, for instance `fnn.optim.adam`; begun anew in each cycle.
        key: random key.
        learning_rate: at the start of each cycle; it falls to 0 along a cosine.
        members: number of cycles.
        epochs: epochs of one cycle.

    Returns:
        An `Ensemble`.

    Raises:
        TypeError: if `optimizer` is a transform and not a function that makes one.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x = jnp.linspace(-1, 1, 20).reshape(20, 1)
        >>> found = fnn.selection.snapshots(
        ...     fnn.dense(1), fnn.optim.sgd, fnn.tasks.regression(), (x, 3 * x[:, 0]), key=jax.random.key(0),
        ...     learning_rate=0.1, members=3, epochs=5, batch_size=5)
        >>> found.outputs(x).shape
        (3, 20, 1)

    References:
        Huang et al., Snapshot Ensembles: Train 1, get M for free, 2017.
    """
    if isinstance(optimizer, Transform) or not callable(optimizer):
        raise TypeError(
            f"snapshots: expected a function of the learning rate such as fnn.optim.adam, got {optimizer!r}"
        )
    task, count = as_task(task), checks.integer("snapshots", "members", members)
    checks.integer("snapshots", "epochs", epochs)
    checks.in_range("snapshots", "learning_rate", learning_rate, 0, open="low")
    checked = rows_.checked_data("snapshots", data, task)
    rows_.checked_classes("snapshots", checked[1])
    key, total = rows_.checked_key("snapshots", key), rows_.count(checked[0])
    steps = epochs * -(-total // rows_.checked_batch_size("snapshots", batch_size, total))
    rule = optimizer(cosine_decay_schedule(learning_rate, steps))
    run = trainer(model, rule, task, epochs=epochs, batch_size=batch_size, penalty=penalty)

    @jax.jit
    def cycles(key: Key, data: PyTree) -> tuple[Trained, dict[str, Array]]:
        given = data if data[2] is not None else data[:2]
        first, *keys = jax.random.split(key, count + 1)

        def cycle(start: Trained, key: Key) -> tuple[Trained, tuple[Trained, dict[str, Array]]]:
            trained, history = run(key, given, start=start)
            return trained, (trained, history)

        example = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype), data[0])
        start = Trained(*model.init(first, example))
        return jax.lax.scan(cycle, start, jnp.stack(keys))[1]

    trained, history = cycles(key, checked)
    sound = ~_diverged("snapshots", np.asarray(history["diverged_at"]))
    trained = jax.tree.map(lambda leaf: leaf[sound], trained)
    return Ensemble(model, task, trained, {name: np.asarray(values)[sound] for name, values in history.items()})


def _diverged(where: str, diverged_at: np.ndarray) -> np.ndarray:
    """Which members diverged: they are named, and do not predict with the others."""
    diverged = diverged_at >= 0
    advice = "try a smaller learning rate, fnn.optim.clip_by_global_norm or scaled inputs"
    if diverged.all():
        raise ValueError(f"{where}: every member diverged; {advice}")
    if diverged.any():
        checks.warn(
            f"{where}: members {np.flatnonzero(diverged).tolist()} diverged and are left out; {advice}",
        )
    return diverged
