"""The loop: how a run begins, takes steps, ends an epoch and finishes, and the one thing it carries.

Four pure functions of arrays. `trainer` loops over them inside one program, `fit` drives them from the host, the
searches and the estimators a slice of time at a time for many runs at once; nothing else trains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from fnn.layer import Layer
from fnn.optim.transform import Transform, as_transform, is_skipped, learning_rate
from fnn.tasks import Task
from fnn.train import rows as rows_
from fnn.train import stopping
from fnn.train.inputs import Inputs
from fnn.train.options import Options
from fnn.train.outputs import scores_of
from fnn.train.precision import compute_in
from fnn.train.sharding import check_mesh, splitter
from fnn.train.step import Advance, TrainStep, train_step
from fnn.train.stopping import Best
from fnn.train.trained import Trained, TrainState
from fnn.typing import Array, Key, PyTree

EVALUATION_ROWS = 1024
"""Rows computed at once during validation."""


class Recipe(NamedTuple):
    """What decides the program of a run: everything that is not an array."""

    model: Layer
    optimizer: Transform
    task: Task
    options: Options
    mesh: Mesh | None = None


class Sum(NamedTuple):
    """A sum that keeps what rounding would lose of it, in `lost`: millions of rows in float32 add up to all digits."""

    total: Array
    lost: Array

    def plus(self, term: Array) -> Sum:
        corrected = term.astype(jnp.float32) - self.lost
        total = self.total + corrected
        return Sum(total, (total - self.total) - corrected)


class Mean(NamedTuple):
    """A mean over an epoch as it goes: what was summed, and what it weighs."""

    value: Sum
    weight: Sum

    def plus(self, value: Array, weight: Array, counts: Array) -> Mean:
        """With one value more where it counts."""
        value, weight = (jnp.where(counts, term, 0) for term in (value * weight, weight))
        return Mean(self.value.plus(value), self.weight.plus(weight))

    def so_far(self) -> Array:
        """NaN where nothing counted."""
        return self.value.total / self.weight.total


class Carry(NamedTuple):
    """Everything that changes in a run.

    `diverged_at` is the number of the first step of the run whose loss or new parameters were not finite, -1 while
    there is none; from that step on the training state is left as it was before it. `skipped` counts the steps that
    the optimizer itself left out. `history` has room for `options.epochs` entries, `epochs` of them are written.
    `over` says that early stopping or a divergence under it has ended the run.
    """

    train_state: TrainState
    means: dict[str, Mean]
    diverged_at: Array
    skipped: Array
    best: Best | None
    history: dict[str, Array]
    epochs: Array
    over: Array


class Keys(NamedTuple):
    """The three independent sources of randomness of a run."""

    init: Key
    shuffle: Key
    train: Key


def keys_of(key: Key) -> Keys:
    return Keys(*jax.random.split(key, 3))


class Order(NamedTuple):
    """The row numbers of an epoch in the order they are taken, and how many of them there are."""

    rows: Array
    real: Array


Batch = tuple[PyTree, PyTree, Array]


class Batches(NamedTuple):
    """Where batches come from: `at(place)`, the number that the batch at place 0 has in the whole run, and whether it
    is known that every row of all of them counts."""

    at: Callable[[Array], Batch]
    before: Array
    full: bool = False


class Loop(NamedTuple):
    """The pieces of a run.

    - `begin(keys, inputs, start) -> carry`: fresh, or going on from a `Trained` or a `TrainState`.
    - `steps(carry, keys, batches, first, last) -> carry`: those of the batches at places `first` to `last`.
    - `row(carry, inputs, epoch, held=None) -> (carry, row)`: the end of an epoch, its entry in the history; `held` are
      scores of a validation that is not among the inputs.
    - `finish(carry) -> (trained, history)`.
    """

    begin: Callable[[Keys, Inputs, Any], Carry]
    steps: Callable[[Carry, Keys, Batches, Any, Any], Carry]
    row: Callable[..., tuple[Carry, dict[str, Array]]]
    finish: Callable[[Carry], tuple[Trained, dict[str, Array]]]


def order_of(shuffle: bool, keys: Keys, inputs: Inputs, epoch: Array) -> Order:
    """This epoch's order of the rows, empty slots last."""
    rows = inputs.training_rows()
    if not shuffle:
        return Order(rows[jnp.argsort(rows < 0, stable=True)], (rows >= 0).sum())
    return Order(*rows_.shuffle(jax.random.fold_in(keys.shuffle, epoch), rows))


