"""An epoch over arrays in memory: the order of its rows, and its batches by row numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn import random_bits
from fnn.train import rows as rows_
from fnn.train.inputs import Inputs
from fnn.train.loop import Batch, BatchSource, Carry, Keys, Recipe, take_steps
from fnn.train.sharding import check_mesh
from fnn.typing import Array


class Order(NamedTuple):
    """The row numbers of an epoch in the order they are taken, and how many of them there are."""

    rows: Array
    real: Array


def order_of(shuffle: bool, keys: Keys, inputs: Inputs, epoch: Array) -> Order:
    """This epoch's order of the rows, empty slots last."""
    rows = inputs.training_rows()
    if not shuffle:
        return Order(rows[jnp.argsort(rows < 0, stable=True)], (rows >= 0).sum())
    return Order(*rows_.shuffle(random_bits.fold_in(keys.shuffle, epoch), rows))


def sizes(batch_size: int | None, slots: int) -> tuple[int, int]:
    """Examples per step, all at once for None and never more than there are, and steps per epoch."""
    size = slots if batch_size is None else min(int(batch_size), slots)
    return size, -(-slots // size)


def take_steps_of_epoch(
    recipe: Recipe, carry: Carry, keys: Keys, inputs: Inputs, epoch: Array, order: Order | None, first: Any, last: Any
) -> Carry:
    """`take_steps` over arrays, in this order of the rows or in the epoch's. Both ends may be values: no part of an
    epoch is compiled again then."""
    order = order_of(recipe.options.shuffle, keys, inputs, epoch) if order is None else order
    return take_steps(recipe, carry, keys, batches_of(recipe, inputs, epoch, order), first, last)


def batches_of(recipe: Recipe, inputs: Inputs, epoch: Array, order: Order) -> BatchSource:
    """Those of an epoch over arrays, by row numbers, each row with its weight."""
    size, count = sizes(recipe.options.batch_size, inputs.slots)
    check_mesh("trainer", recipe.mesh, size)
    x, targets, weights = inputs.data

    def at(place: Array) -> Batch:
        chosen, counts = rows_.batch_rows(*order, place, size)
        weight = counts.astype(jnp.float32)
        if weights is not None:
            weight = weight * weights[chosen].astype(jnp.float32)
        return rows_.take(x, chosen), rows_.take(targets, chosen), weight

    full = inputs.rows is None and weights is None and inputs.slots == count * size
    return BatchSource(at, epoch.astype(jnp.int32) * count, full)
