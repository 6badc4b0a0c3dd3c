"""Which learning rates train: many rates and seeds at once, a short run each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, random_bits
from fnn.layer import Layer
from fnn.optim.learning_rate import require_constructor
from fnn.optim.transform import Transform
from fnn.programs import compile as compiled
from fnn.tasks import Task, as_task
from fnn.train import rows as rows_
from fnn.train.epochs import sizes
from fnn.train.inputs import Inputs, check_run
from fnn.train.loop import Recipe, check_recipe, step_of
from fnn.train.options import Options
from fnn.train.trained import shapes_of
from fnn.typing import Array, Arrays, Augmentation, Key, LossFunction, PenaltyFunction

__all__ = ["RateRange", "rate_range"]


class RateRange(NamedTuple):
    """What `rate_range` found: `rates` (rates,) and the training `losses` (rates, seeds, steps); prints as a sentence.

    A run that diverged has NaN from that step on.
    """

    rates: np.ndarray
    losses: np.ndarray

    @property
    def final(self) -> np.ndarray:
        """The mean loss over the last quarter of the steps, (rates, seeds); NaN of runs that diverged."""
        return self.losses[..., -max(1, self.losses.shape[-1] // 4) :].mean(axis=-1)

    @property
    def suggestion(self) -> float:
        """The rate with the lowest mean of `final` over the seeds, among those at which no seed diverged."""
        mean = self.final.mean(axis=1)
        if np.isnan(mean).all():
            raise ValueError(f"rate_range: a seed diverged at every rate from {self.rates[0]:.2g}; write a smaller low")
        return float(self.rates[np.nanargmin(mean)])

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest rate that is best for some seed."""
        best = [self.rates[np.nanargmin(column)] for column in self.final.T if not np.isnan(column).all()] or [np.nan]
        return float(min(best)), float(max(best))

    def __str__(self) -> str:
        best, (low, high) = self.suggestion, self.spread
        text = f"learning rate {best:.2g}; the seeds' own best lie between {low:.2g} and {high:.2g}"
        lost = np.isnan(self.final).any(axis=1)
        return f"{text}; from {self.rates[lost][0]:.2g} on some diverge" if lost.any() else text


def rate_range(
    model: Layer,
    optimizer: Callable[[float | Array], Transform],
    task: Task | LossFunction,
    data: Arrays,
    *,
    key: Key,
    low: float = 1e-6,
    high: float = 10.0,
    rates: int = 30,
    seeds: int = 5,
    steps: int = 100,
    batch_size: int | None = 32,
    penalty: PenaltyFunction | None = None,
    augment: Augmentation | None = None,
    chunk: int | None = None,
) -> RateRange:
    """Find the learning rates that train: a short run at each of many constant rates, from several seeds, all at once.

    One run whose rate grows tells of one path and one seed, and the rate it stops at depends on how it got there. Here
    every rate begins anew, from the same seeds, in one compiled program; the spread over the seeds says what the
    suggestion is worth. A rate for a few steps is an upper end for a long run: with a schedule that decays begin there.
    Print what is found, or draw it with `fnn.plot.rate_range`.

    Args:
        model, task, data, penalty, augment: as for `fnn.fit`.
        optimizer: learning rate -> transform, such as `fnn.optim.adam`.
        key: random key, of the seeds; every rate sees the same.
        low, high: the smallest and the largest rate; those between are spaced evenly in their logarithm.
        rates, seeds, steps: how many of each.
        batch_size: examples per step; None for all at once.
        chunk: how many runs are computed at once, where memory is short; None for all.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x = jnp.linspace(-1, 1, 32).reshape(32, 1)
        >>> found = fnn.selection.rate_range(
        ...     fnn.dense(1), fnn.optim.sgd, fnn.tasks.regression(), (x, 3 * x[:, 0]), key=jax.random.key(0),
        ...     rates=9, seeds=3, steps=20, low=1e-3, high=10.0)
        >>> found.losses.shape, 0.1 <= found.suggestion <= 1.0
        ((9, 3, 20), True)

    References:
        Smith, Cyclical Learning Rates for Training Neural Networks, 2017 (one run of a growing rate).
    """
    where, task = "rate_range", as_task(task)
    checks.require_host(where, key, data)
    for name, count in (("rates", rates), ("seeds", seeds), ("steps", steps)):
        checks.integer(where, name, count)
    if not 0 < low < high:
        raise ValueError(f"{where}: expected 0 < low < high, got low={low} and high={high}")
    require_constructor(where, optimizer)
    recipe: Any = check_recipe(where, Recipe(model, optimizer(low), task, Options(1, batch_size, penalty, augment)))
    recipe = recipe._replace(optimizer=optimizer)
    if chunk is not None:
        checks.integer(where, "chunk", chunk)
    inputs = check_run(where, task, data, None, None, checks.random_key(where, key))
    if (weights := inputs.data[2]) is not None:  # a batch of rows that do not count has no loss
        inputs = inputs._replace(rows=np.flatnonzero(weights).astype(np.int32))
    tried = np.geomspace(low, high, rates)
    # Taken by their places: keys of raw numbers have an axis more.
    keys = random_bits.split(key, seeds)[np.tile(np.arange(seeds), rates)]
    members = jnp.repeat(jnp.asarray(tried, jnp.float32), seeds), keys
    losses = np.asarray(compiled(_try_rates, (recipe, steps, chunk))(members, inputs)).reshape(rates, seeds, steps)
    found = RateRange(tried, losses)
    best = found.suggestion
    if rates > 1 and best in (tried[0], tried[-1]):  # no minimum
        end, word = ("low", "smaller") if best == tried[0] else ("high", "larger")
        checks.warn(f"rate_range: the best rate is the {end} end of the range, {best:.2g}; try a {word} {end}")
    return found


def _try_rates(given: tuple[Any, int, int | None], members: tuple[Array, Key], inputs: Inputs) -> Array:
    """The losses of every run, (runs, steps), of a recipe whose optimizer is a function of the rate."""
    recipe, steps, chunk = given
    x, targets, weights = inputs.data
    size = sizes(recipe.options.batch_size, inputs.slots)[0]

    def run(member: tuple[Array, Key]) -> Array:
        rate, key = member
        begin, order, train = random_bits.split(key, 3)
        step = step_of(recipe._replace(optimizer=recipe.optimizer(rate)))

        def one(carry: tuple[Any, Array], at: tuple[Array, Array]) -> tuple[tuple[Any, Array], Array]:
            (train_state, finite), (number, chosen) = carry, at
            weight = () if weights is None else (weights[chosen].astype(jnp.float32),)
            batch = (rows_.take(x, chosen), rows_.take(targets, chosen), *weight)
            train_state, loss = step.update(train_state, random_bits.fold_in(train, number), batch)
            finite = finite & jnp.isfinite(loss)
            return (train_state, finite), jnp.where(finite, loss, jnp.nan)

        rows = inputs.training_rows()[_batches(order, inputs.slots, size, steps)]
        start = (step.init(begin, shapes_of(x, 1)), jnp.array(True))
        return jax.lax.scan(one, start, (jnp.arange(steps), rows))[1]

    return jax.vmap(run)(members) if chunk is None else jax.lax.map(run, members, batch_size=chunk)


def _batches(key: Key, count: int, size: int, steps: int) -> Array:
    """Row numbers (steps, size): one random order of all rows after another."""
    orders = random_bits.split(key, -(-steps * size // count))
    return jax.vmap(lambda key: jax.random.permutation(key, count))(orders).ravel()[: steps * size].reshape(steps, size)
