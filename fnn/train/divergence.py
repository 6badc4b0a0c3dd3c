"""When the loss is not finite: what the compiled run could not say, and what helps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.layer import Layer
from fnn.tasks import Task
from fnn.train.inputs import Inputs
from fnn.train.loop import Recipe, batch_of, keys_of, order_of, sizes
from fnn.train.replay import explain_divergence
from fnn.train.trained import Trained, TrainState
from fnn.typing import Key, PyTree

LOOKED_AT = 10_000
"""Rows that are looked at again after a run that diverged."""


def require_possible(where: str, model: Layer, task: Task, trained: Trained, x: PyTree, targets: Any) -> None:
    """Raise the error of a class number or an embedding index out of range.

    Inside a compiled run such numbers cannot be looked at and show as a loss of NaN; computed once more outside of it,
    model and loss say which row it is.
    """
    if not all(checks.is_concrete(leaf) for leaf in jax.tree.leaves((x, targets, trained))):
        return
    x, targets = jax.tree.map(lambda leaf: leaf[:LOOKED_AT], (x, targets))
    try:
        like = jax.eval_shape(lambda p, s, v: model.apply(p, s, v)[0], trained.params, trained.state, x)
        task.loss(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like), targets)
        if any(jnp.issubdtype(leaf.dtype, jnp.integer) for leaf in jax.tree.leaves(x)):
            model.apply(trained.params, trained.state, x)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def replayed(recipe: Recipe, key: Key, inputs: Inputs, before: Trained | TrainState, number: int) -> str:
    """Where the run's step `number` first left the finite numbers; "" of data that lie on several devices."""
    if recipe.mesh is not None or not all(checks.is_concrete(leaf) for leaf in jax.tree.leaves((key, inputs, before))):
        return ""
    model, optimizer, task, options, _ = recipe
    size, steps = sizes(options.batch_size, inputs.slots)
    keys, (epoch, place) = keys_of(key), divmod(number, steps)
    order = order_of(options.shuffle, keys, inputs, jnp.asarray(epoch))
    found = explain_divergence(
        model, optimizer, task, before, batch_of(inputs.data, order, jnp.asarray(place), size),
        key=jax.random.fold_in(keys.train, number), penalty=options.penalty, augment=options.augment,
        compute_dtype=options.compute_dtype,
    )  # fmt: skip
    return "" if found is None else f" Replayed: {found}."


def warn_if_diverged(where: str, step: int, steps: int, replay: str = "") -> None:
    """Say in which epoch and step the loss stopped being finite, and what helps."""
    if step >= 0:
        checks.warn(
            f"{where}: the loss was not finite in epoch {step // steps + 1}, step {step % steps + 1}; the parameters "
            f"before that step are kept.{replay} Try a smaller learning rate, fnn.optim.clip_by_global_norm or scaled "
            "inputs",
        )
