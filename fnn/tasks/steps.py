"""A target for every row, or for every step or pixel of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.kernels.mesh_axes import auto_axes
from fnn.layer import Padded
from fnn.layer.padded import values_and_lengths, with_lengths_of, zero_padding
from fnn.metrics.protocol import broadcast_weights
from fnn.tasks.targets import ARGMAX, misfit, require_width
from fnn.tasks.task import Metric, Task, real_steps
from fnn.typing import Array


def at_every_step(task: Task, width: int, columns: int | None) -> Task:
    """A task of outputs (rows, width) that takes them at every step or pixel too, each a row of its own, and `Padded`
    ones; a row has so many `columns` of targets, None for a class number, which has no axis."""
    of_row = () if columns is None else (columns,)

    def rows_of(outputs: Array) -> Array:
        outputs = outputs[:, None] if outputs.ndim == 1 and columns is None else outputs
        require_width(task.name, "outputs", outputs, width)
        return outputs

    def loss(outputs: Array, targets: Array) -> Any:
        outputs = rows_of(outputs)
        return _over_steps(task.loss)(outputs, _fit(task.name, outputs, targets, of_row))

    def of_steps(measure: Metric) -> Metric:
        @functools.wraps(measure)
        def measure_steps(outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
            outputs = rows_of(outputs)
            targets = _fit(task.name, outputs, targets, of_row)
            if outputs.ndim == 2:
                return measure(outputs, targets, weights=weights)
            weights = broadcast_weights(task.name, weights, jnp.ones(outputs.shape[:-1]))

            def of_rows(outputs: Array, targets: Array, weights: Array) -> Array:
                rows = outputs.reshape(-1, width), targets.reshape(-1, *of_row)
                return measure(*rows, weights=weights.reshape(-1))

            return auto_axes(of_rows)(outputs, targets, weights)

        return measure_steps

    def rowwise(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
        return lambda outputs: _over_steps(function)(rows_of(outputs))

    return over_real_steps(_replace(task, loss, rowwise, of_steps))


def over_real_steps(task: Task) -> Task:
    """A task of arrays that takes `Padded` outputs too: their padding does not count, whatever is in it."""

    def real_parts(outputs: Padded, targets: Array) -> tuple[Array, Array]:
        values = zero_padding(task.name, *outputs)
        if targets.shape[:2] == values.shape[:2]:  # else the task says what is wrong with them
            targets = jnp.where(real_steps(outputs, targets.ndim), targets, 0)
        return values, targets

    def loss(outputs: Any, targets: Array) -> Any:
        if not isinstance(outputs, Padded):
            return task.loss(outputs, targets)
        found = task.loss(*real_parts(outputs, targets))
        losses, counts = found if isinstance(found, tuple) else (found, jnp.ones_like(found))
        real = real_steps(outputs, losses.ndim)
        return jnp.where(real, losses, 0), jnp.where(real, counts, 0)

    def of_real_steps(measure: Metric) -> Metric:
        @functools.wraps(measure)
        def measure_real(outputs: Any, targets: Array, *, weights: Array | None = None) -> Array:
            if not isinstance(outputs, Padded):
                return measure(outputs, targets, weights=weights)
            real = real_steps(outputs, 2).astype(float)
            weights = broadcast_weights(task.name, weights, real) * real
            return measure(*real_parts(outputs, targets), weights=weights)

        return measure_real

    def of_values(function: Callable[[Array], Array]) -> Callable[[Any], Any]:
        return functools.wraps(function)(lambda x: with_lengths_of(x, function(values_and_lengths(x)[0])))

    return _replace(task, loss, of_values, of_real_steps)


def _replace(
    task: Task, loss: Callable[..., Any], of_outputs: Callable[..., Any], of_metric: Callable[[Metric], Metric]
) -> Task:
    """The task with another loss, and with its other functions as these make them of the old ones."""
    probabilities = None if task.probabilities is None else of_outputs(task.probabilities)
    metrics = {name: of_metric(measure) for name, measure in task.metrics.items()}
    return task._replace(loss=loss, decode=of_outputs(task.decode), metrics=metrics, probabilities=probabilities)


def _over_steps(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of rows, of every axis between the first and the last one by itself."""

    def apply(outputs: Array, *others: Array) -> Any:
        mapped = function
        for _ in range(outputs.ndim - 2):
            mapped = jax.vmap(mapped, 1, 1)
        return mapped(outputs, *others)

    return apply


def _fit(name: str, outputs: Array, targets: Array, of_row: tuple[int, ...]) -> Array:
    """The targets in the shape of what the loss compares with: an axis of length 1 may be missing or one too many."""
    batch = outputs.shape[:-1]
    shape = (*batch, *of_row)
    if targets.shape == shape:
        return targets
    if [size for size in targets.shape if size != 1] == [size for size in shape if size != 1]:
        return targets.reshape(shape)
    named = targets.ndim + (of_row == (1,) and targets.shape[-1:] != (1,))  # its axis of one value may be missing
    repair = ARGMAX if targets.shape == (*batch, 2) and not of_row else misfit(named, len(shape))
    raise checks.wrong_shape(name, "targets", shape, targets.shape, repair)