def sizes(batch_size: int | None, slots: int) -> tuple[int, int]:
    """Examples per step, and steps per epoch."""
    size = rows_.check_batch_size("trainer", batch_size, slots)
    return size, -(-slots // size)


def batches_of(recipe: Recipe, inputs: Inputs, epoch: Array, order: Order) -> Batches:
    """Those of an epoch over arrays, by row numbers."""
    size, count = sizes(recipe.options.batch_size, inputs.slots)
    check_mesh("trainer", recipe.mesh, size)
    full = inputs.rows is None and inputs.data[2] is None and inputs.slots == count * size
    return Batches(lambda place: batch_of(inputs.data, order, place, size), epoch.astype(jnp.int32) * count, full)


def step_of(recipe: Recipe) -> TrainStep:
    """The training step that a recipe describes."""
    model, optimizer, task, options, _ = recipe
    return train_step(
        model, optimizer, task, penalty=options.penalty, augment=options.augment, compute_dtype=options.compute_dtype
    )


def evaluation_model(recipe: Recipe) -> Layer:
    """The model as it computes: in the dtype of the run."""
    return compute_in(recipe.options.compute_dtype, recipe.model)


def loop_of(recipe: Recipe) -> Loop:
    """The pieces of the run that a recipe describes."""
    model, optimizer, task, options, mesh = recipe
    step, rule, split = step_of(recipe), options.early_stopping, splitter(mesh)
    metrics = task.metrics if options.training_metrics else {}
    scored = evaluation_model(recipe)

    def begin(keys: Keys, inputs: Inputs, start: Trained | TrainState | None) -> Carry:
        if not isinstance(start, TrainState):
            # The optimizer begins at these parameters too: averages and distances start from them.
            start = step.init(keys.init, _example(inputs.data[0]), start)
        zero = jnp.zeros((), jnp.int32)
        best = None if rule is None else stopping.start(rule, start.trained)
        carry = Carry(start, _no_means(metrics), zero - 1, zero, best, {}, zero + 0, jnp.zeros((), bool))
        shapes = jax.eval_shape(entries, carry, inputs) if options.epochs else {}
        return carry._replace(history={n: jnp.full(options.epochs, jnp.nan, s.dtype) for n, s in shapes.items()})

    def steps(carry: Carry, keys: Keys, batches: Batches, first: Array | int, last: Array | int) -> Carry:
        def one(place: Array, carry: Carry) -> Carry:
            number = batches.before + jnp.asarray(place).astype(jnp.int32)
            batch = split(batches.at(place))
            new = step.advance(carry.train_state, jax.random.fold_in(keys.train, number), batch, batches.full)
            return _accept(carry, _with_class_numbers(new, batch[1]), metrics, number)

        # With known ends this is a scan, so that a run can be differentiated in both modes.
        return jax.lax.fori_loop(first, last, one, carry)

    def entries(carry: Carry, inputs: Inputs, scores: dict[str, Array] | None = None) -> dict[str, Array]:
        row = {n: jnp.where(carry.diverged_at >= 0, jnp.nan, mean.so_far()) for n, mean in carry.means.items()}
        rate = learning_rate(as_transform(optimizer), carry.train_state.opt_state) if options.training_metrics else None
        row |= {} if rate is None else {"learning_rate": rate}
        if inputs.validation is not None:
            held, trained = inputs.validation_rows, carry.train_state.trained
            scores = scores_of(scored, task, trained, inputs.validation, held, EVALUATION_ROWS)
        return row | {f"validation_{name}": score for name, score in (scores or {}).items()}

    def row(
        carry: Carry, inputs: Inputs, epoch: Array, held: dict[str, Array] | None = None
    ) -> tuple[Carry, dict[str, Array]]:
        row, best, over = entries(carry, inputs, held), carry.best, carry.over
        if rule is not None and best is not None:
            best = stopping.observe(rule, best, row, epoch, carry.train_state.trained)
            over = (carry.diverged_at >= 0) | stopping.is_exhausted(rule, best)
        history = {name: values.at[carry.epochs].set(row[name]) for name, values in carry.history.items()}
        ended = carry._replace(means=_no_means(metrics), best=best, history=history, epochs=carry.epochs + 1, over=over)
        return ended, row

    return Loop(begin, steps, row, outcome_of)


def outcome_of(carry: Carry) -> tuple[Trained, dict[str, Array]]:
    """What a run gives back: what to predict with, and the history with how it ended."""
    trained = carry.train_state.trained
    ends = {"epochs": carry.epochs, "diverged_at": carry.diverged_at, "skipped": carry.skipped}
    if carry.best is None:
        return trained, carry.history | ends
    return stopping.choose(carry.best, trained), carry.history | ends | {"best_epoch": carry.best.epoch}


def _example(x: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype), x)


