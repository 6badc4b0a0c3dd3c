"""Losses of values: squared, absolute and robust errors, quantiles."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.losses.reduction import Reduction, elements, floats, follow, masked, reduce
from fnn.typing import Array, ArrayLike

__all__ = [
    "absolute_error",
    "half_mse",
    "huber_loss",
    "l2_loss",
    "log_cosh",
    "mae",
    "mse",
    "quantile_loss",
    "smooth_l1_loss",
    "squared_error",
]


def _residual(
    name: str, predictions: ArrayLike, targets: ArrayLike | None, where: ArrayLike | None
) -> tuple[Array, Array | None]:
    p, t, mask = elements(name, predictions, targets, where)
    return p - t, mask


def squared_error(
    predictions: ArrayLike,
    targets: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Squared error of every element: $(ŷ - y)^2$.

    Args:
        predictions: (...).
        targets: of the same shape; None is zero.
        where, weights, reduction: as in every loss, see `fnn.losses`.

    Returns:
        One loss per element, or a scalar if reduced.

    Raises:
        ValueError: if shapes differ.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.squared_error(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])).tolist()
        [0.0, 4.0]
    """
    r, mask = _residual("squared_error", predictions, targets, where)
    return reduce("squared_error", r**2, predictions, reduction, weights, mask)


def l2_loss(
    predictions: ArrayLike,
    targets: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Half the squared error of every element: $\frac12 (ŷ - y)^2$.

    Args:
        predictions: (...).
        targets: of the same shape; None is zero.
        where, weights, reduction: as in every loss, see `fnn.losses`.

    Returns:
        One loss per element, or a scalar if reduced.

    Raises:
        ValueError: if shapes differ.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.l2_loss(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])).tolist()
        [0.0, 2.0]

    References:
        Bishop, Pattern Recognition and Machine Learning, 2006, equation 1.2.
    """
    r, mask = _residual("l2_loss", predictions, targets, where)
    return reduce("l2_loss", 0.5 * r**2, predictions, reduction, weights, mask)


def absolute_error(
    predictions: ArrayLike,
    targets: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Absolute error of every element: $|ŷ - y|$, with derivative 0 at 0.

    Args:
        predictions: (...).
        targets: of the same shape; None is zero.
        where, weights, reduction: as in every loss, see `fnn.losses`.

    Returns:
        One loss per element, or a scalar if reduced.

    Raises:
        ValueError: if shapes differ.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.absolute_error(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])).tolist()
        [0.0, 2.0]
    """
    r, mask = _residual("absolute_error", predictions, targets, where)
    return reduce("absolute_error", jnp.abs(r), predictions, reduction, weights, mask)


def _per_example(losses: Array, mask: Array | None, *, average: bool) -> tuple[Array, Array | None]:
    """Losses per element summed or averaged over every axis but the first."""
    axes = tuple(range(1, losses.ndim))
    if mask is None:
        return (losses.mean(axes) if average and losses.size else losses.sum(axes)), None
    total = jnp.where(mask, losses, 0).sum(axes)
    count = jnp.maximum(mask.sum(axes), 1).astype(losses.dtype)
    return (total / count if average else total), mask.any(axes)


def mse(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Mean squared error of every example: $\frac1n \sum_{i=1}^n (ŷ_i - y_i)^2$.

    Args:
        predictions: (batch, ...); the mean is over every axis but the first.
        targets: of the same shape.
        where: (batch,) or the shape of `predictions`; the mean is over what it includes.
        weights, reduction: as in every loss, see `fnn.losses`.

    Returns:
        One loss per example (batch,), or a scalar if reduced.

    Raises:
        ValueError: if shapes differ.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> predictions, targets = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[1.0, 0.0], [3.0, 4.0]])
        >>> fnn.losses.mse(predictions, targets).tolist()
        [2.0, 0.0]
    """
    r, mask = _residual("mse", predictions, targets, where)
    losses, mask = _per_example(r**2, mask, average=True)
    return reduce("mse", losses, predictions, reduction, weights, mask)


def half_mse(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Half the squared distance of every example: $\frac12 \|ŷ - y\|^2$.

    With `reduction="mean"` it is $\frac1{2m} \sum_{j=1}^m \|ŷ_j - y_j\|^2$, whose gradient has no factor 2.

    Args:
        predictions: (batch, ...); the sum is over every axis but the first.
        targets: of the same shape.
        where, weights, reduction: as in every loss, see `fnn.losses`.

    Returns:
        One loss per example (batch,), or a scalar if reduced.

    Raises:
        ValueError: if shapes differ.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.half_mse(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 0.0]])).tolist()
        [2.5]
    """
    r, mask = _residual("half_mse", predictions, targets, where)
    losses, mask = _per_example(r**2, mask, average=False)
    return reduce("half_mse", 0.5 * losses, predictions, reduction, weights, mask)


