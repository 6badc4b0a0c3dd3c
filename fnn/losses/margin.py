"""Losses of margins: hinge and perceptron losses of two and of several classes."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.losses.labels import distribution
from fnn.losses.reduction import Reduction, elements, floats, full_mask, reduce, visible
from fnn.typing import Array, ArrayLike

__all__ = ["hinge_loss", "multiclass_hinge_loss", "multiclass_perceptron_loss", "perceptron_loss", "squared_hinge_loss"]


def _agreement(
    name: str, predictor_outputs: ArrayLike, targets: ArrayLike, where: ArrayLike | None
) -> tuple[Array, Array | None]:
    """$yŷ$, positive where the sign is right."""
    host = visible(targets, where)
    if (wrong := np.abs(host) != 1).any():
        raise ValueError(f"{name}: expected targets -1 or 1, got {host[wrong][0]:g}; for 0 and 1 write 2 * targets - 1")
    p, y, mask = elements(name, predictor_outputs, targets, where, first="predictor_outputs")
    return y * p, mask


def hinge_loss(
    predictor_outputs: ArrayLike,
    targets: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Hinge loss of two classes: $\max(0, 1 - yŷ)$.

    Args:
        predictor_outputs: scores (...).
        targets: -1 or 1, of the same shape.
        where, weights, reduction: as in every loss, see `fnn.losses`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.hinge_loss(jnp.array([2.0, 0.5, -1.0]), jnp.array([1, 1, 1])).tolist()
        [0.0, 0.5, 2.0]

    References:
        Cortes, Vapnik, Support-Vector Networks, 1995.
    """
    margin, mask = _agreement("hinge_loss", predictor_outputs, targets, where)
    return reduce("hinge_loss", jnp.maximum(0, 1 - margin), predictor_outputs, reduction, weights, mask)


def squared_hinge_loss(
    predictor_outputs: ArrayLike,
    targets: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Squared hinge loss of two classes: $\max(0, 1 - yŷ)^2$.

    Args:
        predictor_outputs, targets, where, weights, reduction: as in `hinge_loss`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.squared_hinge_loss(jnp.array([2.0, 0.5, -1.0]), jnp.array([1, 1, 1])).tolist()
        [0.0, 0.25, 4.0]
    """
    margin, mask = _agreement("squared_hinge_loss", predictor_outputs, targets, where)
    losses = jnp.maximum(0, 1 - margin) ** 2
    return reduce("squared_hinge_loss", losses, predictor_outputs, reduction, weights, mask)


def perceptron_loss(
    predictor_outputs: ArrayLike,
    targets: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Perceptron loss of two classes: $\max(0, -yŷ)$.

    Args:
        predictor_outputs, targets, where, weights, reduction: as in `hinge_loss`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.perceptron_loss(jnp.array([2.0, -1.0]), jnp.array([1, 1])).tolist()
        [0.0, 1.0]

    References:
        Rosenblatt, The Perceptron, 1958.
    """
    margin, mask = _agreement("perceptron_loss", predictor_outputs, targets, where)
    return reduce("perceptron_loss", jnp.maximum(0, -margin), predictor_outputs, reduction, weights, mask)


def _scores(
    name: str, scores: ArrayLike, labels: ArrayLike, where: ArrayLike | None
) -> tuple[Array, Array, Array | None]:
    """Scores, one-hot labels, and which examples count; masked scores are 0."""
    s = floats(name, "scores", scores)
    checks.least_rank(name, "scores", s, 1, "(..., classes)")
    keep = full_mask(name, where, s.shape[:-1])
    if keep is not None:
        s = jnp.where(keep[..., None], s, 0)
    y, keep = distribution(name, labels, s.shape, s, keep=keep)
    return s, y, keep


def _of_label(s: Array, y: Array) -> Array:
    """The score of the label; scores of other classes may be infinite."""
    return (y * jnp.where(y == 0, 0, s)).sum(-1)


def multiclass_hinge_loss(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    form: Literal["crammer_singer", "weston_watkins"] = "crammer_singer",
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Hinge loss of several classes.

    Crammer–Singer: $\max(0, 1 + \max_{j ≠ y} s_j - s_y)$;
    Weston–Watkins: $\sum_{j ≠ y} \max(0, 1 + s_j - s_y)$.

    Args:
        scores: (..., classes).
        labels: class numbers (...) or one-hot (..., classes).
        form: "crammer_singer" or "weston_watkins".
        where: examples to include, (...).
        weights, reduction: as in every loss, see `fnn.losses`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> scores, labels = jnp.array([[2.0, 1.5, 1.75]]), jnp.array([0])
        >>> fnn.losses.multiclass_hinge_loss(scores, labels).tolist()
        [0.75]
        >>> fnn.losses.multiclass_hinge_loss(scores, labels, form="weston_watkins").tolist()
        [1.25]

    References:
        Crammer, Singer, On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines, 2001.
        Weston, Watkins, Support Vector Machines for Multi-Class Pattern Recognition, 1999.
    """
    name = "multiclass_hinge_loss"
    checks.one_of(name, "form", form, ("crammer_singer", "weston_watkins"))
    s, y, keep = _scores(name, scores, labels, where)
    own = _of_label(s, y)
    if form == "crammer_singer":
        losses = (s + 1 - y).max(-1) - own
    else:
        losses = ((1 - y) * jnp.maximum(0, 1 + s - own[..., None])).sum(-1)
    return reduce(name, losses, scores, reduction, weights, keep)


def multiclass_perceptron_loss(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Perceptron loss of several classes: $\max_j s_j - s_y$.

    Args:
        scores, labels, where, weights, reduction: as in `multiclass_hinge_loss`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.multiclass_perceptron_loss(jnp.array([[2.0, 1.0, 4.0]]), jnp.array([0])).tolist()
        [2.0]

    References:
        Collins, Discriminative Training Methods for Hidden Markov Models, 2002.
    """
    name = "multiclass_perceptron_loss"
    s, y, keep = _scores(name, scores, labels, where)
    return reduce(name, s.max(-1) - _of_label(s, y), scores, reduction, weights, keep)
