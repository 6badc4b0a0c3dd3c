"""The loop: how a run begins, takes steps, ends an epoch and finishes, and the one thing it carries.

Four pure functions of a recipe and of arrays: `begin`, `take_steps`, `end_epoch` and `outcome_of`. `trainer` loops over
them inside one program, `fit` drives them from the host, the searches and the estimators a slice of time at a time for
many runs at once; nothing else trains.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from fnn import random_bits
from fnn.layer import Layer
from fnn.metrics.protocol import measure_all
from fnn.optim.acceptance import all_finite, either
from fnn.optim.stated_rate import learning_rate
from fnn.optim.transform import Transform, as_transform, is_skipped
from fnn.tasks import Task
from fnn.train import stopping
from fnn.train.inputs import Inputs
from fnn.train.options import Options, check_options
from fnn.train.outputs import one_number_each, outputs_of, scores_from
from fnn.train.sharding import split
from fnn.train.step import Advance, TrainStep, compute_in, require_model_and_optimizer, train_step
from fnn.train.stopping import Best
from fnn.train.trained import Trained, TrainState, shapes_of
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


@functools.partial(jax.tree_util.register_dataclass, data_fields=["total", "lost"], meta_fields=["names"])
@dataclasses.dataclass(frozen=True)
class Means:
    """Means over an epoch as they go, by their names: what was summed and what it weighs, `total` (names, 2), and what
    rounding would lose of both, `lost`, so that millions of rows in float32 add up to all digits. One array has them
    all: each of its own would be as many kernels."""

    names: tuple[str, ...]
    total: Array
    lost: Array

    def plus(self, values: Mapping[str, Array], weights: Mapping[str, Array], counts: Mapping[str, Array]) -> Means:
        """With one value more of each that counts."""
        value, weight, counted = (jnp.stack([of[name] for name in self.names]) for of in (values, weights, counts))
        pair = jnp.stack([value * weight, weight], -1)
        term = jnp.where(counted[..., None], pair, 0) - self.lost
        total = self.total + term
        return Means(self.names, total, (total - self.total) - term)

    def so_far(self) -> dict[str, Array]:
        """NaN where nothing counted."""
        return dict(zip(self.names, self.total[..., 0] / self.total[..., 1], strict=True))


class Carry(NamedTuple):
    """Everything that changes in a run.

    `diverged_at` is the number of the first step of the run whose loss or new parameters were not finite, -1 while
    there is none; from that step on the training state is left as it was before it. `skipped` counts the steps that
    the optimizer itself left out. `history` has room for `options.epochs` entries, `epochs` of them are written.
    `over` says that early stopping or a divergence under it has ended the run.
    """

    train_state: TrainState
    means: Means
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
    return Keys(*random_bits.split(key, 3))


Batch = tuple[PyTree, PyTree, Array]


class BatchSource(NamedTuple):
    """Where batches come from: `at(place)`, the number that the batch at place 0 has in the whole run, and whether it
    is known that every row of all of them counts."""

    at: Callable[[Array], Batch]
    before: Array
    full: bool = False


def step_of(recipe: Recipe) -> TrainStep:
    model, optimizer, task, options, _ = recipe
    return train_step(
        model, optimizer, task, penalty=options.penalty, augment=options.augment, compute_dtype=options.compute_dtype
    )


def check_recipe(where: str, given: Recipe) -> Recipe:
    """What a run is told, checked, also that it fits together."""
    recipe = given._replace(options=check_options(where, given.task, given.options))
    require_model_and_optimizer(where, recipe.model, recipe.optimizer)
    step_of(recipe)
    return recipe


def evaluation_model(recipe: Recipe) -> Layer:
    """The model as it computes: in the dtype of the run."""
    return compute_in(recipe.options.compute_dtype, recipe.model)


def begin(recipe: Recipe, keys: Keys, inputs: Inputs, start: Trained | TrainState | None) -> Carry:
    """A fresh run, or one that goes on from a `Trained` or a `TrainState`."""
    if not isinstance(start, TrainState):
        # The optimizer begins at these parameters too: averages and distances start from them.
        start = step_of(recipe).init(keys.init, shapes_of(inputs.data[0], 1), start)
    zero, rule = jnp.zeros((), jnp.int32), recipe.options.early_stopping
    best = None if rule is None else stopping.start(rule, start.trained)
    carry = Carry(start, _no_means(recipe), zero - 1, zero, best, {}, zero + 0, jnp.zeros((), bool))
    epochs = recipe.options.epochs
    shapes = jax.eval_shape(lambda *given: _entries(recipe, *given), carry, inputs) if epochs else {}
    return carry._replace(history={n: jnp.full(epochs, jnp.nan, s.dtype) for n, s in shapes.items()})


def take_steps(recipe: Recipe, carry: Carry, keys: Keys, batches: BatchSource, first: Any, last: Any) -> Carry:
    """Those of the batches at places `first` to `last`."""
    step, metrics = step_of(recipe), _metrics(recipe)

    def one(place: Array, carry: Carry) -> Carry:
        number = batches.before + jnp.asarray(place).astype(jnp.int32)
        batch = split(recipe.mesh, batches.at(place))
        new = step.advance(carry.train_state, random_bits.fold_in(keys.train, number), batch, batches.full)
        return _accept(carry, _with_class_numbers(new, batch[1]), metrics, number)

    # With known ends this is a scan, so that a run can be differentiated in both modes.
    return jax.lax.fori_loop(first, last, one, carry)


def end_epoch(
    recipe: Recipe, carry: Carry, inputs: Inputs, epoch: Array, scores: dict[str, Array] | None = None
) -> tuple[Carry, dict[str, Array]]:
    """The end of an epoch and its entry in the history; `scores` are of a validation that is not among the inputs."""
    row, best, over = _entries(recipe, carry, inputs, scores), carry.best, carry.over
    rule = recipe.options.early_stopping
    if rule is not None and best is not None:
        best = stopping.observe(rule, best, row, epoch, carry.train_state.trained)
        out_of_patience = best.waited > jnp.maximum(rule.patience - 1, 0)
        over = (carry.diverged_at >= 0) | out_of_patience
    history = {name: values.at[carry.epochs].set(row[name]) for name, values in carry.history.items()}
    return carry._replace(means=_no_means(recipe), best=best, history=history, epochs=carry.epochs + 1, over=over), row


def _entries(recipe: Recipe, carry: Carry, inputs: Inputs, scores: dict[str, Array] | None = None) -> dict[str, Array]:
    row = {n: jnp.where(carry.diverged_at >= 0, jnp.nan, mean) for n, mean in carry.means.so_far().items()}
    if recipe.options.training_metrics:
        rate = learning_rate(as_transform(recipe.optimizer), carry.train_state.opt_state)
        row |= {} if rate is None else {"learning_rate": rate}
    if inputs.validation is not None:
        held, trained, model = inputs.validation_rows, carry.train_state.trained, evaluation_model(recipe)
        outputs = outputs_of(model, trained, inputs.validation[0], held, EVALUATION_ROWS)
        scores = scores_from(recipe.task, outputs, inputs.validation, held)
    return row | {f"validation_{name}": score for name, score in one_number_each(scores or {}).items()}


def outcome_of(recipe: Recipe, carry: Carry) -> tuple[Trained, dict[str, Array]]:
    """What a run gives back: what to predict with, and the history with how it ended."""
    trained = carry.train_state.trained
    ends = {"epochs": carry.epochs, "diverged_at": carry.diverged_at, "skipped": carry.skipped}
    if carry.best is None:
        return trained, carry.history | ends
    return stopping.choose(carry.best, trained), carry.history | ends | {"best_epoch": carry.best.epoch}


def _metrics(recipe: Recipe) -> Mapping[str, Any]:
    return recipe.task.metrics if recipe.options.training_metrics else {}


def _no_means(recipe: Recipe) -> Means:
    names = (*_metrics(recipe), "loss")
    # Zeros for each place: a buffer that stands in two of them cannot be given away.
    return Means(names, jnp.zeros((len(names), 2), jnp.float32), jnp.zeros((len(names), 2), jnp.float32))


def _accept(carry: Carry, step: Advance, metrics: Mapping[str, Any], number: Array) -> Carry:
    """Keep the step's result if it had rows to learn from and its loss is finite; NaN weights are no empty batch.

    A step that the optimizer left out is kept too, as its state counts it; a loss that is not finite is then neither
    in the mean nor, by way of running statistics, in the model's state.
    """
    old, new, weight = carry.train_state, step.train_state, step.counted.astype(jnp.float32)
    real, running, finite = weight != 0, carry.diverged_at < 0, jnp.isfinite(step.loss)
    left_out = is_skipped(new.opt_state, old.opt_state)
    sound = (weight > 0) & (finite | left_out) & all_finite(new.params)
    good = real & running & sound
    state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new.state, old.state)
    kept = either(good, new._replace(state=state), old)
    scores = one_number_each(measure_all(metrics, step.outputs, *step.batch[1:]))
    seen = {name: score.astype(jnp.float32) for name, score in (scores | {"loss": step.loss}).items()}
    counts = {name: good & finite & jnp.isfinite(score) for name, score in seen.items()}
    return carry._replace(
        train_state=kept,
        means=carry.means.plus(seen, dict.fromkeys(scores, step.entries) | {"loss": weight}, counts),
        diverged_at=jnp.where(real & running & ~sound, number, carry.diverged_at),
        skipped=carry.skipped + (good & left_out).astype(jnp.int32),
    )


def _with_class_numbers(step: Advance, given: Any) -> Advance:
    """Metrics of class numbers that an augmentation mixed are those of the class that has most of the mixture."""
    x, targets, weights = step.batch
    are_arrays = isinstance(given, jax.Array) and isinstance(targets, jax.Array)
    if not are_arrays or not jnp.issubdtype(given.dtype, jnp.integer) or targets.ndim != given.ndim + 1:
        return step
    return step._replace(batch=(x, jnp.argmax(targets, -1).astype(given.dtype), weights))
