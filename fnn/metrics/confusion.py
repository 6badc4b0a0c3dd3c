"""Metrics of which class is taken for which: the confusion matrix, precision, recall, F1."""

from __future__ import annotations

import functools
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.kernels.mesh_axes import auto_axes
from fnn.losses.labels import require_classes
from fnn.losses.reduction import quotient, weighted_mean
from fnn.metrics.protocol import broadcast_weights, class_numbers, metric
from fnn.typing import Array, ArrayLike

__all__ = ["confusion_matrix", "f1", "precision", "recall"]

Average: TypeAlias = Literal["binary", "macro", "micro", "weighted"] | None


def confusion_matrix(
    predictions: ArrayLike, targets: ArrayLike, classes: int, *, weights: ArrayLike | None = None
) -> Array:
    r"""How often class i was predicted as class j: $C_{ij} = \#\{y = i, ŷ = j\}$.

    Args:
        predictions, targets: class numbers (n,).
        classes: number of classes, a Python int.
        weights: per example (n,).

    Returns:
        (classes, classes), true classes in rows, predicted ones in columns; integers, exact up to 2³¹, without weights
        and with whole ones that are not traced, or sums of weights. A traced class number out of range is in no cell.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.metrics.confusion_matrix(jnp.array([0, 1, 1]), jnp.array([0, 0, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    return _confusion("confusion_matrix", predictions, targets, classes, weights)


def _confusion(name: str, predictions: ArrayLike, targets: ArrayLike, classes: int, weights: ArrayLike | None) -> Array:
    classes = checks.integer(name, "classes", classes)
    p, y = class_numbers(name, "predictions", predictions), class_numbers(name, "targets", targets)
    checks.same_shape(name, "predictions", p, "targets", y)
    checks.rank(name, "predictions", p, 1, "(n,)")
    require_classes(name, targets, classes, None, None)
    require_classes(name, predictions, classes, None, None)
    return _matrix(p, y, _counts(name, weights, p.shape), classes)


@functools.partial(jax.jit, static_argnames="classes")
def _matrix(p: Array, y: Array, counted: Array, classes: int) -> Array:
    """As one program: outside of `jit` each line would be one of its own."""
    inside = (p >= 0) & (p < classes) & (y >= 0) & (y < classes)
    cell = jnp.where(inside, y.astype(jnp.int32) * classes + p.astype(jnp.int32), classes**2)
    count = auto_axes(functools.partial(_count_cells, cells=classes**2))
    return count(cell, counted).reshape(classes, classes)


def _counts(name: str, weights: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    """How often each example counts: as integers, whose sums are exact, where they are known to fit."""
    if weights is None:
        return jnp.ones(shape, jnp.int32)
    weights = checks.as_numbers(name, "weights", weights)
    host = checks.to_host(weights)
    whole = isinstance(host, np.ndarray) and host.dtype.kind in "biu"
    fits = whole and np.abs(host.astype(np.float64)).sum() < 2**31
    return broadcast_weights(name, weights, jnp.zeros(shape, jnp.int32 if fits else float))


def _count_cells(cell: Array, counted: Array, *, cells: int) -> Array:
    """The sum of every cell, weights in many small parts first: one float32 would stand still at 2²⁴."""
    whole = jnp.issubdtype(counted.dtype, jnp.integer)
    parts = 1 if whole else max(1, min(len(cell) // 512, 4096, 2**22 // cells))
    part = jnp.arange(len(cell)) % parts
    return jnp.zeros((parts, cells), counted.dtype).at[part, cell].add(counted, mode="drop").sum(0)


def _require_two_classes(name: str, *labels: ArrayLike) -> None:
    """Require classes 0 and 1, where they can be looked at, or the choice of an average over more."""
    known = [np.asarray(checks.to_host(y)) for y in labels if checks.is_concrete(y)]
    seen = [int(y.max()) for y in known if y.size and y.dtype.kind in "biu"]  # others are refused as class numbers
    if seen and max(seen) > 1:
        raise ValueError(
            f"{name}: expected classes 0 and 1 with average='binary', got class {max(seen)}; write average='macro' "
            f"(or 'micro', 'weighted', None) and classes={max(seen) + 1}"
        )


def _average(
    name: str,
    predictions: ArrayLike,
    targets: ArrayLike,
    classes: int | None,
    average: Average,
    weights: ArrayLike | None,
    of: Literal["predicted", "true", "both"],
) -> Array:
    """Right predictions of a class over how often it was predicted, true, or the mean of the two."""
    checks.one_of(name, "average", average, ("binary", "macro", "micro", "weighted", None))
    if average == "binary":
        classes = 2
        _require_two_classes(name, predictions, targets)
    elif classes is None:
        raise ValueError(f"{name}: average={average!r} needs the number of classes; write classes=10")
    matrix = _confusion(name, predictions, targets, classes, weights)
    # Added up as integers where they are, then rounded once.
    right, true, predicted = (part.astype(float) for part in (matrix.diagonal(), matrix.sum(1), matrix.sum(0)))
    whole = {"predicted": predicted, "true": true, "both": (predicted + true) / 2}[of]
    if average == "micro":
        return quotient(right, whole, jnp.nan)
    share = jnp.where(whole == 0, 0, right / jnp.where(whole == 0, 1, whole))
    share = jnp.where(true.sum() == 0, jnp.nan, share)
    if average == "macro":
        present = (predicted + true > 0).astype(float)
        return weighted_mean(share, present)
    if average == "weighted":
        return weighted_mean(share, true)
    return share if average is None else share[1]


@metric("max")
def precision(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    classes: int | None = None,
    average: Average = "binary",
    weights: ArrayLike | None = None,
) -> Array:
    r"""Share of the predictions of a class that are right: $TP / (TP + FP)$; 0 for a class never predicted.

    Args:
        predictions, targets: class numbers (n,).
        classes: number of classes, a Python int; not needed for "binary".
        average: "binary" is of class 1; "macro" the mean over the classes that occur, "weighted" by how often they are
            true, "micro" over all predictions together; None is one value per class, (classes,).
        weights: per example (n,).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.precision(jnp.array([1, 1, 0]), jnp.array([1, 0, 1])))
        0.5
    """
    return _average("precision", predictions, targets, classes, average, weights, "predicted")


@metric("max")
def recall(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    classes: int | None = None,
    average: Average = "binary",
    weights: ArrayLike | None = None,
) -> Array:
    r"""Share of a class that is found: $TP / (TP + FN)$; 0 for a class that never occurs.

    Args:
        predictions, targets, classes, average, weights: as in `precision`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.recall(jnp.array([0, 1, 2, 0]), jnp.array([0, 1, 2, 2]), classes=3, average="micro"))
        0.75
    """
    return _average("recall", predictions, targets, classes, average, weights, "true")


@metric("max")
def f1(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    classes: int | None = None,
    average: Average = "binary",
    weights: ArrayLike | None = None,
) -> Array:
    r"""Harmonic mean of precision and recall: $2TP / (2TP + FP + FN)$; 0 where that is 0/0.

    Args:
        predictions, targets, classes, average, weights: as in `precision`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.metrics.f1(jnp.array([1, 1, 0]), jnp.array([1, 0, 1])))
        0.5
    """
    return _average("f1", predictions, targets, classes, average, weights, "both")
