"""The protocol of tasks, and what pairs one with a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn.kernels.precision import widen
from fnn.layer import Layer
from fnn.metrics.protocol import Mode, metric, mode_of
from fnn.typing import Array, ArrayLike

__all__ = [
    "Task",
    "as_task",
    "check_pairing",
    "weighted_mean",
]


Metric = Callable[..., Array]


SQUASHING = frozenset({"softmax", "log_softmax", "sigmoid", "log_sigmoid"})


class Task(NamedTuple):
    """What a model is trained for.

    - `loss(outputs, targets)` -> one loss per example, shape (batch,).
    - `decode(outputs)` -> predictions in the terms of the raw targets: classes, values.
    - `encode(raw targets)` -> targets, with a clear error on wrong ones.
    - `metrics`: name -> `metric(outputs, targets, *, weights=None)` -> scalar; its attribute `mode`, set by
      `@fnn.metrics.metric("min")` or `("max")`, says which values are better.
    - `probabilities(outputs)`: of every class, where the task has classes.
    - `name`: the call that built it.
    - `refuses`: final layers that the loss already contains.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> task = fnn.tasks.multiclass(3)
        >>> logits = jnp.array([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        >>> task.decode(logits).tolist(), float(task.metrics["accuracy"](logits, jnp.array([0, 1])))
        ([0, 2], 0.5)
    """

    loss: Callable[[Array, Array], Array]
    decode: Callable[[Array], Any]
    encode: Callable[[ArrayLike], Array]
    metrics: Mapping[str, Metric]
    probabilities: Callable[[Array], Array] | None = None
    name: str = "task"
    refuses: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return self.name

    def __hash__(self) -> int:
        return hash((self.loss, self.name))


def as_task(loss: Task | Callable[[Array, Array], Array]) -> Task:
    """The task itself, or a bare loss function as a task without decoding and metrics.

    Args:
        loss: a `Task`, or `loss(outputs, targets)` returning per-example losses (further axes are averaged).

    Raises:
        TypeError: if it is neither.

    Example:
        >>> import fnn
        >>> fnn.tasks.as_task(fnn.losses.squared_error)
        squared_error
    """
    if isinstance(loss, Task):
        return loss
    if not callable(loss) or str(getattr(loss, "__module__", "")).startswith("fnn.tasks."):
        raise TypeError(f"expected a task such as fnn.tasks.multiclass(10) or a loss function, got {loss!r}")
    name = getattr(loss, "__name__", "loss")
    from_logits = name.startswith(("softmax_", "sigmoid_"))
    return Task(loss, unchanged, jnp.asarray, {}, None, name, SQUASHING if from_logits else frozenset())


def unchanged(outputs: Any) -> Any:
    return outputs


def check_pairing(model: Layer, task: Task) -> None:
    """Refuse a model whose last layer applies what the task's loss applies again.

    Raises:
        ValueError: naming the layer and what to write.

    Example:
        >>> import fnn
        >>> model = fnn.serial(fnn.dense(3), fnn.softmax)
        >>> fnn.tasks.check_pairing(model, fnn.tasks.multiclass(3))
        Traceback (most recent call last):
        ValueError: the model ends in softmax, but multiclass(3) takes logits and applies it in its loss; ...
    """
    last = model
    while last.parts and not last.name.startswith(("parallel", "residual")):
        last = last.parts[-1]
    if last.name.split("(")[0] in task.refuses:
        raise ValueError(
            f"the model ends in {last.name}, but {task.name} takes logits and applies it in its loss; "
            "remove the last layer (for probabilities afterwards: task.probabilities(outputs))"
        )


def weighted_mean(values: Array, weights: Array | None) -> Array:
    """$\\sum_i w_i v_i / \\sum_i w_i$ in at least float32; 0 where all weights are 0."""
    values = widen(values)
    if weights is None:
        return values.mean()
    weights = weights.astype(values.dtype)
    total = weights.sum()
    # A masked example may have any loss, NaN included: it does not count, nor does its gradient.
    counted = jnp.where(weights == 0, 0, values) * weights
    return counted.sum() / jnp.where(total == 0, 1, total)


def after(decode: Callable[[Array], Any], measure: Metric) -> Metric:
    """The metric of decoded outputs, with its direction."""

    def decoded(outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
        return measure(decode(outputs), targets, weights=weights)

    mode = mode_of(measure)
    return decoded if mode is None else metric(mode)(decoded)


def modes_of(task: Task) -> dict[str, Mode]:
    """Score -> "min" or "max", what is better, for the loss and every metric that states it."""
    stated = {name: mode_of(measure) for name, measure in task.metrics.items()}
    loss: dict[str, Mode] = {"loss": "min"}
    return loss | {name: mode for name, mode in stated.items() if mode is not None}


def require_mode(where: str, score: str, modes: Mapping[str, Mode]) -> Mode:
    """The direction of a score, or a message for a metric that states none."""
    if score not in modes:
        raise ValueError(
            f'{where}: the metric {score!r} does not state whether small or large values are better; write mode="min" '
            'or mode="max", or put @fnn.metrics.metric("min") or ("max") above its definition'
        )
    return modes[score]


def mean_rest(per_element: Array) -> Array:
    return per_element.reshape(per_element.shape[0], -1).mean(axis=-1)
