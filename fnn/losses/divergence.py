"""Divergences between distributions: Kullback–Leibler in its forms, and Jensen–Shannon."""

from __future__ import annotations

import jax.numpy as jnp

from fnn.losses.labels import entropy_term, log_of_probability, pair_of_classes, probabilities, times_log
from fnn.losses.reduction import Axis, Reduction, floats, full_mask, number_or_alike, reduce, takes
from fnn.losses.scale import divide_by_scale
from fnn.typing import Array, ArrayLike

__all__ = [
    "gaussian_kl_divergence",
    "generalized_kl_divergence",
    "js_divergence",
    "kl_divergence",
    "kl_divergence_from_probabilities",
    "kl_divergence_with_log_targets",
]


@takes("log_probabilities")
def kl_divergence(
    log_predictions: ArrayLike,
    targets: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Kullback–Leibler divergence of the targets from the predictions: $\sum_i p_i (\log p_i - \log q_i)$.

    $0 \log 0 = 0$, with finite derivatives by predictions and targets.

    Args:
        log_predictions: $\log q$, (..., classes).
        targets: $p$, probabilities of the same shape.
        axis: the axis (or axes) of the classes.
        where: classes to include, in the shape of `targets`, or examples to include, without `axis`.
        weights, reduction: as in every loss, see `fnn.losses`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> log_q = jnp.log(jnp.array([[0.5, 0.5]]))
        >>> [round(float(x), 3) for x in fnn.losses.kl_divergence(log_q, jnp.array([[1.0, 0.0]]))]
        [0.693]

    References:
        Kullback, Leibler, On Information and Sufficiency, 1951.
    """
    name = "kl_divergence"
    floats(name, "targets", targets)
    probabilities(name, "targets", targets, where, "for log-probabilities write kl_divergence_with_log_targets")
    log_q, p, _, keep = pair_of_classes(name, "log_predictions", log_predictions, "targets", targets, axis, where)
    losses = (entropy_term(p) - times_log(p, log_q)).sum(-1)
    return reduce(name, losses, log_predictions, reduction, weights, keep)


@takes("log_probabilities")
def kl_divergence_with_log_targets(
    log_predictions: ArrayLike,
    log_targets: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""`kl_divergence` with the logarithms of both: $\sum_i e^{\log p_i} (\log p_i - \log q_i)$.

    Args:
        log_predictions: $\log q$, (..., classes).
        log_targets: $\log p$, of the same shape; -inf is a probability of 0.
        axis, where, weights, reduction: as in `kl_divergence`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> log_q, log_p = jnp.log(jnp.array([[0.5, 0.5]])), jnp.array([[0.0, -jnp.inf]])
        >>> [round(float(x), 3) for x in fnn.losses.kl_divergence_with_log_targets(log_q, log_p)]
        [0.693]
    """
    name = "kl_divergence_with_log_targets"
    floats(name, "log_targets", log_targets)
    log_q, log_p, inside, keep = pair_of_classes(
        name, "log_predictions", log_predictions, "log_targets", log_targets, axis, where
    )
    inside = inside & (log_p > -jnp.inf)
    log_p, log_q = jnp.where(inside, log_p, 0), jnp.where(inside, log_q, 0)
    losses = jnp.where(inside, jnp.exp(log_p) * (log_p - log_q), 0).sum(-1)
    return reduce(name, losses, log_predictions, reduction, weights, keep)


@takes("probabilities")
def kl_divergence_from_probabilities(
    predictions: ArrayLike,
    targets: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""`kl_divergence` from the probabilities of both: $\sum_i p_i \log (p_i / q_i)$.

    A predicted probability of 0 is raised to the smallest normal number of the dtype.

    Args:
        predictions: $q$, (..., classes).
        targets: $p$, of the same shape.
        axis, where, weights, reduction: as in `kl_divergence`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> q, p = jnp.array([[0.5, 0.5]]), jnp.array([[1.0, 0.0]])
        >>> [round(float(x), 3) for x in fnn.losses.kl_divergence_from_probabilities(q, p)]
        [0.693]
    """
    name = "kl_divergence_from_probabilities"
    probabilities(name, "predictions", predictions, where, "for log-probabilities write kl_divergence")
    probabilities(name, "targets", targets, where, "for log-probabilities write kl_divergence_with_log_targets")
    q, p, _, keep = pair_of_classes(name, "predictions", predictions, "targets", targets, axis, where)
    losses = (entropy_term(p) - times_log(p, log_of_probability(q, predictions))).sum(-1)
    return reduce(name, losses, predictions, reduction, weights, keep)


def generalized_kl_divergence(
    log_predictions: ArrayLike,
    targets: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""`kl_divergence` of measures that need not sum to 1: $\sum_i p_i (\log p_i - \log q_i) + q_i - p_i$.

    Args:
        log_predictions: $\log q$, (..., classes).
        targets: $p ≥ 0$, of the same shape.
        axis, where, weights, reduction: as in `kl_divergence`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.generalized_kl_divergence(jnp.array([[0.0, 0.0]]), jnp.array([[1.0, 0.0]])).tolist()
        [1.0]

    References:
        Boyd, Vandenberghe, Convex Optimization, 2004, page 90.
    """
    name = "generalized_kl_divergence"
    floats(name, "targets", targets)
    log_q, p, inside, keep = pair_of_classes(name, "log_predictions", log_predictions, "targets", targets, axis, where)
    terms = entropy_term(p) - times_log(p, log_q) + jnp.exp(log_q) - p
    losses = jnp.where(inside, terms, 0).sum(-1)
    return reduce(name, losses, log_predictions, reduction, weights, keep)


@takes("probabilities")
def js_divergence(
    predictions: ArrayLike,
    targets: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Jensen–Shannon divergence, symmetric and at most $\log 2$: $\frac12 D(p‖m) + \frac12 D(q‖m)$, $m = \frac{p+q}2$.

    Args:
        predictions: $q$, (..., classes).
        targets: $p$, of the same shape.
        axis, where, weights, reduction: as in `kl_divergence`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> [round(float(x), 3) for x in fnn.losses.js_divergence(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]]))]
        [0.693]

    References:
        Lin, Divergence Measures Based on the Shannon Entropy, 1991.
    """
    name = "js_divergence"
    probabilities(name, "predictions", predictions, where, "for logits apply softmax first")
    probabilities(name, "targets", targets, where, "for logits apply softmax first")
    q, p, _, keep = pair_of_classes(name, "predictions", predictions, "targets", targets, axis, where)
    terms = (entropy_term(p) + entropy_term(q)) / 2 - entropy_term((p + q) / 2)
    return reduce(name, terms.sum(-1), predictions, reduction, weights, keep)


def gaussian_kl_divergence(
    p_mean: ArrayLike,
    p_log_variance: ArrayLike,
    q_mean: ArrayLike = 0.0,
    q_log_variance: ArrayLike = 0.0,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""$D(P‖Q)$ of two normal distributions.

    $\frac12 (\log σ_q^2 - \log σ_p^2 + (σ_p^2 + (μ_p-μ_q)^2) / σ_q^2 - 1)$.

    Independent dimensions add: sum over the features for their joint divergence.

    Args:
        p_mean, p_log_variance: of P, (...).
        q_mean, q_log_variance: of Q, of the same shape or one number; the standard normal by default.
        where, weights, reduction: as in every loss, see `fnn.losses`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.gaussian_kl_divergence(jnp.array([0.0, 2.0]), jnp.array([0.0, 0.0])).tolist()
        [0.0, 2.0]

    References:
        Kingma, Welling, Auto-Encoding Variational Bayes, 2014, appendix B.
    """
    name = "gaussian_kl_divergence"
    mu = floats(name, "p_mean", p_mean)
    mask = full_mask(name, where, mu.shape)
    others = {"p_log_variance": p_log_variance, "q_mean": q_mean, "q_log_variance": q_log_variance}
    p_log_v, q_mu, q_log_v = (number_or_alike(name, argument, x, "p_mean", mu) for argument, x in others.items())
    if mask is not None:
        mu, p_log_v, q_mu, q_log_v = (jnp.where(mask, x, 0) for x in (mu, p_log_v, q_mu, q_log_v))
    d = p_log_v - q_log_v
    losses = 0.5 * (jnp.expm1(d) - d + divide_by_scale(mu - q_mu, q_log_v / 2) ** 2)
    return reduce(name, losses, p_mean, reduction, weights, mask)
