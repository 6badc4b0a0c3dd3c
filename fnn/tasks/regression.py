"""Tasks with values: means, quantiles, distributions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from fnn import checks, losses, metrics
from fnn.layer.protocol import identity
from fnn.losses.reduction import weighted_mean
from fnn.precision import wide_dtype, widen
from fnn.tasks.steps import at_every_step
from fnn.tasks.targets import values_of
from fnn.tasks.task import Metric, Task, after, builds_a_task, loss_of, mean_rest, require_examples
from fnn.typing import Array

__all__ = ["distribution", "quantile", "regression"]


@builds_a_task
def regression(outputs: int = 1, *, loss: Callable[[Array, Array], Array] = losses.mse) -> Task:
    """Values: identity output, squared error by default.

    Args:
        outputs: values per row.
        loss: `loss(predictions, targets)` per row, for instance `fnn.losses.mae` or `fnn.losses.huber_loss`.

    Returns:
        A task whose targets have shape (batch,) or (batch, …, outputs), and whose outputs have shape
        (batch, …, outputs).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.tasks.regression().loss(jnp.array([[1.0]]), jnp.array([[3.0]])).tolist()
        [4.0]
    """
    outputs = checks.integer("regression", "outputs", outputs)
    checks.instance("regression", "loss", loss, Callable, "a function of outputs and targets", "write fnn.losses.mae")
    name = f"regression({outputs})"

    def per_example(predictions: Array, targets: Array) -> Array | tuple[Array, Array]:
        found = loss_of(name, loss, widen(predictions), targets.astype(wide_dtype(predictions)))
        if isinstance(found, tuple):
            return found
        require_examples(name, found.shape, len(predictions))
        return mean_rest(found)

    measures: dict[str, Metric] = {
        "mse": metrics.mean_squared_error,
        "rmse": metrics.root_mean_squared_error,
        "mae": metrics.mean_absolute_error,
        "r2": metrics.r2_score,
    }
    rows = Task(per_example, identity, lambda t: values_of(name, t, outputs), measures, None, name)
    return at_every_step(rows, outputs, outputs)


@builds_a_task
def quantile(levels: Sequence[float] = (0.05, 0.5, 0.95)) -> Task:
    """Quantiles of one value: pinball loss $\\max(τ(y-q), (τ-1)(y-q))$, averaged over the levels.

    Args:
        levels: the τ, each in (0, 1), ascending.

    Returns:
        A task whose targets have shape (batch,) and outputs (batch, levels); `decode` sorts them, so that quantiles
        never cross. Metric `coverage` is the share of targets between the lowest and the highest; neither small nor
        large values of it are better.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.tasks.quantile((0.1, 0.9)).decode(jnp.array([[3.0, 1.0]])).tolist()
        [[1.0, 3.0]]
    """
    levels = checks.sequence("quantile", "levels", levels, "numbers")
    for level in levels:
        checks.in_range("quantile", "levels", level, 0, 1, open="both")
    taus: Any = tuple(float(checks.to_host(level)) for level in levels)
    if not taus or list(taus) != sorted(set(taus)):
        raise ValueError(f"quantile: expected ascending levels, got {taus}")
    name = f"quantile({taus})"

    def loss(outputs: Array, targets: Array) -> Array:
        return losses.quantile_loss(outputs, targets[:, 0], taus).mean(axis=-1)

    def decode(outputs: Array) -> Array:
        return jnp.sort(outputs, axis=-1)

    def coverage(outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
        q = widen(decode(outputs))
        y = targets.astype(q.dtype)
        inside = (q[:, :1] <= y) & (y <= q[:, -1:])
        return weighted_mean(inside[:, 0].astype(q.dtype), weights)

    measures: dict[str, Metric] = {"pinball": _mean_of("pinball", loss), "coverage": coverage}
    return at_every_step(Task(loss, decode, lambda t: values_of(name, t, 1), measures, None, name), len(taus), 1)


def _mean_of(name: str, loss: Callable[[Array, Array], Array]) -> Metric:
    """The mean of a task's own loss, as a metric of that name."""

    @metrics.metric("min")
    def mean(outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
        return weighted_mean(loss(outputs, targets), weights)

    mean.__name__ = mean.__qualname__ = name
    return mean


@builds_a_task
def distribution(family: str = "gaussian", outputs: int = 1) -> Task:
    """A distribution of each value: the model gives location and log-scale, the loss is $-\\log p(y)$.

    Args:
        family: "gaussian" ($\\log σ^2$ second) or "laplace" ($\\log b$ second).
        outputs: values per example; the model has twice as many outputs, locations first.

    Returns:
        A task whose targets have shape (batch,) or (batch, outputs); `decode` gives the locations.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.tasks.distribution().decode(jnp.array([[2.0, 0.0]])).tolist()
        [[2.0]]
    """
    checks.one_of("distribution", "family", family, ("gaussian", "laplace"))
    outputs = checks.integer("distribution", "outputs", outputs)
    name = f"distribution({family!r})"

    def likelihood(prediction: Array, targets: Array) -> Array:
        location, log_scale = jnp.split(prediction, 2, axis=-1)
        if family == "gaussian":
            return losses.gaussian_negative_log_likelihood(location, targets, log_variance=log_scale)
        return losses.laplace_negative_log_likelihood(location, targets, log_scale=log_scale)

    def loss(prediction: Array, targets: Array) -> Array:
        return mean_rest(likelihood(prediction, targets))

    def decode(prediction: Array) -> Array:
        return prediction[:, :outputs]

    measures: dict[str, Metric] = {
        "negative_log_likelihood": _mean_of("negative_log_likelihood", loss),
        "rmse": after(decode, metrics.root_mean_squared_error),
    }
    rows = Task(loss, decode, lambda t: values_of(name, t, outputs), measures, None, name)
    return at_every_step(rows, 2 * outputs, outputs)
