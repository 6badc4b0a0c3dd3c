"""Metrics: how good predictions are, over a whole set. Definitions are scikit-learn's.

Every metric is a pure function `metric(predictions, targets, *, weights=None) -> scalar`, jittable, with `weights`
per example; an example of weight 0 (padding) does not count. Means over nothing are 0.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.losses import softmax_cross_entropy
from fnn.losses.labels import require_classes
from fnn.losses.reduction import along, elements, floats, follow, weighted_mean
from fnn.typing import Array, ArrayLike

__all__ = [
    "accuracy",
    "confusion_matrix",
    "f1",
    "mean_absolute_error",
    "mean_squared_error",
    "perplexity",
    "precision",
    "r2_score",
    "recall",
    "roc_auc",
    "root_mean_squared_error",
    "top_k_accuracy",
]

Average: TypeAlias = Literal["binary", "macro", "micro", "weighted"] | None


def _weights(name: str, weights: ArrayLike | None, like: Array) -> Array:
    """Weights in the shape of `like`, ones if there are none."""
    if weights is None:
        return jnp.ones_like(like)
    return jnp.broadcast_to(along(name, "weights", follow(name, "weights", weights, like), like.shape), like.shape)


def _mean(name: str, values: Array, weights: ArrayLike | None) -> Array:
    w = _weights(name, weights, values)
    return weighted_mean(w * values, w)


def _classes(name: str, argument: str, x: ArrayLike) -> Array:
    """Class numbers as integers."""
    x = jnp.asarray(x)
    if not (jnp.issubdtype(x.dtype, jnp.integer) or x.dtype == bool):
        raise TypeError(
            f"{name}: expected integer class numbers as {argument}, got {checks.describe(x)}; "
            f"write jnp.argmax(scores, -1), or ({argument} > 0.5).astype(jnp.int32)"
        )
    return x.astype(jnp.int32) if x.dtype == bool else x


def accuracy(predictions: ArrayLike, targets: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    r"""Share of predictions that are right: $\frac1n \sum_i [ŷ_i = y_i]$.

    Args:
        predictions: class numbers (...), or scores (..., classes), of which the largest counts.
        targets: class numbers (...).
        weights: per example, of the shape of `targets` or of its leading axes.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: if shapes do not fit.
        TypeError: if class numbers are not integers.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.accuracy(jnp.array([0, 1, 1, 0]), jnp.array([0, 1, 2, 0])))
        0.75
    """
    y = _classes("accuracy", "targets", targets)
    if jnp.ndim(predictions) == y.ndim + 1:
        scores = jnp.asarray(predictions)
        # argmax would name the place of a NaN; a score that is NaN is never right.
        predictions = jnp.where(jnp.isnan(scores).any(-1), -1, scores.argmax(-1))
    p = _classes("accuracy", "predictions", predictions)
    checks.same_shape("accuracy", "predictions", p, "targets", y)
    return _mean("accuracy", (p == y.astype(p.dtype)).astype(float), weights)


def top_k_accuracy(scores: ArrayLike, targets: ArrayLike, *, k: int = 5, weights: ArrayLike | None = None) -> Array:
    r"""Share of examples whose class is among the k largest scores.

    Among equal scores the lower class number comes first, as in argmax: with k = 1 it is `accuracy`.

    Args:
        scores: (..., classes).
        targets: class numbers (...).
        k: number of guesses, a Python int.
        weights: per example, of the shape of `targets` or of its leading axes.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: if shapes do not fit, or a target is out of range.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> scores = jnp.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
        >>> float(fnn.metrics.top_k_accuracy(scores, jnp.array([1, 2]), k=2))
        0.5
    """
    name = "top_k_accuracy"
    k = checks.integer(name, "k", k)
    s = floats(name, "scores", scores)
    y = _classes(name, "targets", targets)
    if s.shape[:-1] != y.shape or not s.ndim:
        raise ValueError(f"{name}: expected scores of shape {(*y.shape, 'classes')}, got {s.shape}")
    require_classes(name, targets, s.shape[-1], None, None)
    number = jnp.arange(s.shape[-1], dtype=y.dtype)
    own = jnp.take_along_axis(s, y[..., None], -1, mode="fill")
    ahead = (s > own) | ((s == own) & (number < y[..., None]))
    hit = (ahead.sum(-1) < k) & ~jnp.isnan(s).any(-1) & (y >= 0) & (y < s.shape[-1])
    return _mean(name, hit.astype(float), weights)


def confusion_matrix(
    predictions: ArrayLike, targets: ArrayLike, classes: int, *, weights: ArrayLike | None = None
) -> Array:
    r"""How often class i was predicted as class j: $C_{ij} = \#\{y = i, ŷ = j\}$.

    Args:
        predictions: class numbers (n,).
        targets: class numbers (n,).
        classes: number of classes, a Python int.
        weights: per example (n,).

    Returns:
        (classes, classes), true classes in rows, predicted ones in columns; integers, or sums of weights. A traced
        class number out of range is in no cell.

    Raises:
        ValueError: if shapes differ, or a class number is out of range.
        TypeError: if class numbers are not integers.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.metrics.confusion_matrix(jnp.array([0, 1, 1]), jnp.array([0, 0, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    return _confusion("confusion_matrix", predictions, targets, classes, weights)


def _confusion(name: str, predictions: ArrayLike, targets: ArrayLike, classes: int, weights: ArrayLike | None) -> Array:
    classes = checks.integer(name, "classes", classes)
    p, y = _classes(name, "predictions", predictions), _classes(name, "targets", targets)
    checks.same_shape(name, "predictions", p, "targets", y)
    checks.rank(name, "predictions", p, 1, "(n,)")
    require_classes(name, targets, classes, None, None)
    require_classes(name, predictions, classes, None, None)
    inside = (p >= 0) & (p < classes) & (y >= 0) & (y < classes)
    cell = jnp.where(inside, y.astype(jnp.int32) * classes + p.astype(jnp.int32), classes**2)
    if weights is None:
        counted = jnp.ones(p.shape, jnp.int32)
    else:
        counted = _weights(name, weights, jnp.zeros(p.shape))
    return jnp.zeros(classes**2, counted.dtype).at[cell].add(counted, mode="drop").reshape(classes, classes)


def _averaged(
    name: str,
    predictions: ArrayLike,
    targets: ArrayLike,
    classes: int | None,
    average: Average,
    weights: ArrayLike | None,
    of: Literal["predicted", "true", "both"],
) -> Array:
    """Right predictions of a class over how often it was predicted, true, or the mean of the two."""
    checks.one_of(name, "average", average, ("binary", "macro", "micro", "weighted", None))
    if average == "binary":
        classes = 2
    elif classes is None:
        raise ValueError(f"{name}: average={average!r} needs the number of classes; write classes=10")
    matrix = _confusion(name, predictions, targets, classes, weights).astype(float)
    right, true, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    whole = {"predicted": predicted, "true": true, "both": (predicted + true) / 2}[of]
    if average == "micro":
        return weighted_mean(right, whole)
    share = jnp.where(whole == 0, 0, right / jnp.where(whole == 0, 1, whole))
    if average == "macro":
        present = (predicted + true > 0).astype(float)
        return weighted_mean(present * share, present)
    if average == "weighted":
        return weighted_mean(true * share, true)
    return share if average is None else share[1]


def precision(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    classes: int | None = None,
    average: Average = "binary",
    weights: ArrayLike | None = None,
) -> Array:
    r"""Share of the predictions of a class that are right: $TP / (TP + FP)$; 0 for a class never predicted.

    Args:
        predictions: class numbers (n,).
        targets: class numbers (n,).
        classes: number of classes, a Python int; not needed for "binary".
        average: "binary" is of class 1; "macro" the mean over the classes that occur, "weighted" by how often they are
            true, "micro" over all predictions together; None is one value per class.
        weights: per example (n,).

    Returns:
        A scalar in [0, 1], or (classes,) for `average=None`.

    Raises:
        ValueError: if shapes differ, a class number is out of range, or `classes` is missing.
        TypeError: if class numbers are not integers.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.precision(jnp.array([1, 1, 0]), jnp.array([1, 0, 1])))
        0.5
    """
    return _averaged("precision", predictions, targets, classes, average, weights, "predicted")


def recall(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    classes: int | None = None,
    average: Average = "binary",
    weights: ArrayLike | None = None,
) -> Array:
    r"""Share of a class that is found: $TP / (TP + FN)$; 0 for a class that never occurs.

    Args:
        predictions, targets, classes, average, weights: as in `precision`.

    Returns:
        A scalar in [0, 1], or (classes,) for `average=None`.

    Raises:
        ValueError, TypeError: as `precision`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.recall(jnp.array([0, 1, 2, 0]), jnp.array([0, 1, 2, 2]), classes=3, average="micro"))
        0.75
    """
    return _averaged("recall", predictions, targets, classes, average, weights, "true")


def f1(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    classes: int | None = None,
    average: Average = "binary",
    weights: ArrayLike | None = None,
) -> Array:
    r"""Harmonic mean of precision and recall: $2TP / (2TP + FP + FN)$; 0 where that is 0/0.

    Args:
        predictions, targets, classes, average, weights: as in `precision`.

    Returns:
        A scalar in [0, 1], or (classes,) for `average=None`.

    Raises:
        ValueError, TypeError: as `precision`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.f1(jnp.array([1, 1, 0]), jnp.array([1, 0, 1])))
        0.5
    """
    return _averaged("f1", predictions, targets, classes, average, weights, "both")


def roc_auc(scores: ArrayLike, targets: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    r"""Area under the ROC curve: $P(s_+ > s_-) + \frac12 P(s_+ = s_-)$ for a random pair of both classes.

    Args:
        scores: of class 1, any increasing function of its probability (logits), (n,).
        targets: 0 or 1, (n,).
        weights: per example (n,).

    Returns:
        A scalar in [0, 1]; NaN if only one class occurs, where it is not defined.

    Raises:
        ValueError: if shapes differ, or a target is not 0 or 1.
        TypeError: if the targets are not integers.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.roc_auc(jnp.array([0.1, 0.4, 0.4, 0.8]), jnp.array([0, 0, 1, 1])))
        0.875

    References:
        Fawcett, An Introduction to ROC Analysis, 2006.
    """
    name = "roc_auc"
    s = floats(name, "scores", scores)
    y = _classes(name, "targets", targets)
    checks.same_shape(name, "scores", s, "targets", y)
    checks.rank(name, "scores", s, 1, "(n,)")
    require_classes(name, targets, 2, None, None)
    w = _weights(name, weights, s)
    order = jnp.argsort(s)
    s, positive, negative = s[order], jnp.where(y == 1, w, 0)[order], jnp.where(y == 0, w, 0)[order]
    below = jnp.concatenate([jnp.zeros(1, s.dtype), jnp.cumsum(negative)])
    wins = below[jnp.searchsorted(s, s, side="left")]
    ties = below[jnp.searchsorted(s, s, side="right")] - wins
    pairs = positive.sum() * negative.sum()
    area = (positive * (wins + ties / 2)).sum() / jnp.where(pairs == 0, 1, pairs)
    return jnp.where((pairs == 0) | jnp.isnan(s).any(), jnp.nan, area)


def _columns(name: str, predictions: ArrayLike, targets: ArrayLike, weights: ArrayLike | None) -> tuple[Array, ...]:
    """Predictions, targets and weights as (examples, outputs)."""
    p, y, _ = elements(name, predictions, targets, None)
    w = _weights(name, weights, p)
    width = p.shape[-1] if p.ndim > 1 else 1
    return p.reshape(-1, width), y.reshape(-1, width), w.reshape(-1, width)


def mean_squared_error(predictions: ArrayLike, targets: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    r"""Mean squared error: $\frac1n \sum_i (ŷ_i - y_i)^2$.

    Args:
        predictions: (n,) or (n, outputs).
        targets: of the same shape.
        weights: per example (n,).

    Returns:
        A scalar, the mean over examples and outputs.

    Raises:
        ValueError: if shapes differ.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.mean_squared_error(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])))
        2.0
    """
    p, y, w = _columns("mean_squared_error", predictions, targets, weights)
    return weighted_mean(w * (p - y) ** 2, w)


def root_mean_squared_error(predictions: ArrayLike, targets: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    r"""Root of the mean squared error: $\sqrt{\frac1n \sum_i (ŷ_i - y_i)^2}$, averaged over the outputs.

    Args:
        predictions, targets, weights: as in `mean_squared_error`.

    Returns:
        A scalar.

    Raises:
        ValueError: if shapes differ.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.root_mean_squared_error(jnp.array([1.0, 2.0]), jnp.array([4.0, 5.0])))
        3.0
    """
    p, y, w = _columns("root_mean_squared_error", predictions, targets, weights)
    return jnp.sqrt(jax.vmap(weighted_mean, 1)(w * (p - y) ** 2, w)).mean()


def mean_absolute_error(predictions: ArrayLike, targets: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    r"""Mean absolute error: $\frac1n \sum_i |ŷ_i - y_i|$.

    Args:
        predictions, targets, weights: as in `mean_squared_error`.

    Returns:
        A scalar.

    Raises:
        ValueError: if shapes differ.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.mean_absolute_error(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])))
        1.0
    """
    p, y, w = _columns("mean_absolute_error", predictions, targets, weights)
    return weighted_mean(w * jnp.abs(p - y), w)


def r2_score(predictions: ArrayLike, targets: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    r"""Share of the variance that is explained: $1 - \sum_i (y_i - ŷ_i)^2 / \sum_i (y_i - \bar y)^2$.

    Averaged over the outputs. Where the targets are constant it is 1 if the predictions are right, else 0.

    Args:
        predictions, targets, weights: as in `mean_squared_error`.

    Returns:
        A scalar, at most 1.

    Raises:
        ValueError: if shapes differ.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.r2_score(jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 2.0, 3.0])))
        0.5
    """
    p, y, w = _columns("r2_score", predictions, targets, weights)
    centered = y - y[:1]  # constant targets become exact zeros
    centered = centered - jax.vmap(weighted_mean, 1)(w * centered, w)
    left, whole = (w * (y - p) ** 2).sum(0), (w * centered**2).sum(0)
    explained = 1 - left / jnp.where(whole == 0, 1, whole)
    return jnp.where(whole == 0, (left == 0).astype(p.dtype), explained).mean()


def perplexity(logits: ArrayLike, targets: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    r"""Exponential of the mean cross-entropy: $\exp(-\frac1n \sum_i \log \mathrm{softmax}(x_i)_{y_i})$.

    It is the number of equally likely classes that would be as hard to guess.

    Args:
        logits: (..., classes).
        targets: class numbers (...).
        weights: per example or token: of the shape of `targets` or of its leading axes.

    Returns:
        A scalar, at least 1.

    Raises:
        ValueError, TypeError: on targets, as `fnn.losses.softmax_cross_entropy`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.perplexity(jnp.zeros((3, 8)), jnp.array([0, 5, 7])).round(3))
        8.0
    """
    x = floats("perplexity", "logits", logits)
    return jnp.exp(softmax_cross_entropy(x, targets, weights=weights, reduction="mean"))
