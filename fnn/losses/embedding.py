"""Losses of embeddings: cosine, contrastive and triplet."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.kernels.normalization.standardization import magnitude
from fnn.losses.labels import SIGNED, pair_of_classes, probabilities
from fnn.losses.reduction import (
    Axis,
    Reduction,
    absolute,
    elements,
    floats,
    follow,
    full_mask,
    negligible,
    reduce,
    weigh,
)
from fnn.typing import Array, ArrayLike

__all__ = ["contrastive_loss", "cosine_distance", "cosine_similarity", "triplet_margin_loss"]


def _unit(x: Array, epsilon: Array) -> Array:
    """`x / max(|x|, sqrt(ε))` over the last axis, 0 where that is 0; no square overflows."""
    scale = jax.lax.stop_gradient(jnp.abs(x).max(-1, keepdims=True, initial=0))
    scale = jnp.where(negligible(scale), 1, scale)
    x = x / scale
    squares = (x**2).sum(-1, keepdims=True)
    zero, least = negligible(squares), jnp.sqrt(epsilon) / scale
    norm = jnp.sqrt(jnp.where(zero, 1, squares))
    return x / jnp.where(zero & (least > 0), least, jnp.maximum(norm, least))


def cosine_similarity(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    epsilon: ArrayLike = 0.0,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Cosine of the angle between two vectors: $ŷ^⊤y / (\|ŷ\| \|y\|)$; 0 if one of them is zero.

    Args:
        predictions: (..., features).
        targets: of the same shape.
        epsilon: least squared norm in the denominator.
        axis: the axis (or axes) of the features.
        where: features to include, in the shape of `predictions`, or examples to include, without `axis`.
        weights, reduction: as in every loss, see `fnn.losses`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> [round(float(x), 2) for x in fnn.losses.cosine_similarity(jnp.array([[3.0, 4.0]]), jnp.array([[4.0, 3.0]]))]
        [0.96]
    """
    similarity, keep = _cosine("cosine_similarity", predictions, targets, epsilon, axis, where)
    return reduce("cosine_similarity", similarity, predictions, reduction, weights, keep)


