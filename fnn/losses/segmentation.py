"""Losses of regions: Dice, and Tversky by its weights."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.kernels.broadcasting import of_rank
from fnn.losses.labels import per_class, probabilities
from fnn.losses.reduction import Reduction, dtype_of, elements, floats, full_mask, readable, reduce
from fnn.typing import Array, ArrayLike

__all__ = ["binary_dice_loss", "dice_loss"]


def dice_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    class_weights: ArrayLike | None = None,
    smooth: ArrayLike = 1.0,
    alpha: ArrayLike = 0.5,
    beta: ArrayLike = 0.5,
    apply_softmax: bool = True,
    reduction: Reduction = "mean",
    ignore_background: bool = False,
    axis: int | tuple[int, ...] | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Array:
    r"""One minus the overlap of two regions, a mean over the classes: $1 - \frac{I + s}{I + α(P - I) + β(T - I) + s}$.

    $I = \sum p\,t$, $P = \sum p$, $T = \sum t$ over the pixels of one example and class. α = β = ½ is the Dice
    coefficient; others weigh false positives and false negatives (Tversky).

    Args:
        predictions: logits (batch, …, classes); one class is a sigmoid, several are a softmax.
        targets: one-hot, of the same shape (or, for one class, without that axis).
        class_weights: (classes,), factors of the losses of the classes.
        smooth: s; with 0, two empty regions lose 0.
        alpha, beta: weights of false positives and of false negatives.
        apply_softmax: False if the predictions are probabilities already, which sum to 1 over several classes.
        reduction: over the **classes**, as in optax: "mean", "sum" or "none", which keeps one loss per class. The
            examples stay apart.
        ignore_background: leave class 0 out of the average.
        axis: of the pixels; None is every axis but the first and the last.
        where: pixels or examples to include: the leading axes of `predictions`.
        weights: (batch,), factors of the losses of the examples.

    Returns:
        One loss per example (batch,), with `reduction="none"` one per example and class.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> masks = jnp.array([[[1.0], [0.0], [1.0]]])  # (batch, pixels, classes)
        >>> fnn.losses.dice_loss(1e4 * (2 * masks - 1), masks).tolist()
        [0.0]

    References:
        Milletari et al., V-Net, 2016. Salehi et al., Tversky Loss Function, 2017.
    """
    name = "dice_loss"
    predictions, targets = _with_classes(predictions, targets)
    if not apply_softmax:
        probabilities(name, "probabilities", predictions, where, "for logits leave apply_softmax=True")
        _require_distributions(name, predictions, where)
    probabilities(name, "targets", targets, where, "for masks of 0 and 255 write targets / 255")
    p, t, mask = elements(name, predictions, targets, where)
    checks.rank(name, "predictions", p, range(2, 8), "(batch, ..., classes)")
    if apply_softmax:
        p = jax.nn.sigmoid(p) if p.shape[-1] == 1 else jax.nn.softmax(p)
    if mask is not None:
        p, t = jnp.where(mask, p, 0), jnp.where(mask, t, 0)
    axis = tuple(range(1, p.ndim - 1)) if axis is None else checks.axes(name, "axis", axis, p.ndim, 0)
    losses = _overlap_loss(p, t, axis, smooth, alpha, beta)
    if class_weights is not None:
        losses = losses * of_rank(per_class(name, class_weights, p), losses.ndim)
    if ignore_background and p.shape[-1] > 1:
        losses = losses[..., 1:]
    checks.one_of(name, "reduction", reduction, ("none", "mean", "sum"))
    if reduction != "none":
        losses = losses.sum(-1) if reduction == "sum" else losses.mean(-1)
    keep = None
    if mask is not None:
        keep = jnp.broadcast_to(mask.any(axis).any(-1, keepdims=reduction == "none"), losses.shape)
    return reduce(name, losses, predictions, "none", weights, keep)


def _with_classes(predictions: ArrayLike, targets: ArrayLike) -> tuple[ArrayLike, ArrayLike]:
    """Both with an axis of classes, where one of them came without it."""
    if np.ndim(predictions) == np.ndim(targets) - 1:
        return _append_axis(predictions), targets
    if np.ndim(targets) == np.ndim(predictions) - 1 and np.shape(predictions)[-1] == 1:
        return predictions, _append_axis(targets)
    return predictions, targets


def _append_axis(x: ArrayLike) -> ArrayLike:
    """With a last axis of 1, not yet cast: the loss looks at numbers of the host as they came."""
    return x[..., None] if isinstance(x, jax.Array) else np.asarray(x)[..., None]


def _require_distributions(name: str, p: ArrayLike, where: ArrayLike | None) -> None:
    """Require probabilities of several classes to sum to 1, where they can be looked at."""
    if not (readable(p) and readable(where)) or jnp.shape(p)[-1] == 1:
        return
    sums: Any = np.asarray(p).astype(np.float64).sum(-1)
    if where is not None:
        mask: Any = np.asarray(where)
        mask = mask.any(-1) if mask.ndim > sums.ndim else mask.reshape(mask.shape + (1,) * (sums.ndim - mask.ndim))
        sums = np.where(mask, sums, 1)
    off = np.abs(sums - 1) > (1e-5 if jnp.finfo(dtype_of(p)).bits >= 32 else 1e-2)
    if off.any():
        place = tuple(int(i) for i in np.argwhere(off)[0])
        raise ValueError(
            f"{name}: expected probabilities of the classes that sum to 1, got {sums[place]:g} at {place}; for logits "
            "leave apply_softmax=True, for independent classes take the mean of binary_dice_loss"
        )


def _overlap_loss(
    p: Array, t: Array, axis: int | tuple[int, ...], smooth: ArrayLike, alpha: ArrayLike, beta: ArrayLike
) -> Array:
    smooth, alpha, beta = (jnp.asarray(x, p.dtype) for x in (smooth, alpha, beta))
    both = (p * t).sum(axis)
    missed = alpha * (p.sum(axis) - both) + beta * (t.sum(axis) - both)
    whole = both + missed + smooth
    return jnp.where(whole == 0, 0, missed / jnp.where(whole == 0, 1, whole))


def binary_dice_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    smooth: ArrayLike = 1.0,
    apply_sigmoid: bool = True,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""`dice_loss` of one region: $1 - \frac{2I + 2s}{P + T + 2s}$.

    Args:
        predictions: logits (batch, …) or (batch, …, 1).
        targets: 0 or 1, of the same shape.
        smooth: s; with 0, two empty regions lose 0.
        apply_sigmoid: False if the predictions are probabilities already.
        where: pixels or examples to include.
        weights, reduction: as in every loss, see `fnn.losses`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.binary_dice_loss(jnp.array([[0.0, 0.0]]), jnp.array([[1.0, 0.0]])).tolist()
        [0.25]
    """
    checks.same_shape("binary_dice_loss", "predictions", predictions, "targets", targets)
    p = floats("binary_dice_loss", "predictions", predictions)
    mask = full_mask("binary_dice_loss", where, p.shape)
    if p.ndim < 2 or p.shape[-1] != 1:
        predictions, targets = _append_axis(predictions), _append_axis(targets)
    losses = dice_loss(predictions, targets, smooth=smooth, apply_softmax=apply_sigmoid, where=mask)
    keep = None if mask is None else mask.any(tuple(range(1, mask.ndim)))
    return reduce("binary_dice_loss", losses, predictions, reduction, weights, keep)
