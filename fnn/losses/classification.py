"""Losses of one class among several: cross-entropies from logits and from probabilities, label smoothing."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.kernels.broadcasting import of_rank
from fnn.losses.labels import (
    class_mask,
    class_numbers,
    distribution,
    last,
    log_of_probability,
    log_softmax,
    negative_log_softmax,
    of_label,
    probabilities,
    times_log,
)
from fnn.losses.reduction import Axis, Reduction, floats, follow, reduce
from fnn.losses.taking import takes
from fnn.typing import Array, ArrayLike

__all__ = [
    "cross_entropy",
    "poly_loss_cross_entropy",
    "smooth_labels",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
]


def log_likelihood_loss(
    name: str,
    predictions: ArrayLike,
    log_p: Array,
    labels: ArrayLike,
    axis: Axis,
    classes_in: Array | None,
    label_smoothing: ArrayLike,
    class_weights: ArrayLike | None,
    ignore_index: int | None,
    weights: ArrayLike | None,
    reduction: Reduction,
) -> Array:
    """`-Σ_i w_i y_i log p_i` with the classes of `log_p` last: what all cross-entropies share."""
    keep = None if classes_in is None else classes_in.any(-1)
    if classes_in is not None:  # A target in a class left out asks for nothing: -inf there would cost infinity.
        log_p = jnp.where(classes_in, log_p, 0)
    if _one_term(labels, log_p, label_smoothing, class_weights):
        numbers, keep = class_numbers(name, labels, np.shape(predictions), log_p, keep=keep, ignore_index=ignore_index)
        return reduce(name, 0 - of_label(log_p, numbers), predictions, reduction, weights, keep)
    y, keep = distribution(name, labels, np.shape(predictions), log_p, axis, keep=keep, ignore_index=ignore_index)
    w = jnp.ones(log_p.shape[-1], log_p.dtype)
    if class_weights is not None:
        w = follow(name, "class_weights", class_weights, log_p)
        if w.shape != log_p.shape[-1:]:
            raise ValueError(f"{name}: expected class_weights of shape {log_p.shape[-1:]}, got {w.shape}")
    checks.in_range(name, "label_smoothing", label_smoothing, 0, 1)
    w = of_rank(w, y.ndim)
    share = (w * y).sum(-1) if class_weights is not None else None
    y = smooth_labels(y, label_smoothing, where=classes_in)
    losses = (-times_log(w * y, log_p)).sum(-1)
    return reduce(name, losses, predictions, reduction, weights, keep, share)


def _one_term(labels: ArrayLike, scores: Array, label_smoothing: ArrayLike, class_weights: ArrayLike | None) -> bool:
    """Whether of the sum over the classes only the label's term is there."""
    smooth = not isinstance(label_smoothing, float) or label_smoothing != 0
    return class_weights is None and not smooth and np.shape(labels) == scores.shape[:-1]


