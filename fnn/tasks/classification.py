"""Tasks with classes."""

from __future__ import annotations

import jax.numpy as jnp

from fnn import checks, losses, metrics
from fnn.activations import sigmoid, softmax
from fnn.losses.reduction import Reduction, weighted_mean
from fnn.metrics.protocol import broadcast_weights
from fnn.tasks.steps import at_every_step, over_real_steps
from fnn.tasks.targets import classes_of, like_outputs, numbers, require_class_weights, require_width, whole_numbers
from fnn.tasks.task import Metric, Task, after, builds_a_task
from fnn.typing import Array, ArrayLike

__all__ = ["binary", "multiclass", "multilabel"]

HINT = "ignore_index={} leaves them out"


@builds_a_task
def binary(*, threshold: float = 0.5) -> Task:
    """Two classes, one logit: sigmoid output, binary cross-entropy $-y\\log σ(z)-(1-y)\\log(1-σ(z))$.

    Args:
        threshold: class 1 is predicted where $σ(z) >$ `threshold`.

    Returns:
        A task whose targets are 0 or 1 (or booleans), shape (batch,) or (batch, …), and outputs (batch, …, 1), or
        (batch,).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.tasks.binary().decode(jnp.array([[3.0], [-1.0]])).tolist()
        [1, 0]
    """
    checks.in_range("binary", "threshold", threshold, 0, 1)
    name = "binary()"

    def logit(outputs: Array) -> Array:
        return outputs[:, 0]

    def decode(outputs: Array) -> Array:
        return (sigmoid(logit(outputs)) > threshold).astype(jnp.int32)

    def loss(outputs: Array, targets: Array) -> Array:
        z = logit(outputs)
        return losses.sigmoid_binary_cross_entropy(z, targets.astype(z.dtype))

    def probabilities(outputs: Array) -> Array:
        p = sigmoid(logit(outputs))
        return jnp.stack([1 - p, p], axis=-1)

    of_classes = ("accuracy", "precision", "recall", "f1")
    measures: dict[str, Metric] = {score: after(decode, getattr(metrics, score)) for score in of_classes}
    # An output that is NaN is never right.
    measures["accuracy"] = after(lambda z: jnp.where(jnp.isnan(logit(z)), -1, decode(z)), metrics.accuracy)
    measures["roc_auc"] = after(logit, metrics.roc_auc)
    hint = "fnn.tasks.multiclass(2, ignore_index={}) leaves them out"
    rows = Task(loss, decode, lambda t: classes_of(name, t, 2, hint), measures, probabilities, name, "logits")
    return at_every_step(rows, 1, None)


@builds_a_task
def multiclass(
    classes: int,
    *,
    label_smoothing: float = 0.0,
    class_weights: ArrayLike | None = None,
    ignore_index: int | None = None,
) -> Task:
    """One of several classes: softmax output, cross-entropy $-\\log \\mathrm{softmax}(z)_y$.

    Args:
        classes: number of classes, at least 2.
        label_smoothing: share of the target spread evenly over all classes.
        class_weights: weight of the loss per class, shape (classes,); the mean is over the weights.
        ignore_index: the number that stands where no class counts, neither in the loss nor in the accuracy.

    Returns:
        A task whose targets are class numbers 0 … classes-1, shape (batch,) or (batch, …), and outputs
        (batch, …, classes).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> round(float(fnn.tasks.multiclass(3).loss(jnp.zeros((1, 3)), jnp.array([2]))[0]), 3)
        1.099
        >>> tags = fnn.tasks.multiclass(3, ignore_index=-1)
        >>> float(tags.metrics["accuracy"](jnp.ones((1, 4, 3)), jnp.array([[0, 2, -1, -1]])))
        0.5
    """
    classes = checks.integer("multiclass", "classes", classes, 2)
    checks.in_range("multiclass", "label_smoothing", label_smoothing, 0, 1)
    if ignore_index is not None:
        ignore_index = checks.integer("multiclass", "ignore_index", ignore_index, None)
        checks.in_range("multiclass", "ignore_index", ignore_index, -(2**31), 2**31 - 1)
    name = f"multiclass({classes})"
    require_class_weights("multiclass", class_weights, classes)

    def fit(outputs: Array, targets: Array) -> tuple[Array, int | None]:
        """The targets, and the number of those that do not count: shares of classes have none."""
        targets = like_outputs(name, outputs, targets, classes)
        return targets, None if targets.ndim == outputs.ndim else ignore_index

    def loss(outputs: Array, targets: Array) -> Array | tuple[Array, Array]:
        targets, left_out = fit(outputs, targets)
        reduction: Reduction = "none" if left_out is None and class_weights is None else "pair"
        return losses.softmax_cross_entropy(
            outputs, targets, label_smoothing=label_smoothing, class_weights=class_weights, ignore_index=left_out,
            reduction=reduction,
        )  # fmt: skip

    @metrics.metric("max")
    def accuracy(outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
        targets, left_out = fit(outputs, targets)
        if left_out is not None:
            counts = (targets != left_out).astype(float)
            weights = broadcast_weights("accuracy", weights, counts) * counts
        return metrics.accuracy(outputs, targets, weights=weights)

    def decode(outputs: Array) -> Array:
        return jnp.argmax(outputs, axis=-1).astype(jnp.int32)

    encode = lambda targets: classes_of(name, targets, classes, HINT, ignore_index)  # noqa: E731
    return over_real_steps(Task(loss, decode, encode, {"accuracy": accuracy}, softmax, name, "logits"))


@builds_a_task
def multilabel(labels: int, *, threshold: float = 0.5) -> Task:
    """Any number of labels at once: one sigmoid and one binary cross-entropy per label, averaged over the labels.

    Args:
        labels: number of labels.
        threshold: a label is predicted where its probability exceeds it.

    Returns:
        A task whose targets are 0 or 1, shape (batch, labels) or (batch, …, labels), and outputs of the same shape.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.tasks.multilabel(2).decode(jnp.array([[1.0, -1.0]])).tolist()
        [[1, 0]]
    """
    labels = checks.integer("multilabel", "labels", labels)
    checks.in_range("multilabel", "threshold", threshold, 0, 1)
    name = f"multilabel({labels})"

    def encode(targets: ArrayLike) -> Array:
        array = numbers(name, targets)
        require_width(name, "targets", array, labels)
        return whole_numbers(name, array, 2)

    def loss(outputs: Array, targets: Array) -> Array:
        return losses.sigmoid_binary_cross_entropy(outputs, targets).mean(axis=-1)

    def decode(outputs: Array) -> Array:
        return (sigmoid(outputs) > threshold).astype(jnp.int32)

    @metrics.metric("max")
    def accuracy(outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
        right = ((decode(outputs) == targets) & ~jnp.isnan(outputs)).astype(float).mean(axis=-1)
        return weighted_mean(right, weights)

    return at_every_step(Task(loss, decode, encode, {"accuracy": accuracy}, sigmoid, name, "logits"), labels, labels)
