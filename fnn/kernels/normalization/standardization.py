"""What the norms share: centered and scaled arrays, with the gradient in closed form."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from fnn import checks
from fnn.typing import Array, ArrayLike


def axes_of(where: str, axis: int | tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """The axes as sorted, non-negative numbers."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    found = tuple(sorted(a % ndim for a in axes if -ndim <= a < ndim))
    if not axes or len(set(found)) != len(axes):
        raise ValueError(f"{where}: expected axis to name distinct axes of an array of rank {ndim}, got {axis}")
    return found


def per_feature(where: str, name: str, parameter: Array, axes: tuple[int, ...], x: Array) -> Array:
    """A parameter per feature, with its axes where they are in `x` and 1 elsewhere."""
    expected = tuple(x.shape[a] for a in axes)
    if jnp.shape(parameter) != expected:
        raise checks.wrong_shape(where, name, f"{expected} for x {checks.describe(x)}", jnp.shape(parameter))
    shape = [x.shape[a] if a in axes else 1 for a in range(x.ndim)]
    return jnp.asarray(parameter, x.dtype).reshape(shape)


def affine(where: str, scale: Array | None, bias: Array | None, axes: tuple[int, ...], x: Array) -> tuple[Array, Array]:
    """Scale and bias along the axes of `x`; 1 and 0 where there is none."""
    one = jnp.ones((1,) * x.ndim, x.dtype)
    return (
        one if scale is None else per_feature(where, "scale", scale, axes, x),
        jnp.zeros_like(one) if bias is None else per_feature(where, "bias", bias, axes, x),
    )


def inverse_deviation(variance: Array, eps: ArrayLike, eps_inside_sqrt: bool) -> Array:
    """One over the standard deviation; its slope is finite at variance 0."""
    eps = jnp.asarray(eps, variance.dtype)
    if eps_inside_sqrt:
        return lax.rsqrt(variance + eps)
    spread = variance > 0
    deviation = jnp.where(spread, jnp.sqrt(jnp.where(spread, variance, 1)), 0)
    return 1 / (deviation + eps)


def average_over(
    axes: tuple[int, ...], axis_name: Any, x: Array, where: Array | None
) -> tuple[Callable[[Array], Array], Array]:
    """The average over `axes` (and devices), of the values where `where` holds, and how many those are."""
    if where is None:
        count = jnp.asarray(math.prod(x.shape[a] for a in axes), x.dtype)
    else:
        count = jnp.sum(jnp.broadcast_to(where, x.shape), axes, keepdims=True, dtype=jnp.int32).astype(x.dtype)
    if axis_name is not None:
        count = lax.psum(count, axis_name)
    divisor = jnp.maximum(count, 1)

    def average(values: Array) -> Array:
        total = jnp.sum(values, axes, keepdims=True, where=where)
        return (total if axis_name is None else lax.psum(total, axis_name)) / divisor

    return average, count


def moments(
    x: Array, per_unit: Array, where: Array | None, axes: tuple[int, ...], axis_name: Any
) -> tuple[Array, Array]:
    r"""$E[u] = c + E[d]$ and $Var[u] = E[d^2] - E[d]^2$ of $u = x / $ unit, with $d = u - c$, for a rough mean $c$.

    A sum of large numbers rounds; those of $d$ do not, and are taken in one pass.
    """
    average, _ = average_over(axes, axis_name, x, where)
    # Of x, not of u, which would be written first; a constant factor keeps the sum of the largest from overflowing.
    center = average(x * 2.0**-24) * 2.0**24 * per_unit
    d = x * per_unit - center
    offset = average(d)
    return center + offset, jnp.maximum(average(jnp.square(d)) - jnp.square(offset), 0)


def magnitude(
    x: Array, floor: ArrayLike, axes: tuple[int, ...], where: Array | None = None, axis_name: Any = None
) -> Array:
    """The power of two next to the largest |x|, and to `floor` at least: dividing by it is exact."""
    x = lax.stop_gradient(x)
    largest = jnp.max(jnp.abs(x), axes, keepdims=True, where=where, initial=0)
    if axis_name is not None:
        largest = lax.pmax(largest, axis_name)
    info = jnp.finfo(x.dtype)
    largest = jnp.maximum(largest, lax.stop_gradient(jnp.asarray(floor, x.dtype)))
    return lax.reduce_precision(jnp.clip(largest, info.tiny, info.max / 4), info.nexp, 0)


def standardize(
    x: Array,
    scale: Array,
    bias: Array,
    eps: ArrayLike,
    where: Array | None,
    axes: tuple[int, ...],
    axis_name: Any = None,
    eps_inside_sqrt: bool = True,
) -> tuple[Array, Array, Array]:
    r"""$\gamma\,(x - E[x]) / \sqrt{Var[x] + \varepsilon} + \beta$ over `axes`, and $E[x]$, $Var[x]$.

    In units of the largest value no square over- or underflows, in the value or in the derivative.
    """
    eps = jnp.asarray(eps, x.dtype)
    unit = magnitude(x, jnp.sqrt(eps) if eps_inside_sqrt else eps, axes, where, axis_name)
    per_unit = 1 / unit  # XLA divides once where it sees two divisions, by a square
    scaled = eps * per_unit * per_unit if eps_inside_sqrt else eps * per_unit
    # What keeps equal values from being divided by 0 must not itself underflow.
    eps = jnp.where(eps > 0, jnp.maximum(scaled, jnp.finfo(x.dtype).tiny), scaled)
    y, mean, variance = _standardize(x, per_unit, scale, bias, eps, where, axes, axis_name, eps_inside_sqrt)
    return y, mean * unit, variance * unit * unit


# Value and gradient take 0.5 to 0.75 of the time of autodiff through the same forward (128x28x28x32 and
# 128x14x14x64, float32, two CPU cores): autodiff reads the batch for reductions that are zero or known.
@functools.partial(jax.custom_jvp, nondiff_argnums=(6, 7, 8))
def _standardize(
    x: Array,
    per_unit: Array,
    scale: Array,
    bias: Array,
    eps: Array,
    where: Array | None,
    axes: tuple[int, ...],
    axis_name: Any,
    eps_inside_sqrt: bool,
) -> tuple[Array, Array, Array]:
    mean, variance = moments(x, per_unit, where, axes, axis_name)
    return (x * per_unit - mean) * (inverse_deviation(variance, eps, eps_inside_sqrt) * scale) + bias, mean, variance


@_standardize.defjvp
def _standardize_jvp(
    axes: tuple[int, ...], axis_name: Any, eps_inside_sqrt: bool, primals: Any, tangents: Any
) -> tuple[Any, Any]:
    x, per_unit, scale, _, eps, where = primals
    dx, _, dscale, dbias, deps, _ = tangents
    y, mean, variance = _standardize(*primals, axes, axis_name, eps_inside_sqrt)
    average, _ = average_over(axes, axis_name, x, where)
    centered, dx = x * per_unit - mean, dx * per_unit
    dmean, dvariance = average(dx), 2 * average(centered * dx)
    inverse, dinverse = jax.jvp(
        lambda v, e: inverse_deviation(v, e, eps_inside_sqrt), (variance, eps), (dvariance, deps)
    )
    slope = inverse * scale
    # Grouped so that the transpose needs two reductions, of dy and of dy * centered.
    dy = dx * slope + centered * (dinverse * scale + inverse * dscale) + (dbias - dmean * slope)
    return (y, mean, variance), (dy, dmean, dvariance)
