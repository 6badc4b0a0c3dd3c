"""Metrics of values: squared and absolute errors, explained variance."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fnn.losses.reduction import elements, weigh, weighted_mean
from fnn.metrics.protocol import broadcast_weights, metric
from fnn.typing import Array, ArrayLike

__all__ = ["mean_absolute_error", "mean_squared_error", "r2_score", "root_mean_squared_error"]


def _columns(name: str, predictions: ArrayLike, targets: ArrayLike, weights: ArrayLike | None) -> tuple[Array, ...]:
    """Predictions, targets and weights as (examples, outputs)."""
    p, y, _ = elements(name, predictions, targets, None)
    w = broadcast_weights(name, weights, p)
    width = p.shape[-1] if p.ndim > 1 else 1
    return p.reshape(-1, width), y.reshape(-1, width), w.reshape(-1, width)


@metric("min")
def mean_squared_error(predictions: ArrayLike, targets: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    r"""Mean squared error over examples and outputs: $\frac1n \sum_i (ŷ_i - y_i)^2$.

    Args:
        predictions: (n,) or (n, outputs).
        targets: of the same shape.
        weights: per example (n,).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.mean_squared_error(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])))
        2.0
    """
    p, y, w = _columns("mean_squared_error", predictions, targets, weights)
    return weighted_mean((p - y) ** 2, w)


@metric("min")
def root_mean_squared_error(predictions: ArrayLike, targets: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    r"""Root of the mean squared error: $\sqrt{\frac1n \sum_i (ŷ_i - y_i)^2}$, averaged over the outputs.

    Args:
        predictions, targets, weights: as in `mean_squared_error`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.root_mean_squared_error(jnp.array([1.0, 2.0]), jnp.array([4.0, 5.0])))
        3.0
    """
    p, y, w = _columns("root_mean_squared_error", predictions, targets, weights)
    return jnp.sqrt(jax.vmap(weighted_mean, 1)((p - y) ** 2, w)).mean()


@metric("min")
def mean_absolute_error(predictions: ArrayLike, targets: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    r"""Mean absolute error: $\frac1n \sum_i |ŷ_i - y_i|$.

    Args:
        predictions, targets, weights: as in `mean_squared_error`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.mean_absolute_error(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])))
        1.0
    """
    p, y, w = _columns("mean_absolute_error", predictions, targets, weights)
    return weighted_mean(jnp.abs(p - y), w)


@metric("max")
def r2_score(predictions: ArrayLike, targets: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    r"""Share of the variance that is explained: $1 - \sum_i (y_i - ŷ_i)^2 / \sum_i (y_i - \bar y)^2$.

    Averaged over the outputs. Where the targets are constant it is 1 if the predictions are right, else 0. Fewer than
    two examples that count have no variance: there it is not defined, NaN.

    Args:
        predictions, targets, weights: as in `mean_squared_error`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.r2_score(jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 2.0, 3.0])))
        0.5
    """
    p, y, w = _columns("r2_score", predictions, targets, weights)
    # By the smallest of those that count: constant targets become exact zeros.
    centered = y - y.min(axis=0, where=w > 0, initial=jnp.inf)[None]
    centered = centered - jax.vmap(weighted_mean, 1)(centered, w)[None]
    left, whole = weigh((y - p) ** 2, w).sum(0), weigh(centered**2, w).sum(0)
    explained = 1 - left / jnp.where(whole == 0, 1, whole)
    explained = jnp.where(whole == 0, (left == 0).astype(p.dtype), explained)
    return jnp.where((w > 0).sum(0) > 1, explained, jnp.nan).mean()