def _no_means(metrics: Mapping[str, Any]) -> dict[str, Mean]:
    # A zero for each place: a buffer that stands in two of them cannot be given away.
    nothing = lambda: Sum(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))  # noqa: E731
    return {name: Mean(nothing(), nothing()) for name in (*metrics, "loss")}


def batch_of(data: tuple[PyTree, PyTree, Array | None], order: Order, place: Array, size: int) -> Batch:
    """The epoch's batch number `place`, each row with its weight."""
    chosen, counts = rows_.batch_rows(*order, place, size)
    x, targets, weights = data
    weight = counts.astype(jnp.float32)
    if weights is not None:
        weight = weight * weights[chosen].astype(jnp.float32)
    return rows_.take(x, chosen), rows_.take(targets, chosen), weight


def _accept(carry: Carry, step: Advance, metrics: Mapping[str, Any], number: Array) -> Carry:
    """Keep the step's result if it had rows to learn from and its loss is finite; NaN weights are no empty batch.

    A step that the optimizer left out is kept too, as its state counts it; a loss that is not finite is then neither
    in the mean nor, by way of running statistics, in the model's state.
    """
    old, new, weight = carry.train_state, step.train_state, step.counted.astype(jnp.float32)
    real, running, finite = weight != 0, carry.diverged_at < 0, jnp.isfinite(step.loss)
    left_out = is_skipped(new.opt_state, old.opt_state)
    sound = (weight > 0) & (finite | left_out) & _all_finite(new.params)
    good = real & running & sound
    state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new.state, old.state)
    kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), new._replace(state=state), old)
    seen = {name: score.astype(jnp.float32) for name, score in _scores(metrics, step).items()}
    counts = {name: good & finite & jnp.isfinite(score) for name, score in seen.items()}
    return carry._replace(
        train_state=kept,
        means={name: mean.plus(seen[name], weight, counts[name]) for name, mean in carry.means.items()},
        diverged_at=jnp.where(real & running & ~sound, number, carry.diverged_at),
        skipped=carry.skipped + (good & left_out).astype(jnp.int32),
    )


def _with_class_numbers(step: Advance, given: Any) -> Advance:
    """Metrics of class numbers that an augmentation mixed are those of the class that has most of the mixture."""
    x, targets, weights = step.batch
    if not (isinstance(given, jax.Array) and isinstance(targets, jax.Array)):
        return step
    if not jnp.issubdtype(given.dtype, jnp.integer) or targets.ndim != given.ndim + 1:
        return step
    return step._replace(batch=(x, jnp.argmax(targets, -1).astype(given.dtype), weights))


def _scores(metrics: Mapping[str, Any], step: Advance) -> dict[str, Array]:
    """The loss of a step and the metrics of its outputs, those that are one number."""
    _, targets, weights = step.batch
    scores = {name: metric(step.outputs, targets, weights=weights) for name, metric in metrics.items()}
    return scores | {"loss": step.loss}


def _all_finite(params: PyTree) -> Array:
    # A finite loss can have an infinite gradient: the parameters themselves are looked at.
    floats = [leaf for leaf in jax.tree.leaves(params) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in floats]).all() if floats else jnp.array(True)
