"""Class labels and class axes: what the losses over classes share."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.kernels.broadcasting import of_rank
from fnn.losses.reduction import Axis, along, follow, negligible, readable, visible
from fnn.typing import Array, ArrayLike

PIECE = 256
"""At most so many classes of a large vocabulary are summed together."""


def last(name: str, x: Array, axis: Axis) -> Array:
    """`x` with the axis (or axes, flattened into one) along which the loss is computed moved to the end."""
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    if not x.ndim or any(not -x.ndim <= a < x.ndim for a in axes):
        raise ValueError(f"{name}: expected an array with axis {axis}, got {checks.describe(x)}")
    axes = tuple(a % x.ndim for a in axes)
    rest = tuple(a for a in range(x.ndim) if a not in axes)
    return x.transpose(rest + axes).reshape((*(x.shape[a] for a in rest), math.prod(x.shape[a] for a in axes)))


def class_mask(name: str, where: ArrayLike | None, x: Array, axis: Axis) -> Array | None:
    """`where`, given per class (the shape of `x`) or per example (without `axis`), with the classes last."""
    if where is None:
        return None
    where = jnp.asarray(where)
    if where.dtype != bool:
        raise TypeError(f"{name}: expected a boolean where, got {checks.describe(where)}; write where != 0")
    shape = jax.eval_shape(lambda x: last(name, x, axis), x).shape
    if where.ndim == x.ndim:
        checks.same_shape(name, "predictions", x, "where", where)
        return last(name, where, axis)
    return jnp.broadcast_to(along(name, "where", where, shape[:-1])[..., None], shape)


def log_softmax(x: Array, where: Array | None) -> Array:
    """`x_i - log Σ_j exp(x_j)` over the last axis; -inf where masked, uniform where everything is.

    One infinite logit has the limit: probability 1.
    """
    if not x.shape[-1]:
        return x
    if where is not None:
        x = jnp.where(where, x, jnp.where(where.any(-1, keepdims=True), -jnp.inf, 0))
    shifted = jnp.where(x == jnp.inf, 0, x - _peak(x)[..., None])
    return shifted - _log_normalizer(shifted)


@jax.custom_jvp
def _log_normalizer(shifted: Array) -> Array:
    """`log Σ_j exp(x_j)` where the largest x is 0: its 1 stays out of the sum, which would round the others away."""
    largest = shifted == 0
    others = jnp.where(largest, 0, jnp.exp(shifted)).sum(-1, keepdims=True)
    ties = jnp.maximum(largest.sum(-1, keepdims=True) - 1, 0)
    return jnp.log1p(others + ties.astype(shifted.dtype))


@_log_normalizer.defjvp
def _log_normalizer_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (shifted,), (t,) = primals, tangents
    total = _log_normalizer(shifted)
    return total, jnp.sum(jnp.exp(shifted - total) * t, -1, keepdims=True)


def log_of_probability(p: Array, predictions: ArrayLike) -> Array:
    """`log p`, with 0 raised to the smallest normal number of the predictions' dtype; NaN if `p < 0`."""
    tiny = jnp.finfo(jnp.result_type(predictions)).tiny.astype(p.dtype)
    return jnp.log(jnp.where(jnp.abs(p) < tiny, tiny, p))


def times_log(y: Array, log_p: Array) -> Array:
    """`y · log p` with `0 · log 0 = 0`; the derivative by `y` is `log p` wherever that is finite."""
    return y * jnp.where(negligible(y) & (log_p == -jnp.inf), 0, log_p)


def entropy_term(y: Array) -> Array:
    """`y · log y` with `0 · log 0 = 0` and a finite derivative there."""
    return y * jnp.log(jnp.where(negligible(y), 1, y))


def probabilities(name: str, argument: str, x: ArrayLike, where: ArrayLike | None, hint: str) -> None:
    """Require numbers in [0, 1], up to rounding, where they can be looked at."""
    host = visible(x, where)
    if (outside := (host < 0) | (host > 1.01)).any():
        raise ValueError(f"{name}: expected {argument} in [0, 1], got {host[outside][0]:g}; {hint}")


