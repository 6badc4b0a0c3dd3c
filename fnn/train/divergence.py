"""When the loss is not finite: what the compiled run could not say, and what helps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks, random_bits
from fnn.layer import Layer
from fnn.layer.parts import output_shape
from fnn.tasks import Task
from fnn.train.epochs import batches_of, order_of, sizes, take_steps_of_epoch
from fnn.train.inputs import Inputs
from fnn.train.loop import Batch, Carry, Recipe, begin, keys_of
from fnn.train.replay import explain_divergence
from fnn.train.trained import Trained, TrainState
from fnn.typing import Array, Key, PyTree

ROWS_LOOKED_AT = 10_000
"""Rows that are looked at again after a run that diverged."""


def require_possible(where: str, model: Layer, task: Task, trained: Trained, x: PyTree, targets: Any) -> None:
    """Raise the error of a class number or an embedding index out of range.

    Inside a compiled run such numbers cannot be looked at and show as a loss of NaN; computed once more outside of it,
    model and loss say which row it is.
    """
    if not all(checks.is_concrete(leaf) for leaf in jax.tree.leaves((x, targets, trained))):
        return
    x, targets = jax.tree.map(lambda leaf: leaf[:ROWS_LOOKED_AT], (x, targets))
    try:
        like = output_shape(model, trained.params, trained.state, x)
        task.loss(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like), targets)
        if any(jnp.issubdtype(leaf.dtype, jnp.integer) for leaf in jax.tree.leaves(x)):
            model.apply(trained.params, trained.state, x)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def explain(where: str, recipe: Recipe, key: Key, inputs: Inputs, before: TrainState, number: int) -> str:
    """What is said of step `number`, over arrays, whose loss was not finite; a row that cannot be is an error."""
    if number < sizes(recipe.options.batch_size, inputs.slots)[1]:
        require_possible(where, recipe.model, recipe.task, before.trained, *inputs.data[:2])
    return replay(recipe, key, inputs, before, number)


def replay(recipe: Recipe, key: Key, inputs: Inputs, before: TrainState, number: int) -> str:
    """`replay_batch` for that of step `number` over arrays."""

    def batch() -> Batch:
        given = jax.tree.map(jnp.asarray, inputs)
        epoch, place = (jnp.asarray(part) for part in divmod(number, sizes(recipe.options.batch_size, given.slots)[1]))
        order = order_of(recipe.options.shuffle, keys_of(key), given, epoch)
        return batches_of(recipe, given, epoch, order).at(place)

    return replay_batch(recipe, key, batch, before, number)


def replay_batch(recipe: Recipe, key: Key, batch: Callable[[], Batch], before: TrainState, number: int) -> str:
    """Where the run's step `number` first left the finite numbers, or why that cannot be said: a sentence."""
    arrays = jax.tree.leaves((key, before))
    if not all(leaf.is_fully_addressable for leaf in arrays if isinstance(leaf, jax.Array)):
        return " Steps of several processes are not replayed: run it in one of them to hear in which layer."
    model, optimizer, task, options, _ = recipe
    # The batch of a mesh fits on one device.
    step, before, key = jax.device_get((batch(), before, random_bits.fold_in(keys_of(key).train, number)))
    found = explain_divergence(
        model, optimizer, task, before, step, key=key, penalty=options.penalty, augment=options.augment,
        compute_dtype=options.compute_dtype,
    )  # fmt: skip
    if found is None:
        return " Replayed layer by layer, that step was finite: rounding alone decides there."
    return f" Replayed: {found}."


def retrain(recipe: Recipe, key: Key, inputs: Inputs, start: PyTree, number: int) -> str:
    """`replay` of one of many runs at once, whose state is not kept: trained once more by itself, up to that step."""
    keys, steps = keys_of(key), sizes(recipe.options.batch_size, inputs.slots)[1]

    def until(inputs: Inputs, start: Trained | TrainState | None) -> Carry:
        def one(epoch: Array, carry: Carry) -> Carry:
            return take_steps_of_epoch(recipe, carry, keys, inputs, epoch, None, 0, steps)

        return jax.lax.fori_loop(0, number // steps + 1, one, begin(recipe, keys, inputs, start))

    carry = jax.jit(until)(inputs, start)
    number = number if carry.diverged_at < 0 else int(carry.diverged_at)
    return replay(recipe, key, inputs, carry.train_state, number)


WHAT_HELPS = "Try a smaller learning rate, fnn.optim.clip_by_global_norm or scaled inputs"


def warn_of_divergence(where: str, epoch: int, step: int, said: str) -> None:
    """Say in which epoch and step, both from 0, the loss stopped being finite, and what helps."""
    checks.warn(
        f"{where}: the loss was not finite in epoch {epoch + 1}, step {step + 1}; the parameters "
        f"before that step are kept.{said} {WHAT_HELPS}"
    )
