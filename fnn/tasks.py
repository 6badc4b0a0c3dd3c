"""Tasks: the output activation, loss, target encoding and metrics that belong together.

| task          | the model's last layer  | loss                                   | decode            |
|---------------|-------------------------|----------------------------------------|-------------------|
| `binary`      | `dense(1)`              | sigmoid binary cross-entropy           | 0 or 1            |
| `multiclass`  | `dense(classes)`        | softmax cross-entropy                  | class number      |
| `multilabel`  | `dense(labels)`         | sigmoid binary cross-entropy per label | 0 or 1 per label  |
| `regression`  | `dense(outputs)`        | mean squared error                     | value             |
| `quantile`    | `dense(levels)`         | pinball loss                           | quantiles, sorted |
| `distribution`| `dense(2)` (per output) | negative log-likelihood                | mean              |

A model ends in a plain `dense`: the task applies the output activation itself, in a form that is exact for large
logits. A model that ends in its own softmax or sigmoid is refused with a message that says what to remove.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn import checks, losses, metrics
from fnn.activations import sigmoid, softmax
from fnn.kernels.precision import widen
from fnn.layer import Layer
from fnn.typing import Array, ArrayLike

__all__ = [
    "Task",
    "as_task",
    "binary",
    "check_pairing",
    "distribution",
    "multiclass",
    "multilabel",
    "quantile",
    "regression",
]

Metric = Callable[..., Array]
_SQUASHING = frozenset({"softmax", "log_softmax", "sigmoid", "log_sigmoid"})


class Task(NamedTuple):
    """What a model is trained for.

    - `loss(outputs, targets)` -> one loss per example, shape (batch,).
    - `decode(outputs)` -> predictions in the terms of the raw targets: classes, values.
    - `encode(raw targets)` -> targets, with a clear error on wrong ones.
    - `metrics`: name -> `metric(outputs, targets, *, weights=None)` -> scalar.
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
    if not callable(loss) or getattr(loss, "__module__", None) == __name__:
        raise TypeError(f"expected a task such as fnn.tasks.multiclass(10) or a loss function, got {loss!r}")
    name = getattr(loss, "__name__", "loss")
    from_logits = name.startswith(("softmax_", "sigmoid_"))
    return Task(loss, _unchanged, jnp.asarray, {}, None, name, _SQUASHING if from_logits else frozenset())


def _unchanged(outputs: Any) -> Any:
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


def _width(name: str, outputs: Array, width: int) -> None:
    if outputs.ndim != 2 or outputs.shape[-1] != width:
        raise ValueError(
            f"{name}: expected outputs of shape (batch, {width}), got {outputs.shape}; end the model in dense({width})"
        )


def _numbers(name: str, targets: ArrayLike) -> Array:
    """Targets as an array, or a message for what cannot be one."""
    if not checks.is_concrete(targets):
        return targets
    host = np.asarray(targets)
    if host.dtype.kind not in "biuf" and not jnp.issubdtype(host.dtype, jnp.floating):
        raise TypeError(
            f"{name}: expected numeric targets, got {host.dtype}; "
            "write labels, targets = numpy.unique(targets, return_inverse=True)"
        )
    if jnp.issubdtype(host.dtype, jnp.floating) and not np.isfinite(host).all():
        raise ValueError(
            f"{name}: targets contain NaN or infinity, first at row {int(np.argwhere(~np.isfinite(host))[0, 0])}"
        )
    return jnp.asarray(targets)


def _flat(name: str, targets: Array) -> Array:
    if targets.ndim == 2 and targets.shape[-1] == 1:
        targets = targets[:, 0]
    if targets.ndim != 1:
        raise ValueError(f"{name}: expected targets of shape (batch,), got {targets.shape}")
    return targets


def _classes(name: str, targets: ArrayLike, classes: int) -> Array:
    """Integer classes in [0, classes); float arrays that hold whole numbers are accepted."""
    array = _flat(name, _numbers(name, targets))
    if checks.is_concrete(array):
        host = np.asarray(array).astype(np.float64)
        wrong = (host != np.round(host)) | (host < 0) | (host >= classes)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"{name}: expected classes 0 … {classes - 1}, got {np.asarray(array)[row]} at row {row}; "
                "write labels, targets = numpy.unique(targets, return_inverse=True)"
            )
    return array.astype(jnp.int32)