def cosine_distance(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    epsilon: ArrayLike = 0.0,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""One minus the cosine of the angle between two vectors: $1 - ŷ^⊤y / (\|ŷ\| \|y\|)$.

    Args:
        predictions: (..., features).
        targets: of the same shape.
        epsilon, axis, where, weights, reduction: as in `cosine_similarity`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.losses.cosine_distance(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 2.0]])).tolist()
        [1.0]
    """
    similarity, keep = _cosine("cosine_distance", predictions, targets, epsilon, axis, where)
    return reduce("cosine_distance", 1 - similarity, predictions, reduction, weights, keep)


def _cosine(
    name: str, predictions: ArrayLike, targets: ArrayLike, epsilon: ArrayLike, axis: Axis, where: ArrayLike | None
) -> tuple[Array, Array | None]:
    checks.in_range(name, "epsilon", epsilon, 0)
    p, t, _, keep = pair_of_classes(name, "predictions", predictions, "targets", targets, axis, where)
    epsilon = jnp.asarray(epsilon, p.dtype)
    return (_unit(p, epsilon) * _unit(t, epsilon)).sum(-1), keep


def _vectors(
    name: str, names: tuple[str, ...], vectors: tuple[ArrayLike, ...], axis: int, where: ArrayLike | None
) -> tuple[list[Array], Array | None]:
    """Embeddings of one shape and which examples count; the others are 0."""
    first = floats(name, names[0], vectors[0])
    checks.axis(name, "axis", axis, first.ndim)
    arrays = [elements(name, first, v, None, first=names[0], second=n)[1] for v, n in zip(vectors, names, strict=True)]
    keep = full_mask(name, where, jax.eval_shape(lambda x: x.sum(axis), first).shape)
    if keep is None:
        return arrays, None
    return [jnp.where(jnp.expand_dims(keep, axis), x, 0) for x in arrays], keep


def _powers(r: Array, axis: int, degree: float) -> Array:
    even = isinstance(degree, int | float) and degree % 2 == 0
    return (r ** int(degree) if even else absolute(r) ** degree).sum(axis)


def _distance(a: Array, b: Array, eps: Array, axis: int, degree: float = 2) -> tuple[Array, Array]:
    """$(\\sum_i |a_i - b_i|^k + ε)^{1/k}$, with derivative 0 where it is 0, and the sum below the root."""
    if isinstance(degree, int | float):
        return _distance_of_any_size(a, b, eps, axis, degree)
    total = _powers(a - b, axis, degree) + eps  # whose derivative by k may be asked for
    none = negligible(total)
    return jnp.where(none, 0, jnp.where(none, 1, total) ** (1 / degree)), total


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _distance_of_any_size(a: Array, b: Array, eps: Array, axis: int, degree: float) -> tuple[Array, Array]:
    """The same for differences of which the powers overflow too.

    Where that is inf the root is taken in units of the largest difference, for which they are read once more. The
    derivative of the root is 0 where it is 0; where a number is inf, derivatives are finite or inf.
    """
    total = _powers(a - b, axis, degree) + eps
    plain = jnp.where(negligible(total), 0, total ** (1 / degree))

    def of_any_size() -> Array:
        unit = magnitude(a - b, 1, (axis,))
        r = (a - b) / unit
        largest = jnp.clip(jnp.abs(r).max(axis, keepdims=True, initial=0), 1 / 4, 4)  # no power of 1 overflows
        size = (unit * largest).squeeze(axis)
        scaled = size * (_powers(r / largest, axis, degree) + eps / size**degree) ** (1 / degree)
        return jnp.where(jnp.isfinite(total), plain, scaled)

    return jax.lax.cond(jnp.isfinite(total).all(), lambda: plain, of_any_size), total


@_distance_of_any_size.defjvp
def _jvp_of_any_size(axis: int, degree: float, primals: Any, tangents: Any) -> tuple[Any, Any]:
    (a, b, eps), (da, db, deps) = primals, tangents
    root, total = _distance_of_any_size(a, b, eps, axis, degree)
    largest = jnp.finfo(a.dtype).max
    r, dr = jnp.clip(a - b, -largest, largest), da - db

    def slope(x: Array) -> Array:
        return x if degree == 2 else jnp.sign(x) * absolute(x) ** (degree - 1)

    none = root == 0
    below = jnp.where(none, 1, root)
    size = magnitude(below, 0, ())  # 1 / below may be subnormal, which may be taken for 0
    inverse = jnp.where(none, 0, 1 / (below / size))
    unit = r * jnp.expand_dims(1 / size, axis) * jnp.expand_dims(inverse, axis)
    droot = (slope(unit) * dr).sum(axis) + jnp.where(none, 0, below ** (1 - degree) / degree) * deps
    return (root, total), (droot, degree * (slope(r) * dr).sum(axis) + deps)


def contrastive_loss(
    first: ArrayLike,
    second: ArrayLike,
    labels: ArrayLike,
    *,
    margin: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Pulls similar pairs together and pushes others apart: $y\,d^2 + (1-y) \max(0, m - d)^2$.

    Args:
        first, second: embeddings (..., features); $d$ is their Euclidean distance.
        labels: 1 for a similar pair, 0 for another, (...).
        margin: m, the distance beyond which other pairs cost nothing.
        axis: of the features.
        where: pairs to include, (...).
        weights, reduction: as in every loss, see `fnn.losses`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> a, b = jnp.array([[0.0, 0.0], [0.0, 0.0]]), jnp.array([[0.3, 0.4], [0.3, 0.4]])
        >>> fnn.losses.contrastive_loss(a, b, jnp.array([1, 0])).round(2).tolist()
        [0.25, 0.25]

    References:
        Hadsell, Chopra, LeCun, Dimensionality Reduction by Learning an Invariant Mapping, 2006.
    """
    name = "contrastive_loss"
    (a, b), keep = _vectors(name, ("first", "second"), (first, second), axis, where)
    d, squares = _distance(a, b, jnp.zeros((), a.dtype), axis)
    probabilities(name, "labels", labels, where, SIGNED)
    y = follow(name, "labels", labels, d)
    checks.same_shape(name, "distances", d, "labels", y)
    # d² has no curvature where d is 0, its sum of squares has
    losses = weigh(squares, y) + (1 - y) * jnp.maximum(0, jnp.asarray(margin, d.dtype) - d) ** 2
    return reduce(name, losses, first, reduction, weights, keep)


def triplet_margin_loss(
    anchors: ArrayLike,
    positives: ArrayLike,
    negatives: ArrayLike,
    axis: int = -1,
    norm_degree: float = 2,
    margin: ArrayLike = 1.0,
    eps: ArrayLike = 1e-6,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""An anchor nearer to the positive than to the negative by a margin: $\max(0, d(a,p) - d(a,n) + m)$.

    $d(u, v) = (\sum_i |u_i - v_i|^k + ε)^{1/k}$.

    Args:
        anchors, positives, negatives: embeddings (..., features).
        axis: of the features.
        norm_degree: k.
        margin: m.
        eps: ε, which keeps the derivative finite where a distance is 0.
        where: triplets to include, (...).
        weights, reduction: as in every loss, see `fnn.losses`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> a, p, n = jnp.array([[0.0, 0.0]]), jnp.array([[0.0, 1.0]]), jnp.array([[3.0, 4.0]])
        >>> fnn.losses.triplet_margin_loss(a, p, n, margin=6.0).round(2).tolist()
        [2.0]

    References:
        Balntas et al., Learning Shallow Convolutional Feature Descriptors with Triplet Losses, 2016.
    """
    name = "triplet_margin_loss"
    checks.in_range(name, "norm_degree", norm_degree, 1, math.inf, open="high")
    names = ("anchors", "positives", "negatives")
    (a, p, n), keep = _vectors(name, names, (anchors, positives, negatives), axis, where)
    eps = jnp.asarray(eps, a.dtype)
    near, far = (_distance(a, other, eps, axis, norm_degree)[0] for other in (p, n))
    far = jnp.minimum(far, jnp.finfo(far.dtype).max)  # inf - inf is no number
    losses = jnp.maximum(near - far + jnp.asarray(margin, a.dtype), 0)
    return reduce(name, losses, anchors, reduction, weights, keep)