def mae(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Mean absolute error of every example: $\frac1n \sum_{i=1}^n |ŷ_i - y_i|$, with derivative 0 at 0.

    Args:
        predictions: (batch, ...); the mean is over every axis but the first.
        targets: of the same shape.
        where: (batch,) or the shape of `predictions`; the mean is over what it includes.
        weights, reduction: as in every loss, see `fnn.losses`.

    Returns:
        One loss per example (batch,), or a scalar if reduced.

    Raises:
        ValueError: if shapes differ.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.mae(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 0.0]])).tolist()
        [1.5]
    """
    r, mask = _residual("mae", predictions, targets, where)
    losses, mask = _per_example(jnp.abs(r), mask, average=True)
    return reduce("mae", losses, predictions, reduction, weights, mask)


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

    Returns:
        One loss per element, or a scalar if reduced.

    Raises:
        ValueError: if shapes differ, or `delta` is not positive.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.huber_loss(jnp.array([0.5, 3.0]), delta=1.0).tolist()
        [0.125, 2.5]

    References:
        Huber, Robust Estimation of a Location Parameter, 1964.
    """
    checks.in_range("huber_loss", "delta", delta, 0, open="low")
    r, mask = _residual("huber_loss", predictions, targets, where)
    delta = jnp.asarray(delta, r.dtype)
    quadratic = jnp.minimum(jnp.abs(r), delta)
    losses = 0.5 * quadratic**2 + delta * (jnp.abs(r) - quadratic)
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
        predictions: (...); $r = ŷ - y$.
        targets: of the same shape; None is zero.
        beta: β > 0.
        where, weights, reduction: as in every loss, see `fnn.losses`.

    Returns:
        One loss per element, or a scalar if reduced.

    Raises:
        ValueError: if shapes differ, or `beta` is not positive.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.smooth_l1_loss(jnp.array([0.5, 3.0]), beta=2.0).tolist()
        [0.0625, 2.0]

    References:
        Girshick, Fast R-CNN, 2015.
    """
    checks.in_range("smooth_l1_loss", "beta", beta, 0, open="low")
    r, mask = _residual("smooth_l1_loss", predictions, targets, where)
    beta = jnp.asarray(beta, r.dtype)
    quadratic = jnp.minimum(jnp.abs(r), beta)
    losses = 0.5 * quadratic**2 / beta + (jnp.abs(r) - quadratic)
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
        predictions: (...); $r = ŷ - y$.
        targets: of the same shape; None is zero.
        where, weights, reduction: as in every loss, see `fnn.losses`.

    Returns:
        One loss per element, or a scalar if reduced.

    Raises:
        ValueError: if shapes differ.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.log_cosh(jnp.array([0.0, 1e4])).round(1).tolist()
        [0.0, 9999.2998046875]
    """
    r, mask = _residual("log_cosh", predictions, targets, where)
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

    Returns:
        One loss per prediction, (...) or (..., levels), or a scalar if reduced.

    Raises:
        ValueError: if shapes do not fit, or a level is not in (0, 1).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.quantile_loss(jnp.array([[0.0, 0.0]]), jnp.array([1.0]), (0.25, 0.75)).tolist()
        [[0.25, 0.75]]

    References:
        Koenker, Bassett, Regression Quantiles, 1978.
    """
    name = "quantile_loss"
    p = floats(name, "predictions", predictions)
    if checks.is_concrete(levels):
        for level in np.ravel(np.asarray(levels)):
            checks.in_range(name, "levels", level, 0, 1, open="both")
    tau = follow(name, "levels", levels, p)
    y = follow(name, "targets", targets, p)
    if p.shape != y.shape + tau.shape:
        raise ValueError(
            f"{name}: expected predictions of the shape of targets and levels, {y.shape + tau.shape}, got {p.shape}"
        )
    mask = masked(name, where, p.shape)
    r = y.reshape(y.shape + (1,) * tau.ndim) - p
    if mask is not None:
        r = jnp.where(mask, r, 0)
    return reduce(name, jnp.maximum(tau * r, (tau - 1) * r), predictions, reduction, weights, mask)