@takes("logits")
def softmax_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    label_smoothing: ArrayLike = 0.0,
    class_weights: ArrayLike | None = None,
    ignore_index: int | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Cross-entropy of classes from logits: $-\sum_i y_i \log \mathrm{softmax}(x)_i$.

    Its gradient by the logits is $\mathrm{softmax}(x) - y$. A logit of -inf is a class that cannot occur and
    costs nothing where its target is 0.

    Args:
        logits: (..., classes).
        labels: class numbers (...), or distributions (one-hot, soft) of the shape of `logits`.
        axis: the axis (or axes) of the classes.
        where: booleans: classes to include, in the shape of `logits`, or examples to include, in its shape
            without `axis`. An example with nothing to include loses 0 and does not count.
        label_smoothing: share of the target spread evenly over the classes, in [0, 1].
        class_weights: (classes,), weights of the terms; the mean is also over them.
        ignore_index: class number of examples that do not count.
        weights, reduction: as in every loss, see `fnn.losses`.

    Returns:
        One loss per example (...), or a scalar if reduced.

    Raises:
        ValueError: on labels of another shape or out of range. Labels that are traced cannot be compared:
            one out of range makes its loss NaN.
        TypeError: on integer logits, or class numbers that are not integers.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> logits = jnp.array([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
        >>> [round(float(x), 2) for x in fnn.losses.softmax_cross_entropy(logits, jnp.array([0, 2]))]
        [0.17, 1.55]

    References:
        Goodfellow, Bengio, Courville, Deep Learning, 2016, section 6.2.2.
    """
    name = "softmax_cross_entropy"
    x = floats(name, "logits", logits)
    classes_in, x = class_mask(name, where, x, axis), last(name, x, axis)
    if classes_in is None and _one_term(labels, x, label_smoothing, class_weights):
        numbers, keep = class_numbers(name, labels, np.shape(logits), x, ignore_index=ignore_index)
        x = x if keep is None else jnp.where(keep[..., None], x, 0)
        return reduce(name, negative_log_softmax(x, numbers), logits, reduction, weights, keep)
    log_p = log_softmax(x, classes_in)
    return log_likelihood_loss(
        name,
        logits,
        log_p,
        labels,
        axis,
        classes_in,
        label_smoothing,
        class_weights,
        ignore_index,
        weights,
        reduction,
    )


@takes("logits")
def softmax_cross_entropy_with_integer_labels(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    label_smoothing: ArrayLike = 0.0,
    class_weights: ArrayLike | None = None,
    ignore_index: int | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""`softmax_cross_entropy` that accepts class numbers only: $-\log \mathrm{softmax}(x)_y$.

    Args:
        logits: (..., classes).
        labels: class numbers (...); with several axes, places in the flattened axes.
        axis, where, label_smoothing, class_weights, ignore_index: as in `softmax_cross_entropy`.
        weights, reduction: as in every loss, see `fnn.losses`.

    Returns:
        One loss per example (...), or a scalar if reduced.

    Raises:
        TypeError: if the labels are not integers.
        ValueError: as `softmax_cross_entropy`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> loss = fnn.losses.softmax_cross_entropy_with_integer_labels(jnp.zeros((1, 4)), jnp.array([3]))
        >>> round(float(loss[0]), 3)
        1.386
    """
    name = "softmax_cross_entropy_with_integer_labels"
    if not jnp.issubdtype(jnp.result_type(labels), jnp.integer) or np.ndim(labels) >= np.ndim(logits):
        raise TypeError(
            f"{name}: expected integer class numbers without the class axis, got "
            f"{checks.describe(jnp.asarray(labels))}; for distributions write softmax_cross_entropy"
        )
    return softmax_cross_entropy(
        logits,
        labels,
        axis,
        where,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        ignore_index=ignore_index,
        weights=weights,
        reduction=reduction,
    )


@takes("probabilities")
def cross_entropy(
    predictions: ArrayLike,
    labels: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    label_smoothing: ArrayLike = 0.0,
    class_weights: ArrayLike | None = None,
    ignore_index: int | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Cross-entropy of classes from probabilities: $-\sum_i y_i \log p_i$.

    A probability of 0 is raised to the smallest normal number of the dtype. From logits,
    `softmax_cross_entropy` is exact and has a gradient everywhere.

    Args:
        predictions: probabilities (..., classes).
        labels: class numbers (...), or distributions of the shape of `predictions`.
        axis, label_smoothing, class_weights, ignore_index: as in `softmax_cross_entropy`.
        where: classes or examples to include; the probabilities are not normalized again.
        weights, reduction: as in every loss, see `fnn.losses`.

    Returns:
        One loss per example (...), or a scalar if reduced.

    Raises:
        ValueError: if the predictions are not in [0, 1]; on labels as `softmax_cross_entropy`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> p = jnp.array([[0.25, 0.75], [1.0, 0.0]])
        >>> [round(float(x), 3) for x in fnn.losses.cross_entropy(p, jnp.array([0, 0]))]
        [1.386, 0.0]
    """
    name = "cross_entropy"
    p = floats(name, "predictions", predictions)
    probabilities(name, "probabilities", predictions, where, "for logits write softmax_cross_entropy")
    classes_in = class_mask(name, where, p, axis)
    p = last(name, p, axis)
    if classes_in is not None:
        p = jnp.where(classes_in, p, 1)
    log_p = log_of_probability(p, predictions)
    return log_likelihood_loss(
        name,
        predictions,
        log_p,
        labels,
        axis,
        classes_in,
        label_smoothing,
        class_weights,
        ignore_index,
        weights,
        reduction,
    )


@takes("logits")
def poly_loss_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    epsilon: ArrayLike = 2.0,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Cross-entropy with another first Taylor coefficient: $-\sum_i y_i \log p_i + ε \sum_i y_i (1-p_i)$.

    Args:
        logits: (..., classes); $p = \mathrm{softmax}(x)$.
        labels: class numbers (...), or distributions of the shape of `logits`.
        epsilon: ε; 0 is `softmax_cross_entropy`.
        axis, where: as in `softmax_cross_entropy`.
        weights, reduction: as in every loss, see `fnn.losses`.

    Returns:
        One loss per example (...), or a scalar if reduced.

    Raises:
        ValueError, TypeError: on labels, as `softmax_cross_entropy`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> [round(float(x), 3) for x in fnn.losses.poly_loss_cross_entropy(jnp.zeros((1, 2)), jnp.array([0]))]
        [1.693]

    References:
        Leng et al., PolyLoss, 2022.
    """
    name = "poly_loss_cross_entropy"
    x = floats(name, "logits", logits)
    classes_in = class_mask(name, where, x, axis)
    log_p = log_softmax(last(name, x, axis), classes_in)
    keep = None if classes_in is None else classes_in.any(-1)
    if classes_in is not None:
        log_p = jnp.where(classes_in, log_p, 0)
    y, keep = distribution(name, labels, x.shape, log_p, axis, keep=keep)
    losses = (y * (jnp.asarray(epsilon, x.dtype) * -jnp.expm1(log_p)) - times_log(y, log_p)).sum(-1)
    return reduce(name, losses, logits, reduction, weights, keep)


def smooth_labels(labels: ArrayLike, alpha: ArrayLike, *, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    r"""Labels with the share α spread evenly over the K classes: $(1-α)\,y + α/K$.

    Args:
        labels: one-hot or soft labels, floating-point.
        alpha: α in [0, 1].
        axis: the axis (or axes) of the classes.
        where: booleans in the shape of `labels`, the classes to spread over; the others get $(1-α)\,y$.

    Returns:
        Labels of the same shape and dtype.

    Raises:
        TypeError: if the labels are class numbers.
        ValueError: if `alpha` is not in [0, 1].

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.smooth_labels(jnp.array([0.0, 1.0]), 0.5).tolist()
        [0.25, 0.75]

    References:
        Szegedy et al., Rethinking the Inception Architecture, 2016.
    """
    checks.floating("smooth_labels", "labels", labels)
    checks.in_range("smooth_labels", "alpha", alpha, 0, 1)
    labels = jnp.asarray(labels)
    alpha = jnp.asarray(alpha, labels.dtype)
    if where is None:
        return (1 - alpha) * labels + alpha / jnp.size(labels, axis)
    where = jnp.asarray(where)
    checks.same_shape("smooth_labels", "labels", labels, "where", where)
    classes = jnp.maximum(where.sum(axis, keepdims=True), 1).astype(labels.dtype)
    return (1 - alpha) * labels + jnp.where(where, alpha / classes, 0)
