"""Class labels and class axes: what the losses over classes share."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.kernels.broadcasting import of_rank
from fnn.kernels.mesh_axes import features_are_split
from fnn.losses.reduction import Axis, along, dtype_of, elements, follow, negligible, readable, visible
from fnn.typing import Array, ArrayLike

__all__ = ["smooth_labels"]


def last(name: str, x: Array, axis: Axis) -> Array:
    """`x` with the axis (or axes, flattened into one) along which the loss is computed moved to the end."""
    axes = checks.axes(name, "axis", tuple(range(x.ndim)) if axis is None else axis, x.ndim)
    rest = tuple(a for a in range(x.ndim) if a not in axes)
    return x.transpose(rest + axes).reshape((*(x.shape[a] for a in rest), math.prod(x.shape[a] for a in axes)))


def classes_last(name: str, x: Array, axis: Axis, where: ArrayLike | None) -> tuple[Array, Array | None]:
    """`x` with the classes last, and so `where`, given per class (the shape of `x`) or per example (without `axis`)."""
    rows = last(name, x, axis)
    if where is None:
        return rows, None
    where = checks.mask(name, where)
    if where.ndim == x.ndim:
        checks.same_shape(name, "predictions", x, "where", where)
        return rows, last(name, where, axis)
    return rows, jnp.broadcast_to(along(name, "where", where, rows.shape[:-1])[..., None], rows.shape)


def pair_of_classes(
    name: str, first: str, predictions: ArrayLike, second: str, targets: ArrayLike, axis: Axis, where: ArrayLike | None
) -> tuple[Array, Array, Array, Array | None]:
    """Both with the classes last, the classes to include, and which examples count; the rest is 0."""
    p, t, _ = elements(name, predictions, targets, None, first=first, second=second)
    p, mask = classes_last(name, p, axis, where)
    t = last(name, t, axis)
    if mask is None:
        return p, t, jnp.ones((), bool), None
    return jnp.where(mask, p, 0), jnp.where(mask, t, 0), mask, mask.any(-1)


MOST = 1.01
"""What rounding makes of a probability of 1, in half precision too."""
SIGNED = "for labels -1 and 1 write (labels + 1) / 2"


def log_of_probability(p: Array, predictions: ArrayLike) -> Array:
    """`log p`, with 0 raised to the smallest normal number of the predictions' dtype; NaN if `p < 0`."""
    tiny = jnp.finfo(dtype_of(predictions)).tiny.astype(p.dtype)
    return jnp.log(jnp.where(jnp.abs(p) < tiny, tiny, p))


def log_of_complement(p: Array, predictions: ArrayLike) -> Array:
    """`log(1 − p)` to the last digit of a small p; 1, and what rounding made of it, as `log_of_probability` has 0."""
    tiny = jnp.finfo(dtype_of(predictions)).tiny.astype(p.dtype)
    none = (1 - p < tiny) & (p <= MOST)
    return jnp.where(none, jnp.log(tiny), jnp.log1p(-jnp.where(none, 0, p)))


def times_log(y: Array, log_p: Array) -> Array:
    """`y · log p` with `0 · log 0 = 0`; the derivative by `y` is `log p` wherever that is finite."""
    return y * jnp.where(negligible(y) & (log_p == -jnp.inf), 0, log_p)


def entropy_term(y: Array) -> Array:
    """`y · log y` with `0 · log 0 = 0` and a finite derivative there."""
    return y * jnp.log(jnp.where(negligible(y), 1, y))


def probabilities(name: str, argument: str, x: ArrayLike, where: ArrayLike | None, hint: str) -> None:
    """Require numbers in [0, 1], up to rounding, where they can be looked at."""
    host = visible(x, where)
    if (outside := (host < 0) | (host > MOST)).any():
        raise ValueError(f"{name}: expected {argument} in [0, 1], got {host[outside][0]:g}; {hint}")


