"""Metrics of the order that scores put examples in."""

from __future__ import annotations

import jax.numpy as jnp

from fnn import checks
from fnn.kernels.mesh_axes import auto_axes
from fnn.losses.labels import require_classes
from fnn.losses.reduction import floats
from fnn.metrics.protocol import broadcast_weights, class_numbers, in_order, metric
from fnn.typing import Array, ArrayLike

__all__ = ["roc_auc"]


@metric("max")
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
