"""Losses of yes-or-no: binary cross-entropies and the focal loss."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from fnn import checks
from fnn.kernels.broadcasting import of_rank
from fnn.losses.labels import SIGNED, log_of_complement, log_of_probability, probabilities, times_log
from fnn.losses.reduction import Reduction, elements, follow, reduce, takes
from fnn.typing import Array, ArrayLike

__all__ = ["binary_cross_entropy", "sigmoid_binary_cross_entropy", "sigmoid_focal_loss"]


def _binary(
    log_p: Array, log_not_p: Array, y: Array, label_smoothing: ArrayLike, pos_weight: ArrayLike | None, name: str
) -> Array:
    checks.in_range(name, "label_smoothing", label_smoothing, 0, 1)
    y = (1 - jnp.asarray(label_smoothing, y.dtype)) * y + jnp.asarray(label_smoothing, y.dtype) / 2
    positive = y
    if pos_weight is not None:
        factor = follow(name, "pos_weight", pos_weight, y)
        if factor.shape not in ((), y.shape[-1:]):
            raise checks.wrong_shape(name, "pos_weight", f"() or {y.shape[-1:]}", factor.shape)
        positive = of_rank(factor, y.ndim) * y
    return -times_log(positive, log_p) - times_log(1 - y, log_not_p)


@takes("logits")
def sigmoid_binary_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    label_smoothing: ArrayLike = 0.0,
    pos_weight: ArrayLike | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Cross-entropy of yes-or-no from logits: $-y \log σ(x) - (1-y) \log(1-σ(x))$.

    Its gradient by the logit is $σ(x) - y$, by weights with $x = w^⊤ a$ it is $(σ(x) - y)\,a$.

    Args:
        logits: (...).
        labels: 0, 1 or between, of the same shape.
        label_smoothing: α in $y ← (1-α) y + α/2$.
        pos_weight: factor of the first term, a scalar or one per label (last axis).
        where, weights, reduction: as in every loss, see `fnn.losses`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> logits = jnp.array([0.0, 1e4, -1e4])
        >>> fnn.losses.sigmoid_binary_cross_entropy(logits, jnp.array([1, 1, 1])).round(3).tolist()[1:]
        [0.0, 10000.0]
    """
    name = "sigmoid_binary_cross_entropy"
    probabilities(name, "labels", labels, where, SIGNED)
    x, y, mask = elements(name, logits, labels, where, first="logits", second="labels")
    losses = _binary(jax.nn.log_sigmoid(x), jax.nn.log_sigmoid(-x), y, label_smoothing, pos_weight, name)
    return reduce(name, losses, logits, reduction, weights, mask)


@takes("probabilities")
def binary_cross_entropy(
    predictions: ArrayLike,
    labels: ArrayLike,
    *,
    label_smoothing: ArrayLike = 0.0,
    pos_weight: ArrayLike | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Cross-entropy of yes-or-no from probabilities: $-y \log p - (1-y) \log(1-p)$.

    A probability of 0 is raised to the smallest normal number of the dtype. From logits,
    `sigmoid_binary_cross_entropy` is exact and has a gradient everywhere.

    Args:
        predictions: probabilities (...).
        labels: 0, 1 or between, of the same shape.
        label_smoothing, pos_weight, where, weights, reduction: as in `sigmoid_binary_cross_entropy`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> [round(float(x), 3) for x in fnn.losses.binary_cross_entropy(jnp.array([1.0, 0.5]), jnp.array([1, 0]))]
        [0.0, 0.693]
    """
    name = "binary_cross_entropy"
    probabilities(name, "probabilities", predictions, where, "for logits write sigmoid_binary_cross_entropy")
    probabilities(name, "labels", labels, where, SIGNED)
    p, y, mask = elements(name, predictions, labels, where, second="labels")
    log_p, log_not_p = log_of_probability(p, predictions), log_of_complement(p, predictions)
    losses = _binary(log_p, log_not_p, y, label_smoothing, pos_weight, name)
    return reduce(name, losses, predictions, reduction, weights, mask)


@takes("logits")
def sigmoid_focal_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: ArrayLike | None = None,
    gamma: ArrayLike = 2.0,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Binary cross-entropy that fades for well classified examples: $-α_t (1-p_t)^γ \log p_t$.

    $p_t$ is the probability given to the label, $α_t = α$ for label 1 and $1-α$ for label 0.

    Args:
        alpha: weight of label 1, in [0, 1]; None weighs both alike.
        gamma: how fast easy examples fade; 0 is the cross-entropy.
        logits, labels, where, weights, reduction: as in `sigmoid_binary_cross_entropy`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> [round(float(x), 3) for x in fnn.losses.sigmoid_focal_loss(jnp.array([0.0, 5.0]), jnp.array([1, 1]))]
        [0.173, 0.0]

    References:
        Lin et al., Focal Loss for Dense Object Detection, 2017.
    """
    name = "sigmoid_focal_loss"
    checks.in_range(name, "gamma", gamma, 0)
    probabilities(name, "labels", labels, where, SIGNED)
    x, y, mask = elements(name, logits, labels, where, first="logits", second="labels")
    # At an infinite logit the loss is 0 or infinite; the formula below would give its gradient as ∞ - ∞.
    bound = float(jnp.finfo(x.dtype).max) / 4
    endless, x = jnp.isinf(x), jnp.clip(x, -bound, bound)
    log_p, log_not_p = jax.nn.log_sigmoid(x), jax.nn.log_sigmoid(-x)
    # In logarithms, because (1 - p)^(γ - 1) in the gradient is infinite at p = 1 for γ < 1.
    log_missed = _log_of_missed(x, y)
    losses = jnp.exp(jnp.asarray(gamma, x.dtype) * log_missed) * _binary(log_p, log_not_p, y, 0.0, None, name)
    losses = jnp.where(endless & (losses > 1), jnp.inf, losses)
    if alpha is not None:
        checks.in_range(name, "alpha", alpha, 0, 1)
        alpha = jnp.asarray(alpha, x.dtype)
        losses = (alpha * y + (1 - alpha) * (1 - y)) * losses
    return reduce(name, losses, logits, reduction, weights, mask)


@jax.custom_jvp
def _log_of_missed(x: Array, y: Array) -> Array:
    r"""$\log((1-y) p + y (1-p))$; `logsumexp` leaves what has the factor 0 out of its derivative by y."""
    return jax.nn.logsumexp(jnp.stack([jax.nn.log_sigmoid(x), jax.nn.log_sigmoid(-x)]), axis=0, b=jnp.stack([1 - y, y]))


@functools.partial(_log_of_missed.defjvp, symbolic_zeros=True)
def _log_of_missed_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    x, y = primals
    value, log_p, log_not_p = _log_of_missed(x, y), jax.nn.log_sigmoid(x), jax.nn.log_sigmoid(-x)
    parts = [jnp.zeros_like(x)]
    if not isinstance(tangents[0], SymbolicZero):
        parts.append((1 - 2 * y) * jnp.exp(log_p + log_not_p - value) * tangents[0])
    if not isinstance(tangents[1], SymbolicZero):
        largest = 0.49 * float(np.log(jnp.finfo(x.dtype).max))  # so that its square is a number
        shares = (jnp.exp(jnp.minimum(share - value, largest)) for share in (log_not_p, log_p))
        parts.append((next(shares) - next(shares)) * tangents[1])
    return value, sum(parts[1:], parts[0])
