"""Metrics of classes: how many are right, and how sure of them the model is."""

from __future__ import annotations

import jax.numpy as jnp

from fnn import checks
from fnn.kernels.broadcasting import of_rank
from fnn.losses import softmax_cross_entropy
from fnn.losses.labels import of_label, require_classes
from fnn.losses.reduction import floats, quotient
from fnn.metrics.protocol import class_numbers, equal, in_order, mean, metric
from fnn.typing import Array, ArrayLike

__all__ = ["accuracy", "perplexity", "top_k_accuracy"]


@metric("max")
def accuracy(predictions: ArrayLike, targets: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    r"""Share of predictions that are right: $\frac1n \sum_i [ŷ_i = y_i]$.

    Args:
        predictions: class numbers (...), or scores (..., classes), of which the largest counts.
        targets: class numbers (...).
        weights: per example, of the shape of `targets` or of its leading axes.

    Raises:
        ValueError: if shapes do not fit.
        TypeError: if class numbers are not integers.

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
        targets: class numbers (...).
        k: number of guesses, a Python int.
        weights: per example, of the shape of `targets` or of its leading axes.

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
    losses, counts = softmax_cross_entropy(x, targets, weights=weights, reduction="pair")
    return jnp.exp(quotient(losses, counts, jnp.nan))