def require_classes(name: str, labels: ArrayLike, classes: int, ignore_index: int | None, keep: Array | None) -> None:
    """Require class numbers in range, except those that do not count, where they can be looked at."""
    if not readable(labels):
        return
    host = np.asarray(labels)
    wrong = ((host < 0) | (host >= classes)) & (host != ignore_index)
    if keep is not None and wrong.any():
        if not readable(keep):
            return
        wrong &= np.asarray(keep)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"{name}: expected class numbers 0 … {classes - 1}, got {host[place]} at index {place}")


def distribution(
    name: str,
    labels: ArrayLike,
    shape: tuple[int, ...],
    scores: Array,
    axis: Axis = -1,
    *,
    keep: Array | None = None,
    ignore_index: int | None = None,
) -> tuple[Array, Array | None]:
    """Labels as one distribution over the classes per example, and which examples count.

    Args:
        name: of the loss, for messages.
        labels: distributions of shape `shape`, or class numbers of that shape without `axis`.
        shape: of the predictions as they were given.
        scores: the predictions with the classes last.
        axis: where the classes were.
        keep: examples that count.
        ignore_index: class number of examples that do not count.

    Returns:
        `(y, keep)`. A class number out of range that cannot be seen now (it is traced) gives a row of NaN.
    """
    if np.shape(labels) != shape:
        labels, keep = class_numbers(name, labels, shape, scores, keep=keep, ignore_index=ignore_index)
        return one_hot(labels, scores.shape[-1], scores.dtype), keep
    labels = checks.cast(name, "labels", labels)
    if ignore_index is not None:
        raise ValueError(f"{name}: expected class numbers with ignore_index, got distributions; use where")
    y = last(name, follow(name, "labels", labels, scores), axis)
    return (y if keep is None else jnp.where(keep[..., None], y, 0)), keep


def class_numbers(
    name: str,
    labels: ArrayLike,
    shape: tuple[int, ...],
    scores: Array,
    *,
    keep: Array | None = None,
    ignore_index: int | None = None,
) -> tuple[Array, Array | None]:
    """Labels as one class number per example, 0 where it does not count, and which count; arguments as above."""
    raw, labels = labels, checks.cast(name, "labels", labels)
    batch = scores.shape[:-1]
    if labels.shape != batch:
        hint = "; write labels[..., 0]" if labels.shape == (*batch, 1) else ""
        raise ValueError(
            f"{name}: expected class numbers of shape {batch} or distributions of shape {shape}, "
            f"got labels of shape {labels.shape}{hint}"
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"{name}: expected integer class numbers, got {checks.describe(labels)}; write labels.astype(jnp.int32)"
        )
    labels = full_width(labels)
    if ignore_index is not None:
        known = labels != ignore_index
        keep = known if keep is None else keep & known
    require_classes(name, raw, scores.shape[-1], ignore_index, keep)
    return (labels if keep is None else jnp.where(keep, labels, 0)), keep


def full_width(numbers: Array) -> Array:
    """Class numbers in at least int32: uint8 holds neither -1 nor 300."""
    narrow = numbers.dtype == bool or jnp.iinfo(numbers.dtype).bits < 32
    return numbers.astype(jnp.int32) if narrow else numbers


def of_label(x: Array, labels: Array) -> Array:
    """`x` at the label, read without a product over all classes; NaN out of range."""
    inside = (labels >= 0) & (labels < x.shape[-1])
    found = jnp.take_along_axis(x, jnp.where(inside, labels, 0)[..., None], -1)[..., 0]
    return jnp.where(inside, 1, jnp.nan) * found