def require_classes(name: str, labels: ArrayLike, classes: int, ignore_index: int | None, keep: Array | None) -> None:
    """Require class numbers in range, except those that do not count, where they can be looked at."""
    if not (readable(labels) and readable(keep)):
        return
    host = np.asarray(labels)
    wrong = ((host < 0) | (host >= classes)) & (host != ignore_index)
    if keep is not None and wrong.any():
        wrong &= np.asarray(keep)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise checks.no_class(name, "class numbers", classes, host[place], f"index {place}")


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

    They are distributions of shape `shape`, that of the predictions as they were given, or class numbers of that shape
    without `axis`; `scores` are the predictions with the classes last. A class number out of range that cannot be seen
    now (it is traced) gives a row of NaN.
    """
    if np.shape(labels) != shape:
        labels, keep = labels_and_mask(name, labels, shape, scores, keep=keep, ignore_index=ignore_index)
        return one_hot(labels, scores.shape[-1], scores.dtype), keep
    labels = checks.cast(name, "labels", labels)
    if ignore_index is not None:
        raise ValueError(f"{name}: expected class numbers with ignore_index, got distributions; use where")
    y = last(name, follow(name, "labels", labels, scores), axis)
    return (y if keep is None else jnp.where(keep[..., None], y, 0)), keep


def labels_and_mask(
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
    checks.integers(name, "class numbers", labels, "write labels.astype(jnp.int32)")
    labels = full_width(labels)
    if ignore_index is not None:
        known = labels != ignore_index
        keep = known if keep is None else keep & known
    require_classes(name, raw, scores.shape[-1], ignore_index, keep)
    return (labels if keep is None else jnp.where(keep, labels, 0)), keep


def without_ignored(x: Array, labels: ArrayLike, ignore_index: int | None) -> Array:
    """The scores with 0 in rows that do not count: NaN there would reach the gradient."""
    if ignore_index is None or np.shape(labels) != x.shape[:-1]:
        return x
    labels = jnp.asarray(labels)
    labels = full_width(labels) if jnp.issubdtype(labels.dtype, jnp.integer) else labels  # others are refused later
    return jnp.where((labels == ignore_index)[..., None], 0, x)


def full_width(numbers: Array) -> Array:
    """Class numbers in at least int32: uint8 holds neither -1 nor 300."""
    narrow = numbers.dtype == bool or jnp.iinfo(numbers.dtype).bits < 32
    return numbers.astype(jnp.int32) if narrow else numbers


def of_label(x: Array, labels: Array) -> Array:
    """`x` at the label, read without a product over all classes where one device has them all; NaN out of range."""
    inside = (labels >= 0) & (labels < x.shape[-1])
    if features_are_split(x):
        found = jnp.where(at_label(labels, x.shape[-1]), x, 0).sum(-1)
    else:
        found = jnp.take_along_axis(x, jnp.where(inside, labels, 0)[..., None], -1)[..., 0]
    return jnp.where(inside, 1, jnp.nan) * found


def at_label(labels: Array, classes: int) -> Array:
    """Where the class is the label, by comparison: it fuses."""
    return labels[..., None] == of_rank(jnp.arange(classes, dtype=labels.dtype), labels.ndim + 1)


def one_hot(labels: Array, classes: int, dtype: jnp.dtype) -> Array:
    """One-hot rows by comparison, which fuses and needs no scatter in the gradient; NaN rows out of range."""
    inside = (labels >= 0) & (labels < classes)
    return jnp.where(inside[..., None], at_label(labels, classes).astype(dtype), jnp.nan)


def smooth_labels(labels: ArrayLike, alpha: ArrayLike, *, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    r"""Labels with the share α spread evenly over the K classes: $(1-α)\,y + α/K$.

    Args:
        labels: one-hot or soft labels, floating-point.
        alpha: α in [0, 1].
        axis: the axis (or axes) of the classes.
        where: booleans in the shape of `labels`, the classes to spread over; the others get $(1-α)\,y$.

    Returns:
        Labels of the same shape and dtype.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.smooth_labels(jnp.array([0.0, 1.0]), 0.5).tolist()
        [0.25, 0.75]

    References:
        Szegedy et al., Rethinking the Inception Architecture, 2016.
    """
    checks.floating("smooth_labels", "labels", labels)
    checks.in_range("smooth_labels", "alpha", alpha, 0, 1)
    labels = checks.cast("smooth_labels", "labels", labels)
    axis = None if axis is None else checks.axes("smooth_labels", "axis", axis, labels.ndim)
    alpha = jnp.asarray(alpha, labels.dtype)
    if where is None:
        return (1 - alpha) * labels + alpha / jnp.size(labels, axis)
    where = jnp.asarray(where)
    checks.same_shape("smooth_labels", "labels", labels, "where", where)
    classes = jnp.maximum(where.sum(axis, keepdims=True), 1).astype(labels.dtype)
    return (1 - alpha) * labels + jnp.where(where, alpha / classes, 0)


def per_class(name: str, class_weights: ArrayLike | None, x: Array) -> Array:
    """One weight for every class, the last axis of `x`; 1 where none are given."""
    if class_weights is None:
        return jnp.ones(x.shape[-1], x.dtype)
    w = follow(name, "class_weights", class_weights, x)
    if w.shape != x.shape[-1:]:
        raise checks.wrong_shape(name, "class_weights", x.shape[-1:], w.shape)
    return w


def negative_log_likelihood(
    name: str,
    predictions: ArrayLike,
    log_p: Array,
    labels: ArrayLike,
    axis: Axis,
    classes_in: Array | None,
    label_smoothing: ArrayLike,
    class_weights: ArrayLike | None,
    ignore_index: int | None,
) -> tuple[Array, Array | None, Array | None]:
    """`-Σ_i w_i y_i log p_i` with the classes of `log_p` last, which examples count, and the class weights in each."""
    keep = None if classes_in is None else classes_in.any(-1)
    if classes_in is not None:  # A target in a class left out asks for nothing: -inf there would cost infinity.
        log_p = jnp.where(classes_in, log_p, 0)
    if one_term(labels, log_p, label_smoothing, class_weights):
        numbers, keep = labels_and_mask(
            name, labels, np.shape(predictions), log_p, keep=keep, ignore_index=ignore_index
        )
        return 0 - of_label(log_p, numbers), keep, None
    y, keep = distribution(name, labels, np.shape(predictions), log_p, axis, keep=keep, ignore_index=ignore_index)
    w = of_rank(per_class(name, class_weights, log_p), y.ndim)
    checks.in_range(name, "label_smoothing", label_smoothing, 0, 1)
    share = (w * y).sum(-1) if class_weights is not None else None
    y = smooth_labels(y, label_smoothing, where=classes_in)
    return (-times_log(w * y, log_p)).sum(-1), keep, share


def one_term(labels: ArrayLike, scores: Array, label_smoothing: ArrayLike, class_weights: ArrayLike | None) -> bool:
    """Whether of the sum over the classes only the label's term is there."""
    smooth = not isinstance(label_smoothing, float) or label_smoothing != 0
    return class_weights is None and not smooth and np.shape(labels) == scores.shape[:-1]
