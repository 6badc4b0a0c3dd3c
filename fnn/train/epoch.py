"""One epoch as a loop over training steps: what `trainer` scans and `fit` drives from the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from fnn.optim.transform import skipped
from fnn.train import rows as rows_
from fnn.train.sharding import splitter
from fnn.train.step import TrainStep
from fnn.train.trained import TrainState
from fnn.typing import Array, Key, PyTree


class Progress(NamedTuple):
    """What one epoch carries from step to step.

    `diverged_at` is the number of the first step of the run whose loss or new parameters were not finite, -1 while
    there is none. From that step on the training state is left as it was before it. `skipped` counts the steps that
    the optimizer itself left out.
    """

    train_state: TrainState
    loss_sum: Array
    weight_sum: Array
    diverged_at: Array
    skipped: Array


class Keys(NamedTuple):
    """The three independent sources of randomness of a run."""

    init: Key
    shuffle: Key
    train: Key


def keys(key: Key) -> Keys:
    return Keys(*jax.random.split(key, 3))


def begin(train_state: TrainState) -> Progress:
    # Two zeros, not one twice: a buffer that stands in two places cannot be given away.
    sums = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32)
    return Progress(train_state, *sums, jnp.full((), -1, jnp.int32), jnp.zeros((), jnp.int32))


def next_epoch(progress: Progress) -> Progress:
    """The same training state with the sums of the loss at zero."""
    return progress._replace(loss_sum=jnp.zeros((), jnp.float32), weight_sum=jnp.zeros((), jnp.float32))


def mean_loss(progress: Progress) -> Array:
    """Mean training loss over what counted in the epoch, NaN where nothing did and once the run has diverged."""
    return jnp.where(progress.diverged_at >= 0, jnp.nan, progress.loss_sum / progress.weight_sum)


def epoch_order(keys: Keys, epoch: Array, rows: Array, shuffle: bool) -> tuple[Array, Array]:
    """This epoch's order of the rows and how many of them there are."""
    if not shuffle:
        return rows[jnp.argsort(rows < 0, stable=True)], (rows >= 0).sum()
    return rows_.shuffled(jax.random.fold_in(keys.shuffle, epoch), rows)


def stepper(step: TrainStep, batch_size: int, steps: int, mesh: Mesh | None) -> Callable[..., Progress]:
    """`one(place, progress, keys, epoch, order, data)`: the epoch's step number `place`."""
    split = splitter(mesh)

    def one(
        place: Array,
        progress: Progress,
        keys: Keys,
        epoch: Array,
        order: tuple[Array, Array],
        data: tuple[PyTree, PyTree, Array | None],
    ) -> Progress:
        chosen, counts = rows_.batch_rows(*order, place, batch_size)
        x, targets, weights = data
        weight = counts.astype(jnp.float32)
        if weights is not None:
            weight = weight * weights[chosen].astype(jnp.float32)
        batch = split((rows_.take(x, chosen), rows_.take(targets, chosen), weight))
        number = epoch.astype(jnp.int32) * steps + place.astype(jnp.int32)
        train_state, loss, counted = step.advance(progress.train_state, jax.random.fold_in(keys.train, number), batch)
        return _accept(progress, train_state, loss, counted.astype(jnp.float32), number)

    return one


def _accept(progress: Progress, train_state: TrainState, loss: Array, weight: Array, number: Array) -> Progress:
    """Keep the step's result if it had rows to learn from and its loss is finite; NaN weights are no empty batch.

    A step that the optimizer left out is kept too, as its state counts it; a loss that is not finite is then neither
    in the mean nor, by way of running statistics, in the model's state.
    """
    old = progress.train_state
    real, running, finite = weight != 0, progress.diverged_at < 0, jnp.isfinite(loss)
    left_out = skipped(train_state.opt_state, old.opt_state)
    sound = (weight > 0) & (finite | left_out) & _all_finite(train_state.params)
    good = real & running & sound
    state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), train_state.state, old.state)
    kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), train_state._replace(state=state), old)
    return Progress(
        kept,
        progress.loss_sum + jnp.where(good & finite, loss.astype(jnp.float32) * weight, 0),
        progress.weight_sum + jnp.where(good & finite, weight, 0),
        jnp.where(real & running & ~sound, number, progress.diverged_at),
        progress.skipped + (good & left_out).astype(jnp.int32),
    )


def _all_finite(params: PyTree) -> Array:
    # A finite loss can have an infinite gradient: the parameters themselves are looked at.
    floats = [leaf for leaf in jax.tree.leaves(params) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in floats]).all() if floats else jnp.array(True)


def whole_epoch(one: Callable[..., Progress], steps: int) -> Callable[..., Progress]:
    """`one` over all steps of an epoch by `lax.scan`, so that a run can be differentiated in both modes."""

    def epoch(progress: Progress, *given: Any) -> Progress:
        def body(progress: Progress, place: Array) -> tuple[Progress, None]:
            return one(place, progress, *given), None

        return jax.lax.scan(body, next_epoch(progress), jnp.arange(steps))[0]

    return epoch
