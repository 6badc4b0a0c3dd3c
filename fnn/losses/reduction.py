"""What every loss shares: its arrays, its mask, its weights and the reduction over examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, TypeAlias, TypeVar

import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.precision import widen
from fnn.typing import Array, ArrayLike, DType

Reduction: TypeAlias = Literal["none", "mean", "sum", "pair"]
Axis: TypeAlias = int | tuple[int, ...] | None
Loss = TypeVar("Loss", bound=Callable[..., Any])


def takes(kind: str) -> Callable[[Loss], Loss]:
    """State on a loss what it takes, "logits", "probabilities" or "log_probabilities", for its pairing with a model."""

    def state(loss: Loss) -> Loss:
        loss.takes = kind  # type: ignore[attr-defined]
        return loss

    return state


def dtype_of(x: ArrayLike) -> DType:
    """The dtype in which JAX computes with `x`, nested lists of numbers among them."""
    return jnp.result_type(x) if hasattr(x, "dtype") else jnp.asarray(x).dtype


def floats(name: str, argument: str, x: ArrayLike) -> Array:
    """Floating-point predictions, in at least float32: half-precision losses are rounded once, at the end."""
    values = checks.cast(name, argument, x)
    checks.floating(name, argument, values)
    return widen(values)


def follow(name: str, argument: str, x: ArrayLike, predictions: Array) -> Array:
    """Targets (real numbers or booleans) in the dtype of the predictions."""
    return checks.cast(name, argument, x, predictions.dtype)


def number_or_alike(name: str, argument: str, x: ArrayLike, first: str, predictions: Array) -> Array:
    """`x` as `follow` gives it: one number, or an array of the shape of the predictions, which are called `first`."""
    value = follow(name, argument, x, predictions)
    if value.ndim:
        checks.same_shape(name, first, predictions, argument, value)
    return value


def full_mask(name: str, where: ArrayLike | None, shape: tuple[int, ...]) -> Array | None:
    """`where` with one entry per element of `shape`; it may have the leading axes only."""
    if where is None:
        return None
    return jnp.broadcast_to(along(name, "where", checks.mask(name, where), shape), shape)


def along(name: str, argument: str, x: Array, shape: tuple[int, ...]) -> Array:
    """`x`, which has the leading axes of `shape`, with axes of length 1 appended for the others."""
    if x.shape != shape[: x.ndim]:
        repair = checks.reshape(argument, shape) if math.prod(x.shape) == math.prod(shape) else ""
        raise checks.wrong_shape(name, argument, f"{shape} or of its leading axes", x.shape, repair)
    return x.reshape(x.shape + (1,) * (len(shape) - x.ndim))


def readable(x: ArrayLike | None) -> bool:
    """Whether the values of `x` are here: neither traced nor on another host."""
    return checks.is_concrete(x) and getattr(x, "is_fully_addressable", True)


def visible(x: ArrayLike, where: ArrayLike | None = None) -> np.ndarray:
    """The numbers that can be looked at now: not traced, not masked."""
    if not (readable(x) and readable(where)):
        return np.zeros(0)
    host = np.asarray(x)
    if np.iscomplexobj(host):  # they are refused when they are cast
        return np.zeros(0)
    host = host.astype(np.float64)
    if where is None:
        return host.ravel()
    mask = np.asarray(where)
    return host[mask].ravel() if mask.shape == host.shape[: mask.ndim] else np.zeros(0)


def elements(
    name: str,
    predictions: ArrayLike,
    targets: ArrayLike | None,
    where: ArrayLike | None,
    *,
    first: str = "predictions",
    second: str = "targets",
) -> tuple[Array, Array, Array | None]:
    """Predictions and targets of one shape, and the mask of that shape; masked entries are 0 in both.

    Replacing them before anything is computed keeps infinities and NaN there out of the gradient as well.
    """
    p = floats(name, first, predictions)
    t = jnp.zeros_like(p) if targets is None else follow(name, second, targets, p)
    checks.same_shape(name, first, p, second, t)
    mask = full_mask(name, where, p.shape)
    if mask is not None:
        p, t = jnp.where(mask, p, 0), jnp.where(mask, t, 0)
    return p, t, mask


def negligible(x: Array) -> Array:
    """Whether `x` is 0 or so small that the processor may take it for 0."""
    return jnp.abs(x) < jnp.finfo(x.dtype).tiny


def absolute(x: Array) -> Array:
    """`|x|` with derivative 0 at 0, where that of `jnp.abs` is 1."""
    return jnp.sign(x) * x


def weigh(values: Array, weights: Array) -> Array:
    """`w v`; what weighs 0 may be anything, NaN included, and is 0. The derivative by a weight of 0 is the value."""
    return weights * jnp.where((weights == 0) & ~jnp.isfinite(values), 0, values)


def quotient(total: Array, count: Array, empty: float = 0) -> Array:
    """`Σ total / Σ count`, and `empty` where nothing counts."""
    count = count.sum()
    return jnp.where(count == 0, empty, total.sum() / jnp.where(count == 0, 1, count))


def weighted_mean(values: Array, weights: Array | None = None) -> Array:
    """`Σ w v / Σ w` in at least float32; NaN where nothing has weight, as it is of metrics."""
    values = widen(values)
    weights = jnp.ones_like(values) if weights is None else weights.astype(values.dtype)
    return quotient(weigh(values, weights), jnp.broadcast_to(weights, values.shape), jnp.nan)


_NOTED: ContextVar[list[tuple[int, ...]] | None] = ContextVar("noted", default=None)


@contextmanager
def note_uncounted() -> Iterator[list[tuple[int, ...]]]:
    """The shapes of losses computed inside that came without their counts though not all entries count alike.

    For a warning only: nothing is computed from it.
    """
    noted: list[tuple[int, ...]] = []
    before = _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.reset(before)


def reduce(
    name: str,
    losses: Array,
    predictions: ArrayLike,
    reduction: Reduction,
    weights: ArrayLike | None,
    mask: Array | None = None,
    share: Array | None = None,
) -> Any:
    """The losses, one per example or element, in the dtype of the predictions: "none" `w·l`, "sum" `Σ w·l`, "mean"
    `Σ w·l / Σ w` (0 if `Σ w = 0`), "pair" `(w·l, w)`.

    Where `mask` is False the loss is 0 and does not count. `share` are weights that `losses` contain already (class
    weights), counted in the mean.
    """
    checks.one_of(name, "reduction", reduction, ("none", "mean", "sum", "pair"))
    if mask is not None:
        losses = jnp.where(mask, losses, 0)
    w = jnp.ones((), losses.dtype)
    if weights is not None:
        w = along(name, "weights", follow(name, "weights", weights, losses), losses.shape)
        losses = weigh(losses, w)
    dtype = dtype_of(predictions)
    noted = _NOTED.get()
    if noted is not None and reduction == "none" and not (mask is None and share is None and weights is None):
        noted.append(losses.shape)
    if reduction in ("none", "sum"):
        return (losses if reduction == "none" else losses.sum()).astype(dtype)
    counts = jnp.broadcast_to(w, losses.shape)
    counts = counts if share is None else counts * share
    counts = counts if mask is None else jnp.where(mask, counts, 0)
    return (losses.astype(dtype), counts) if reduction == "pair" else quotient(losses, counts).astype(dtype)
