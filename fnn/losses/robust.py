"""Losses of values that forgive outliers, and of quantiles."""

from __future__ import annotations

import math

import jax.numpy as jnp

from fnn import checks
from fnn.kernels.broadcasting import of_rank
from fnn.losses.reduction import Reduction, absolute, floats, follow, full_mask, reduce, visible
from fnn.losses.regression import residual
from fnn.typing import Array, ArrayLike

__all__ = ["huber_loss", "log_cosh", "quantile_loss", "smooth_l1_loss"]


def huber_loss(
    predictions: ArrayLike,
    targets: ArrayLike | None = None,
    *,
    delta: ArrayLike = 1.0,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Squared error near zero, absolute error beyond δ: $\frac12 r^2$ for $|r| ≤ δ$, else $δ(|r| - \frac12 δ)$.

    Args:
        predictions: (...); $r = ŷ - y$.
        targets: of the same shape; None is zero.
        delta: δ > 0, the largest derivative.
        where, weights, reduction: as in every loss, see `fnn.losses`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.huber_loss(jnp.array([0.5, 3.0]), delta=1.0).tolist()
        [0.125, 2.5]

    References:
        Huber, Robust Estimation of a Location Parameter, 1964.
    """
    checks.in_range("huber_loss", "delta", delta, 0, open="low")
    r, mask = residual("huber_loss", predictions, targets, where)
    delta = jnp.asarray(delta, r.dtype)
    quadratic = jnp.clip(r, -delta, delta)
    losses = 0.5 * quadratic**2 + delta * (absolute(r) - absolute(quadratic))
    return reduce("huber_loss", losses, predictions, reduction, weights, mask)


def smooth_l1_loss(
    predictions: ArrayLike,
    targets: ArrayLike | None = None,
    *,
    beta: ArrayLike = 1.0,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Absolute error, smooth within β of zero: $r^2 / (2β)$ for $|r| < β$, else $|r| - \frac12 β$.

    It is `huber_loss` with δ = β, divided by β.

    Args:
        beta: β > 0.
        predictions, targets, where, weights, reduction: as in `huber_loss`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.smooth_l1_loss(jnp.array([0.5, 3.0]), beta=2.0).tolist()
        [0.0625, 2.0]

    References:
        Girshick, Fast R-CNN, 2015.
    """
    checks.in_range("smooth_l1_loss", "beta", beta, 0, open="low")
    r, mask = residual("smooth_l1_loss", predictions, targets, where)
    beta = jnp.asarray(beta, r.dtype)
    quadratic = jnp.clip(r, -beta, beta)
    losses = 0.5 * quadratic**2 / beta + (absolute(r) - absolute(quadratic))
    return reduce("smooth_l1_loss", losses, predictions, reduction, weights, mask)


def log_cosh(
    predictions: ArrayLike,
    targets: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""$\log \cosh r$: about $\frac12 r^2$ near zero and $|r| - \log 2$ far away; its derivative is $\tanh r$.

    Args:
        predictions, targets, where, weights, reduction: as in `huber_loss`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.log_cosh(jnp.array([0.0, 1e4])).round(1).tolist()
        [0.0, 9999.2998046875]
    """
    r, mask = residual("log_cosh", predictions, targets, where)
    # cosh r = 1 + 2 sinh²(r/2) keeps small residuals exact; the other form never overflows.
    small = jnp.abs(r) < 1
    near = jnp.where(small, r, 0)
    far = jnp.abs(jnp.where(small, 1, r))
    losses = jnp.where(small, jnp.log1p(2 * jnp.sinh(near / 2) ** 2), far + jnp.log1p(jnp.exp(-2 * far)) - math.log(2))
    return reduce("log_cosh", losses, predictions, reduction, weights, mask)


def quantile_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    levels: ArrayLike = 0.5,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Pinball loss, least at the τ-quantile: $τ (y - ŷ)$ if $y ≥ ŷ$, else $(1 - τ)(ŷ - y)$.

    Args:
        predictions: (...) for one level, (..., levels) for several.
        targets: (...).
        levels: τ in (0, 1), a number, or several at once: shape (levels,).
        where: in the shape of `predictions`, or its leading axes.
        weights, reduction: as in every loss, see `fnn.losses`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.quantile_loss(jnp.array([[0.0, 0.0]]), jnp.array([1.0]), (0.25, 0.75)).tolist()
        [[0.25, 0.75]]

    References:
        Koenker, Bassett, Regression Quantiles, 1978.
    """
    name = "quantile_loss"
    p = floats(name, "predictions", predictions)
    for level in visible(levels):
        checks.in_range(name, "levels", level, 0, 1, open="both")
    tau = follow(name, "levels", levels, p)
    y = follow(name, "targets", targets, p)
    if p.shape != y.shape + tau.shape:
        raise ValueError(
            f"{name}: expected predictions of the shape of targets and levels, {y.shape + tau.shape}, got {p.shape}"
        )
    mask = full_mask(name, where, p.shape)
    r, tau = y.reshape(y.shape + (1,) * tau.ndim) - p, of_rank(tau, p.ndim)
    if mask is not None:
        r = jnp.where(mask, r, 0)
    return reduce(name, jnp.maximum(tau * r, (tau - 1) * r), predictions, reduction, weights, mask)
