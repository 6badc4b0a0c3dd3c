"""Metrics of classes: how many are right, how sure of them the model is, and how well scores order them."""

from __future__ import annotations

import jax.numpy as jnp

from fnn import checks
from fnn.kernels.broadcasting import of_rank
from fnn.kernels.mesh_axes import auto_axes
from fnn.losses import softmax_cross_entropy
from fnn.losses.labels import of_label, require_classes
from fnn.losses.reduction import floats, quotient
from fnn.metrics.protocol import broadcast_weights, class_numbers, equal, in_order, mean, metric
from fnn.typing import Array, ArrayLike

__all__ = ["accuracy", "perplexity", "roc_auc", "top_k_accuracy"]


@metric("max")
def accuracy(predictions: ArrayLike, targets: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    r"""Share of predictions that are right: $\frac1n \sum_i [ŷ_i = y_i]$.

    Args:
        predictions: class numbers (...), or scores (..., classes), of which the largest counts.
        targets: class numbers (...).
        weights: per example, of the shape of `targets` or of its leading axes.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.accuracy(jnp.array([0, 1, 1, 0]), jnp.array([0, 1, 2, 0])))
        0.75
    """
    y = class_numbers("accuracy", "targets", targets)
    predictions = in_order("accuracy", "predictions", predictions)
    if predictions.ndim == y.ndim + 1:
        scores = predictions
        if scores.shape[-1] == 1:
            raise ValueError(
                f"accuracy: expected scores of two classes or more, got {checks.describe(scores)}; of one column write "
                "scores[..., 0] > 0 for logits, > 0.5 for probabilities, and .astype(int)"
            )
        # argmax would name the place of a NaN; a score that is NaN is never right.
        predictions = jnp.where(jnp.isnan(scores).any(-1), -1, scores.argmax(-1))
    p = class_numbers("accuracy", "predictions", predictions)
    checks.same_shape("accuracy", "predictions", p, "targets", y)
    return mean("accuracy", equal(p, y), weights)


@metric("max")
def top_k_accuracy(scores: ArrayLike, targets: ArrayLike, *, k: int = 5, weights: ArrayLike | None = None) -> Array:
    r"""Share of examples whose class is among the k largest scores.

    Among equal scores the lower class number comes first, as in argmax: with k = 1 it is `accuracy`.

    Args:
        scores: (..., classes).
        k: number of guesses, a Python int.
        targets, weights: as in `accuracy`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> scores = jnp.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
        >>> float(fnn.metrics.top_k_accuracy(scores, jnp.array([1, 2]), k=2))
        0.5
    """
    name = "top_k_accuracy"
    k = checks.integer(name, "k", k)
    s = floats(name, "scores", in_order(name, "scores", scores))
    y = class_numbers(name, "targets", targets)
    if s.shape[:-1] != y.shape or not s.ndim:
        raise checks.wrong_shape(name, "scores", (*y.shape, "classes"), s.shape)
    require_classes(name, targets, s.shape[-1], None, None)
    number = of_rank(jnp.arange(s.shape[-1], dtype=y.dtype), s.ndim)
    own = of_label(s, y)[..., None]
    ahead = (s > own) | ((s == own) & (number < y[..., None]))
    hit = (ahead.sum(-1) < k) & ~jnp.isnan(s).any(-1) & (y >= 0) & (y < s.shape[-1])
    return mean(name, hit.astype(float), weights)


@metric("min")
def perplexity(logits: ArrayLike, targets: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    r"""Exponential of the mean cross-entropy: $\exp(-\frac1n \sum_i \log \mathrm{softmax}(x_i)_{y_i})$.

    It is the number of equally likely classes that would be as hard to guess, at least 1.

    Args:
        logits: (..., classes).
        targets: class numbers (...).
        weights: per example or token: of the shape of `targets` or of its leading axes.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.perplexity(jnp.zeros((3, 8)), jnp.array([0, 5, 7])).round(3))
        8.0
    """
    x = floats("perplexity", "logits", logits)
    losses, counts = softmax_cross_entropy(x, targets, weights=weights, reduction="pair")
    return jnp.exp(quotient(losses, counts, jnp.nan))


@metric("max")
def roc_auc(scores: ArrayLike, targets: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    r"""Area under the ROC curve: $P(s_+ > s_-) + \frac12 P(s_+ = s_-)$ for a random pair of both classes.

    If only one class occurs it is not defined, NaN.

    Args:
        scores: of class 1, any increasing function of its probability (logits), (n,).
        targets: 0 or 1, (n,).
        weights: per example (n,).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.roc_auc(jnp.array([0.1, 0.4, 0.4, 0.8]), jnp.array([0, 0, 1, 1])))
        0.875

    References:
        Fawcett, An Introduction to ROC Analysis, 2006.
    """
    name = "roc_auc"
    s = floats(name, "scores", in_order(name, "scores", scores))
    y = class_numbers(name, "targets", targets)
    checks.same_shape(name, "scores", s, "targets", y)
    checks.rank(name, "scores", s, 1, "(n,)")
    require_classes(name, targets, 2, None, None)
    return auto_axes(_area)(s, y, broadcast_weights(name, weights, s))


def _area(s: Array, y: Array, w: Array) -> Array:
    w = w / jnp.where(w.max(initial=0) == 0, 1, w.max(initial=0))  # the product of two sums may overflow or vanish
    order = jnp.argsort(s)
    s, positive, negative = s[order], jnp.where(y == 1, w, 0)[order], jnp.where(y == 0, w, 0)[order]
    below = jnp.concatenate([jnp.zeros(1, s.dtype), jnp.cumsum(negative)])
    wins = below[jnp.searchsorted(s, s, side="left")]
    ties = below[jnp.searchsorted(s, s, side="right")] - wins
    pairs = positive.sum() * negative.sum()
    area = (positive * (wins + ties / 2)).sum() / jnp.where(pairs == 0, 1, pairs)
    return jnp.where((pairs == 0) | (jnp.isnan(s) & (positive + negative > 0)).any(), jnp.nan, area)
