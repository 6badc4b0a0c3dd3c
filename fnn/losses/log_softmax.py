"""The logarithm of a softmax, exact where it is near 0 or 1, and of large vocabularies without an array of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fnn.kernels.broadcasting import of_rank
from fnn.kernels.mesh_axes import explicit_mesh
from fnn.losses.labels import at_label, of_label
from fnn.typing import Array

PIECE = 256
"""At most so many classes of a large vocabulary are summed together."""


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


def negative_log_softmax(x: Array, labels: Array) -> Array:
    """`-log softmax(x)` at the label, without an array of log-probabilities: of a large vocabulary that is the memory.

    Its gradient `softmax(x) - y` is one pass over `x`, and exact at the label too, where the difference would round.
    """
    return _loss_and_total(x, labels, None)[0] if x.shape[-1] else of_label(x, labels)


@jax.custom_jvp
def _loss_and_total(x: Array, labels: Array, terms: Array | None) -> tuple[Array, Array]:
    """The loss, and `Σ exp(x - max x)`; `terms` are those of the sum, where they are there anyway.

    The label's term stays out of the sum of the others: they would be rounded away beside it, and they are the loss.
    """
    others, peak = _sum_of_others(x, labels, terms), _peak(x)
    own = _below_peak(of_label(x, labels), peak)
    own = jnp.where((peak == jnp.inf) & (own < 0), -jnp.inf, own)  # beside an infinite logit the loss is infinite
    total = others + jnp.exp(own)
    return jnp.where(own == 0, jnp.log1p(others), jnp.log(total)) - own, total


@_loss_and_total.defjvp
def _loss_and_total_jvp(primals: tuple[Array, Array, Any], tangents: tuple[Array, Array, Any]) -> Any:
    (x, labels, _), t = primals, tangents[0]
    terms = jnp.exp(_below_peak(x, _peak(x)[..., None]))
    loss, total = _loss_and_total(x, labels, terms)
    # Numbers of a row are computed once a row: fused into the pass over `x` they would be again for every class.
    slope, share = jax.lax.optimization_barrier((jnp.expm1(-loss), 1 / total))
    p = terms * share[..., None]
    slopes = jnp.where(at_label(labels, x.shape[-1]), slope[..., None], p)
    return (loss, total), (jnp.sum(slopes * t, -1), jnp.sum(total[..., None] * p * t, -1))


def _sum_of_others(x: Array, labels: Array, terms: Array | None) -> Array:
    """`Σ exp(x - max x)` over the classes that are not the label: sums over pieces of them, and of the label's piece
    the terms themselves."""
    classes, peak = x.shape[-1], _peak(x)[..., None]
    size = _piece(classes)
    if size == classes:
        terms = jnp.exp(_below_peak(x, peak)) if terms is None else terms
        return jnp.where(at_label(labels, classes), 0, terms).sum(-1)
    if classes % size:
        return _sum_of_others_uneven(x, labels, terms, size)
    pieces = x.reshape(*x.shape[:-1], classes // size, size)
    place = jnp.clip(labels, 0, classes - 1) // size
    own = jnp.exp(_below_peak(_piece_at(pieces, place), peak))
    others = jnp.where(at_label(labels - place * size, size), 0, own).sum(-1)
    every = jnp.exp(_below_peak(pieces, peak[..., None])) if terms is None else terms.reshape(pieces.shape)
    return others + jnp.where(at_label(place, classes // size), 0, every.sum(-1)).sum(-1)


def _sum_of_others_uneven(x: Array, labels: Array, terms: Array | None, size: int) -> Array:
    """The same where the last piece is filled up: as one sum it would have an array of all its terms before it."""
    classes, peak = x.shape[-1], _peak(x)[..., None]
    terms = jnp.exp(_below_peak(x, peak)) if terms is None else terms
    missing = [(0, 0)] * (x.ndim - 1) + [(0, -classes % size)]
    sums = jnp.pad(terms, missing).reshape(*x.shape[:-1], -(-classes // size), size).sum(-1)
    first = jnp.clip(labels, 0, classes - 1) // size * size
    begin = jnp.minimum(first, classes - size)  # the last piece has some of the one before
    numbers = begin[..., None] + of_rank(jnp.arange(size, dtype=labels.dtype), x.ndim)
    counts = (numbers != labels[..., None]) & (numbers >= first[..., None])
    others = jnp.where(counts, jnp.exp(_below_peak(_classes_at(x, numbers), peak)), 0).sum(-1)
    return others + jnp.where(at_label(first // size, sums.shape[-1]), 0, sums).sum(-1)


def _classes_at(x: Array, numbers: Array) -> Array:
    """So many classes that follow one another, of every row its own."""
    if explicit_mesh((x, numbers)) is not None:
        return jnp.take_along_axis(x, numbers, -1)

    def some(row: Array, numbers: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(row, numbers[0], len(numbers))

    for _ in x.shape[:-1]:
        some = jax.vmap(some)
    return jax.lax.optimization_barrier(some(x, numbers))


def _piece_at(pieces: Array, place: Array) -> Array:
    """One piece of every row: copied as it lies, not gathered number by number."""
    if explicit_mesh((pieces, place)) is not None:  # there the rows of both would have to be split alike
        return jnp.take_along_axis(pieces, place[..., None, None], -2).squeeze(-2)

    def one(row: Array, place: Array) -> Array:
        return jax.lax.dynamic_index_in_dim(row, place, keepdims=False)

    for _ in place.shape:
        one = jax.vmap(one)
    return jax.lax.optimization_barrier(one(pieces, place))  # fused into what reads it, it is gathered again


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
