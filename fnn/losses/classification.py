"""Losses of one class among several: cross-entropies from logits and from probabilities, label smoothing."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.losses.labels import (
    classes_last,
    distribution,
    labels_and_mask,
    log_of_probability,
    negative_log_likelihood,
    one_term,
    probabilities,
    times_log,
    without_ignored,
)
from fnn.losses.log_softmax import log_softmax, negative_log_softmax
from fnn.losses.reduction import Axis, Reduction, dtype_of, floats, reduce, takes
from fnn.typing import Array, ArrayLike

__all__ = [
    "cross_entropy",
    "poly_loss_cross_entropy",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
]


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

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> logits = jnp.array([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
        >>> [round(float(x), 2) for x in fnn.losses.softmax_cross_entropy(logits, jnp.array([0, 2]))]
        [0.17, 1.55]

    References:
        Goodfellow, Bengio, Courville, Deep Learning, 2016, section 6.2.2.
    """
    name = "softmax_cross_entropy"
    x, classes_in = classes_last(name, floats(name, "logits", logits), axis, where)
    if classes_in is None and one_term(labels, x, label_smoothing, class_weights):
        numbers, keep = labels_and_mask(name, labels, np.shape(logits), x, ignore_index=ignore_index)
        x = x if keep is None else jnp.where(keep[..., None], x, 0)
        return reduce(name, negative_log_softmax(x, numbers), logits, reduction, weights, keep)
    log_p = log_softmax(without_ignored(x, labels, ignore_index), classes_in)
    losses, keep, share = negative_log_likelihood(
        name, logits, log_p, labels, axis, classes_in, label_smoothing, class_weights, ignore_index
    )
    return reduce(name, losses, logits, reduction, weights, keep, share)


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
        axis, where, label_smoothing, class_weights, ignore_index, weights, reduction: as in `softmax_cross_entropy`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> loss = fnn.losses.softmax_cross_entropy_with_integer_labels(jnp.zeros((1, 4)), jnp.array([3]))
        >>> round(float(loss[0]), 3)
        1.386
    """
    name = "softmax_cross_entropy_with_integer_labels"
    if not jnp.issubdtype(dtype_of(labels), jnp.integer) or np.ndim(labels) >= np.ndim(logits):
        raise TypeError(
            f"{name}: expected integer class numbers without the class axis, got "
            f"{checks.describe(jnp.asarray(labels))}; for distributions write softmax_cross_entropy"
        )
    return softmax_cross_entropy(
        logits, labels, axis, where, label_smoothing=label_smoothing, class_weights=class_weights,
        ignore_index=ignore_index, weights=weights, reduction=reduction,
    )  # fmt: skip


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
        where: classes or examples to include; the probabilities are not normalized again.
        axis, label_smoothing, class_weights, ignore_index, weights, reduction: as in `softmax_cross_entropy`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> p = jnp.array([[0.25, 0.75], [1.0, 0.0]])
        >>> [round(float(x), 3) for x in fnn.losses.cross_entropy(p, jnp.array([0, 0]))]
        [1.386, 0.0]
    """
    name = "cross_entropy"
    p = floats(name, "predictions", predictions)
    probabilities(name, "probabilities", predictions, where, "for logits write softmax_cross_entropy")
    p, classes_in = classes_last(name, p, axis, where)
    if classes_in is not None:
        p = jnp.where(classes_in, p, 1)
    log_p = log_of_probability(p, predictions)
    losses, keep, share = negative_log_likelihood(
        name, predictions, log_p, labels, axis, classes_in, label_smoothing, class_weights, ignore_index
    )
    return reduce(name, losses, predictions, reduction, weights, keep, share)


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
        axis, where, weights, reduction: as in `softmax_cross_entropy`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> [round(float(x), 3) for x in fnn.losses.poly_loss_cross_entropy(jnp.zeros((1, 2)), jnp.array([0]))]
        [1.693]

    References:
        Leng et al., PolyLoss, 2022.
    """
    name = "poly_loss_cross_entropy"
    x, classes_in = classes_last(name, floats(name, "logits", logits), axis, where)
    log_p = log_softmax(x, classes_in)
    keep = None if classes_in is None else classes_in.any(-1)
    if classes_in is not None:
        log_p = jnp.where(classes_in, log_p, 0)
    y, keep = distribution(name, labels, np.shape(logits), log_p, axis, keep=keep)
    losses = (y * (jnp.asarray(epsilon, x.dtype) * -jnp.expm1(log_p)) - times_log(y, log_p)).sum(-1)
    return reduce(name, losses, logits, reduction, weights, keep)