def binary(*, threshold: float = 0.5) -> Task:
    """Two classes, one logit: sigmoid output, binary cross-entropy $-y\\log σ(z)-(1-y)\\log(1-σ(z))$.

    Args:
        threshold: class 1 is predicted where $σ(z) >$ `threshold`.

    Returns:
        A task whose targets are 0 or 1 (or booleans), shape (batch,), and outputs (batch, 1) or (batch,).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.tasks.binary().decode(jnp.array([[3.0], [-1.0]])).tolist()
        [1, 0]
    """
    checks.in_range("binary", "threshold", threshold, 0, 1)
    name = "binary()"

    def logit(outputs: Array) -> Array:
        if outputs.ndim == 2:
            _width(name, outputs, 1)
        return outputs.reshape(outputs.shape[0])

    def decode(outputs: Array) -> Array:
        return (sigmoid(logit(outputs)) > threshold).astype(jnp.int32)

    def loss(outputs: Array, targets: Array) -> Array:
        z = logit(outputs)
        return losses.sigmoid_binary_cross_entropy(z, targets.astype(z.dtype))

    def probabilities(outputs: Array) -> Array:
        p = sigmoid(logit(outputs))
        return jnp.stack([1 - p, p], axis=-1)

    of_classes = {
        "accuracy": metrics.accuracy,
        "precision": metrics.precision,
        "recall": metrics.recall,
        "f1": metrics.f1,
    }
    measures: dict[str, Metric] = {k: _after(decode, metric) for k, metric in of_classes.items()}
    measures["roc_auc"] = _after(logit, metrics.roc_auc)
    return Task(loss, decode, lambda t: _classes(name, t, 2), measures, probabilities, name, _SQUASHING)


def _after(decode: Callable[[Array], Any], metric: Metric) -> Metric:
    """The metric of decoded outputs."""
    return lambda outputs, targets, *, weights=None: metric(decode(outputs), targets, weights=weights)


def multiclass(classes: int, *, label_smoothing: float = 0.0, class_weights: ArrayLike | None = None) -> Task:
    """One of several classes: softmax output, cross-entropy $-\\log \\mathrm{softmax}(z)_y$.

    Args:
        classes: number of classes, at least 2.
        label_smoothing: share of the target spread evenly over all classes.
        class_weights: weight of the loss per class, shape (classes,).

    Returns:
        A task whose targets are class numbers 0 … classes-1, shape (batch,), and outputs (batch, classes).

    Raises:
        ValueError: on targets out of range, naming the row.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.tasks.multiclass(3).loss(jnp.zeros((1, 3)), jnp.array([2])).round(3).tolist()
        [1.0989999771118164]
    """
    checks.integer("multiclass", "classes", classes, 2)
    checks.in_range("multiclass", "label_smoothing", label_smoothing, 0, 1)
    name = f"multiclass({classes})"

    def loss(outputs: Array, targets: Array) -> Array:
        _width(name, outputs, classes)
        return losses.softmax_cross_entropy(
            outputs, targets, label_smoothing=label_smoothing, class_weights=class_weights
        )

    def decode(outputs: Array) -> Array:
        return jnp.argmax(outputs, axis=-1).astype(jnp.int32)

    measures = {"accuracy": _after(decode, metrics.accuracy)}
    return Task(loss, decode, lambda t: _classes(name, t, classes), measures, softmax, name, _SQUASHING)


def multilabel(labels: int, *, threshold: float = 0.5) -> Task:
    """Any number of labels at once: one sigmoid and one binary cross-entropy per label, averaged over the labels.

    Args:
        labels: number of labels.
        threshold: a label is predicted where its probability exceeds it.

    Returns:
        A task whose targets are 0 or 1, shape (batch, labels), as are its outputs' shapes.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.tasks.multilabel(2).decode(jnp.array([[1.0, -1.0]])).tolist()
        [[1, 0]]
    """
    checks.integer("multilabel", "labels", labels)
    checks.in_range("multilabel", "threshold", threshold, 0, 1)
    name = f"multilabel({labels})"

    def encode(targets: ArrayLike) -> Array:
        array = _numbers(name, targets)
        if array.ndim != 2 or array.shape[1] != labels:
            raise ValueError(f"{name}: expected targets of shape (batch, {labels}), got {array.shape}")
        return _classes(name, array.reshape(-1), 2).reshape(array.shape)

    def loss(outputs: Array, targets: Array) -> Array:
        _width(name, outputs, labels)
        checks.same_shape(name, "outputs", outputs, "targets", targets)
        return losses.sigmoid_binary_cross_entropy(outputs, targets.astype(outputs.dtype)).mean(axis=-1)

    def decode(outputs: Array) -> Array:
        return (sigmoid(outputs) > threshold).astype(jnp.int32)

    def accuracy(outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
        right = (decode(outputs) == targets).astype(outputs.dtype).mean(axis=-1)
        return weighted_mean(right, weights)

    return Task(loss, decode, encode, {"accuracy": accuracy}, sigmoid, name, _SQUASHING)


def regression(outputs: int = 1, *, loss: Callable[[Array, Array], Array] = losses.mse) -> Task:
    """Values: identity output, squared error by default.

    Args:
        outputs: values per example.
        loss: `loss(predictions, targets)` per example, for instance `fnn.losses.mae` or `fnn.losses.huber_loss`.

    Returns:
        A task whose targets have shape (batch,) or (batch, outputs) and whose outputs have shape (batch, outputs).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.tasks.regression().loss(jnp.array([[1.0]]), jnp.array([[3.0]])).tolist()
        [4.0]
    """
    checks.integer("regression", "outputs", outputs)
    name = f"regression({outputs})"

    def per_example(predictions: Array, targets: Array) -> Array:
        _width(name, predictions, outputs)
        return _mean_rest(loss(predictions, targets.astype(predictions.dtype)))

    measures: dict[str, Metric] = {
        "mse": metrics.mean_squared_error,
        "rmse": metrics.root_mean_squared_error,
        "mae": metrics.mean_absolute_error,
        "r2": metrics.r2_score,
    }
    measures = {k: _after(_unchanged, metric) for k, metric in measures.items()}
    return Task(per_example, _unchanged, lambda t: _values(name, t, outputs), measures, None, name, _SQUASHING)


def _values(name: str, targets: ArrayLike, width: int) -> Array:
    array = _numbers(name, targets)
    if array.ndim == 1 and width == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] != width:
        raise ValueError(f"{name}: expected targets of shape (batch, {width}), got {array.shape}")
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.float32)


