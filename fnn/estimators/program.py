"""The compiled program behind `fit`: `fnn.trainer`'s epochs, with everything that is a number as an argument."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, optim
from fnn.layer import Layer
from fnn.train import epoch as epoch_
from fnn.train import stopping
from fnn.train.predict import outputs_of
from fnn.train.stopping import EarlyStopping
from fnn.train.trained import Trained, TrainState, check_trained
from fnn.train.trainer import Inputs, Pieces, Run, pieces, until_stopped
from fnn.typing import Array, Key, PyTree


class Call(NamedTuple):
    """A `functools.partial` that equals its copies, so that a cloned estimator finds its program."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    keywords: tuple[tuple[str, Any], ...] = ()

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*self.arguments, *arguments, **dict(self.keywords))


def comparable(value: Any) -> Any:
    """`value`, a partial as a `Call` where its arguments can be compared."""
    if not isinstance(value, functools.partial):
        return value
    call = Call(value.func, value.args, tuple(sorted(value.keywords.items())))
    try:
        hash(call)
    except TypeError:
        return value
    return call


class Recipe(NamedTuple):
    """What a program is compiled for."""

    model: Any
    outputs: int
    task: Call
    optimizer: Any
    schedule: Callable[[Any], Any] | None
    batch_size: int | None
    rule: EarlyStopping | None
    metrics: tuple[str, ...]
    penalized: bool
    capacity: int


class Rates(NamedTuple):
    """Numbers that a program takes as arguments."""

    learning_rate: Any
    l2: Any


class Outcome(NamedTuple):
    """What a program returns: the state to go on from, what to predict with, one row per epoch, epochs run."""

    train_state: TrainState
    trained: Trained
    history: dict[str, Array]
    epochs: Array
    diverged_at: Array


def build(model: Any, outputs: int) -> Layer:
    """The layer itself, or what the function makes for this number of outputs."""
    layer = model if isinstance(model, Layer) else model(outputs)
    if not isinstance(layer, Layer):
        raise TypeError(f"expected model(outputs) to return a layer, got {checks.describe(layer)}")
    return layer


def parts_of(recipe: Recipe, rates: Rates) -> Pieces:
    """The run that `fnn.trainer` would make."""
    rate = recipe.schedule or rates.learning_rate
    optimizer = recipe.optimizer if hasattr(recipe.optimizer, "update") else recipe.optimizer(rate)
    task = recipe.task()
    task = task._replace(metrics={name: task.metrics[name] for name in recipe.metrics if name in task.metrics})
    return pieces(
        build(recipe.model, recipe.outputs), optimizer, task, batch_size=recipe.batch_size,
        penalty=optim.l2(rates.l2) if recipe.penalized else None, early_stopping=recipe.rule,
    )  # fmt: skip


@functools.partial(jax.jit, static_argnums=0)
def train(
    recipe: Recipe, rates: Rates, key: Key, inputs: Inputs, start: TrainState | None, first: Array, last: Array
) -> Outcome:
    """The epochs from `first` up to `last`: of a new run, or going on from `start`."""
    parts, keys = parts_of(recipe, rates), epoch_.keys(key)
    run = parts.begin(keys, inputs, None) if start is None else Run(epoch_.begin(start), None)

    def epoch(run: Run, number: Array) -> tuple[Run, dict[str, Array]]:
        return parts.epoch(keys, inputs, run, first + number)

    run, history, ran = until_stopped(epoch, run, last - first, recipe.rule, recipe.capacity)
    train_state = run.progress.train_state
    trained = train_state.trained
    if run.best is not None:
        trained = stopping.chosen(run.best, trained)
        train_state = train_state._replace(params=trained.params, state=trained.state)
    return Outcome(train_state, trained, history, ran, run.progress.diverged_at)


@functools.partial(jax.jit, static_argnums=(0, 1))
def infer(model: Any, outputs: int, trained: Trained, x: Array) -> Array:
    network = build(model, outputs)
    check_trained("predict", network, trained, x)
    return outputs_of(network, trained, x, None, 1024)


def padded(array: Any, rows: int, fill: float = 0) -> np.ndarray:
    """`array` with rows of `fill` at its end, `rows` of them in all."""
    array = np.asarray(array)
    return np.pad(array, [(0, rows - len(array))] + [(0, 0)] * (array.ndim - 1), constant_values=fill)


def ceiling(number: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-number // step) * step


def host(tree: PyTree) -> PyTree:
    """Arrays of NumPy, which any pickle carries; random keys as they are."""
    keys = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)  # noqa: E731
    return jax.tree.map(lambda leaf: leaf if keys(leaf) else np.array(leaf), tree)