def negative_log_softmax(x: Array, labels: Array) -> Array:
    """`-log softmax(x)` at the label, without an array of log-probabilities: of a large vocabulary that is the memory.

    Its gradient `softmax(x) - y` is one pass over `x`, and exact at the label too, where the difference would round.
    """
    return _normalized(x, labels)[0] if x.shape[-1] else of_label(x, labels)


@jax.custom_jvp
def _normalized(x: Array, labels: Array) -> tuple[Array, Array]:
    """The loss, and `Σ exp(x - max x)`.

    The label's term stays out of the sum of the others: they would be rounded away beside it, and they are the loss.
    """
    others, peak = _sum_of_others(x, labels), _peak(x)
    own = _below_peak(of_label(x, labels), peak)
    own = jnp.where((peak == jnp.inf) & (own < 0), -jnp.inf, own)  # beside an infinite logit the loss is infinite
    total = others + jnp.exp(own)
    return jnp.where(own == 0, jnp.log1p(others), jnp.log(total)) - own, total


@_normalized.defjvp
def _normalized_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> Any:
    (x, labels), t = primals, tangents[0]
    loss, total = _normalized(x, labels)
    # Numbers of a row are computed once a row: fused into the pass over `x` they would be again for every class.
    slope, share = jax.lax.optimization_barrier((jnp.expm1(-loss), 1 / total))
    p = jnp.exp(_below_peak(x, _peak(x)[..., None])) * share[..., None]
    slopes = jnp.where(at_label(labels, x.shape[-1]), slope[..., None], p)
    return (loss, total), (jnp.sum(slopes * t, -1), jnp.sum(total[..., None] * p * t, -1))


def _sum_of_others(x: Array, labels: Array) -> Array:
    """`Σ exp(x - max x)` over the classes that are not the label.

    Sums over pieces of the classes, which are computed as they are read; of the label's piece the terms themselves.
    """
    classes, peak = x.shape[-1], _peak(x)[..., None]
    size = _piece(classes)
    pieces = -(-classes // size)
    inside = jnp.clip(labels, 0, classes - 1)[..., None]
    numbers = inside // size * size + of_rank(jnp.arange(size, dtype=labels.dtype), x.ndim)
    terms = jnp.exp(_below_peak(jnp.take_along_axis(x, jnp.minimum(numbers, classes - 1), -1), peak))
    others = jnp.where((numbers == inside) | (numbers >= classes), 0, terms).sum(-1)
    if pieces == 1:
        return others
    padding = [(0, 0)] * (x.ndim - 1) + [(0, pieces * size - classes)]
    sums = jnp.pad(jnp.exp(_below_peak(x, peak)), padding).reshape(*x.shape[:-1], pieces, size).sum(-1)
    return others + jnp.where(at_label(inside[..., 0] // size, pieces), 0, sums).sum(-1)


def _peak(x: Array) -> Array:
    return jax.lax.stop_gradient(x.max(-1))


def _below_peak(x: Array, peak: Array) -> Array:
    """`x - peak`, 0 where both are infinite: one infinite logit has the limit, probability 1."""
    largest = jnp.finfo(x.dtype).max
    return jnp.minimum(x, largest) - jnp.minimum(peak, largest)


def _piece(classes: int) -> int:
    """A size of which there is a whole number, if there is one that is neither large nor small."""
    if classes <= PIECE:
        return classes
    return next((size for size in range(PIECE, PIECE // 8, -1) if classes % size == 0), PIECE)


def at_label(labels: Array, classes: int) -> Array:
    """Where the class is the label, by comparison: it fuses."""
    return labels[..., None] == of_rank(jnp.arange(classes, dtype=labels.dtype), labels.ndim + 1)


def one_hot(labels: Array, classes: int, dtype: jnp.dtype) -> Array:
    """One-hot rows by comparison, which fuses and needs no scatter in the gradient; NaN rows out of range."""
    inside = (labels >= 0) & (labels < classes)
    return jnp.where(inside[..., None], at_label(labels, classes).astype(dtype), jnp.nan)