def _mean_rest(per_element: Array) -> Array:
    return per_element.reshape(per_element.shape[0], -1).mean(axis=-1)


def quantile(levels: Sequence[float] = (0.05, 0.5, 0.95)) -> Task:
    """Quantiles of one value: pinball loss $\\max(τ(y-q), (τ-1)(y-q))$, averaged over the levels.

    Args:
        levels: the τ, each in (0, 1), ascending.

    Returns:
        A task whose targets have shape (batch,) and outputs (batch, levels); `decode` sorts them, so that quantiles
        never cross. Metric `coverage` is the share of targets between the lowest and the highest.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.tasks.quantile((0.1, 0.9)).decode(jnp.array([[3.0, 1.0]])).tolist()
        [[1.0, 3.0]]
    """
    levels = tuple(levels)
    for level in levels:
        checks.in_range("quantile", "levels", level, 0, 1, open="both")
    if not levels or list(levels) != sorted(set(levels)):
        raise ValueError(f"quantile: expected ascending levels, got {levels}")
    name = f"quantile({levels})"

    def loss(outputs: Array, targets: Array) -> Array:
        _width(name, outputs, len(levels))
        return _pinball(outputs, targets.astype(outputs.dtype), levels)

    def decode(outputs: Array) -> Array:
        return jnp.sort(outputs, axis=-1)

    def coverage(outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
        q = decode(outputs)
        inside = (q[:, :1] <= targets) & (targets <= q[:, -1:])
        return weighted_mean(inside[:, 0].astype(outputs.dtype), weights)

    def pinball(outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
        return weighted_mean(loss(outputs, targets), weights)

    measures: dict[str, Metric] = {"pinball": pinball, "coverage": coverage}
    return Task(loss, decode, lambda t: _values(name, t, 1), measures, None, name, _SQUASHING)


def _pinball(outputs: Array, targets: Array, levels: tuple[float, ...]) -> Array:
    return losses.quantile_loss(outputs, targets[:, 0], levels).mean(axis=-1)


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
    checks.integer("distribution", "outputs", outputs)
    name = f"distribution({family!r})"

    def likelihood(prediction: Array, targets: Array) -> Array:
        location, log_scale = jnp.split(prediction, 2, axis=-1)
        if family == "gaussian":
            return losses.gaussian_negative_log_likelihood(location, targets, log_variance=log_scale)
        return losses.laplace_negative_log_likelihood(location, targets, log_scale=log_scale)

    def loss(prediction: Array, targets: Array) -> Array:
        _width(name, prediction, 2 * outputs)
        return _mean_rest(likelihood(prediction, targets.astype(prediction.dtype)))

    def decode(prediction: Array) -> Array:
        return prediction[:, :outputs]

    def negative_log_likelihood(prediction: Array, targets: Array, *, weights: Array | None = None) -> Array:
        return weighted_mean(loss(prediction, targets), weights)

    measures: dict[str, Metric] = {
        "negative_log_likelihood": negative_log_likelihood,
        "rmse": _after(decode, metrics.root_mean_squared_error),
    }
    return Task(loss, decode, lambda t: _values(name, t, outputs), measures, None, name, _SQUASHING)
