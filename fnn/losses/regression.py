"""Losses of values: squared and absolute errors."""

from __future__ import annotations

import jax.numpy as jnp

from fnn.losses.reduction import Reduction, absolute, elements, reduce
from fnn.typing import Array, ArrayLike

__all__ = ["absolute_error", "half_mse", "l2_loss", "mae", "mse", "squared_error"]


def residual(
    name: str, predictions: ArrayLike, targets: ArrayLike | None, where: ArrayLike | None
) -> tuple[Array, Array | None]:
    """$ŷ - y$ and its mask."""
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

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.squared_error(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])).tolist()
        [0.0, 4.0]
    """
    r, mask = residual("squared_error", predictions, targets, where)
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
        predictions, targets, where, weights, reduction: as in `squared_error`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.l2_loss(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])).tolist()
        [0.0, 2.0]

    References:
        Bishop, Pattern Recognition and Machine Learning, 2006, equation 1.2.
    """
    r, mask = residual("l2_loss", predictions, targets, where)
    return reduce("l2_loss", (0.5 * r) * r, predictions, reduction, weights, mask)


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
        predictions, targets, where, weights, reduction: as in `squared_error`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.absolute_error(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])).tolist()
        [0.0, 2.0]
    """
    r, mask = residual("absolute_error", predictions, targets, where)
    return reduce("absolute_error", absolute(r), predictions, reduction, weights, mask)


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

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> predictions, targets = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[1.0, 0.0], [3.0, 4.0]])
        >>> fnn.losses.mse(predictions, targets).tolist()
        [2.0, 0.0]
    """
    r, mask = residual("mse", predictions, targets, where)
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

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.half_mse(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 0.0]])).tolist()
        [2.5]
    """
    r, mask = residual("half_mse", predictions, targets, where)
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
        predictions, targets, where, weights, reduction: as in `mse`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.mae(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 0.0]])).tolist()
        [1.5]
    """
    r, mask = residual("mae", predictions, targets, where)
    losses, mask = _per_example(absolute(r), mask, average=True)
    return reduce("mae", losses, predictions, reduction, weights, mask)
