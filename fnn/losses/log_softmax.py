"""The logarithm of a softmax, exact where it is near 0 or 1, and of large vocabularies without an array of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fnn.kernels.broadcasting import of_rank
from fnn.kernels.mesh_axes import explicit_mesh, features_are_split
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
    """The loss, and `Σ exp(x - max x)`; `terms` are its terms, where slopes need them anyway.

    The label's term stays out of the sum of the others: they would be rounded away beside it, and they are the loss.
    """
    rest, peak = _sum_of_others(x, labels, terms), _peak(x)
    own = _below_peak(of_label(x, labels), peak)
    own = jnp.where((peak == jnp.inf) & (own < 0), -jnp.inf, own)  # beside an infinite logit the loss is infinite
    total = rest + jnp.exp(own)
    return jnp.where(own == 0, jnp.log1p(rest), jnp.log(total)) - own, total


@_loss_and_total.defjvp
def _loss_and_total_jvp(primals: tuple[Array, Array, Any], tangents: tuple[Array, Array, Any]) -> Any:
    (x, labels, _), t = primals, tangents[0]
    terms = _terms(x, labels, _peak(x))
    loss, total = _loss_and_total(x, labels, terms)
    # Numbers of a row are computed once a row: fused into the pass over `x` they would be again for every class.
    slope, own, share = jax.lax.optimization_barrier((jnp.expm1(-loss), jnp.exp(-loss), 1 / total))
    label, p = at_label(labels, x.shape[-1]), terms * share[..., None]
    slopes, p = jnp.where(label, slope[..., None], p), jnp.where(label, own[..., None], p)
    return (loss, total), (jnp.sum(slopes * t, -1), jnp.sum(total[..., None] * p * t, -1))


def _others(x: Array, labels: Array, peak: Array) -> Array:
    """`exp(x - max x)`, 0 at the label."""
    return jnp.where(at_label(labels, x.shape[-1]), 0, jnp.exp(_below_peak(x, peak[..., None])))


def _terms(x: Array, labels: Array, peak: Array) -> Array:
    """`exp(x - max x)` as its sum and the slopes share it: what asks for the label in one alone is computed twice."""
    size = _piece(x)
    even = size < x.shape[-1] and x.shape[-1] % size == 0
    return jnp.exp(_below_peak(x, peak[..., None])) if even else _others(x, labels, peak)


def _sum_of_others(x: Array, labels: Array, terms: Array | None) -> Array:
    """The sum of `_others`, of large vocabularies by sums over pieces, but for the label's: one pass that leaves
    nothing out is faster than one that asks for the label everywhere, and XLA keeps none of its terms."""
    classes, peak, size = x.shape[-1], _peak(x), _piece(x)
    if size == classes or (classes % size and terms is not None):
        return (_others(x, labels, peak) if terms is None else terms).sum(-1)
    place, shape = jnp.clip(labels, 0, classes - 1) // size, (*x.shape[:-1], -(-classes // size), size)
    if classes % size:
        missing = [(0, 0)] * (x.ndim - 1) + [(0, -classes % size)]
        terms = jnp.pad(jnp.exp(_below_peak(x, peak[..., None])), missing).reshape(shape)
        begin = jnp.minimum(place * size, classes - size)  # the last piece has some of the one before
        own = _others(_cut(x, begin, size), labels - begin, peak)
        own = jnp.where(
            of_rank(jnp.arange(size, dtype=place.dtype), x.ndim) < (place * size - begin)[..., None], 0, own
        )
    else:
        pieces = x.reshape(shape)
        terms = jnp.exp(_below_peak(pieces, peak[..., None, None])) if terms is None else terms.reshape(shape)
        own = _others(_cut(pieces, place, 1).squeeze(-2), labels - place * size, peak)
    return jnp.where(at_label(place, shape[-2]), 0, terms.sum(-1)).sum(-1) + own.sum(-1)


def _cut(x: Array, begin: Array, size: int) -> Array:
    """So many entries of every row from its own place on: copied as they lie, not gathered one by one."""
    if explicit_mesh((x, begin)) is not None:  # there the rows of both would have to be split alike
        places = begin[..., None] + of_rank(jnp.arange(size, dtype=begin.dtype), begin.ndim + 1)
        return jnp.take_along_axis(x, places.reshape(*places.shape, *[1] * (x.ndim - places.ndim)), begin.ndim)

    def part(row: Array, begin: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(row, begin, size)

    for _ in begin.shape:
        part = jax.vmap(part)
    return jax.lax.optimization_barrier(part(x, begin))  # fused into what reads it, it is gathered again


def _peak(x: Array) -> Array:
    return jax.lax.stop_gradient(x.max(-1))


def _below_peak(x: Array, peak: Array) -> Array:
    """`x - peak`, 0 where both are infinite: one infinite logit has the limit, probability 1."""
    largest = jnp.finfo(x.dtype).max
    return jnp.minimum(x, largest) - jnp.minimum(peak, largest)


def _piece(x: Array) -> int:
    """A size of which there is a whole number, neither large nor small if there is one; all if they are split."""
    classes = x.shape[-1]
    if classes <= PIECE or features_are_split(x):
        return classes
    return next((size for size in range(PIECE, PIECE // 8, -1) if classes % size == 0), PIECE)
