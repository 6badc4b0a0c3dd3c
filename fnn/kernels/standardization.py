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

__all__: list[str] = []


def axes_of(where: str, axis: int | tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """The axes as sorted, non-negative numbers."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    found = tuple(sorted(a % ndim for a in axes if -ndim <= a < ndim))
    if not axes or len(set(found)) != len(axes):
        raise ValueError(f"{where}: expected axis to name distinct axes of an array of rank {ndim}, got {axis}")
    return found


def along(where: str, name: str, parameter: Array, axes: tuple[int, ...], x: Array) -> Array:
    """A parameter per feature, with its axes where they are in `x` and 1 elsewhere."""
    expected = tuple(x.shape[a] for a in axes)
    if jnp.shape(parameter) != expected:
        raise ValueError(
            f"{where}: expected {name} of shape {expected} for x {checks.describe(x)}, got {jnp.shape(parameter)}"
        )
    shape = [x.shape[a] if a in axes else 1 for a in range(x.ndim)]
    return jnp.asarray(parameter, x.dtype).reshape(shape)


def affine(where: str, scale: Array | None, bias: Array | None, axes: tuple[int, ...], x: Array) -> tuple[Array, Array]:
    """Scale and bias along the axes of `x`; 1 and 0 where there is none."""
    one = jnp.ones((1,) * x.ndim, x.dtype)
    return (
        one if scale is None else along(where, "scale", scale, axes, x),
        jnp.zeros_like(one) if bias is None else along(where, "bias", bias, axes, x),
    )


def inverse_deviation(variance: Array, eps: ArrayLike, eps_inside_sqrt: bool) -> Array:
    """One over the standard deviation; its slope is finite at variance 0."""
    eps = jnp.asarray(eps, variance.dtype)
    if eps_inside_sqrt:
        return lax.rsqrt(variance + eps)
    spread = variance > 0
    deviation = jnp.where(spread, jnp.sqrt(jnp.where(spread, variance, 1)), 0)
    return 1 / (deviation + eps)


def averaging(
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


def moments(x: Array, where: Array | None, axes: tuple[int, ...], axis_name: Any) -> tuple[Array, Array]:
    r"""$E[x] = c + E[d]$ and $Var[x] = E[d^2] - E[d]^2$ with $d = x - c$, for a first, rounded mean $c$.

    A sum of large numbers rounds; those of $d$ do not, and are taken in one pass.
    """
    average, _ = averaging(axes, axis_name, x, where)
    center = average(x)
    d = x - center
    offset = average(d)
    return center + offset, jnp.maximum(average(jnp.square(d)) - jnp.square(offset), 0)


# Value and gradient take 0.5 to 0.75 of the time of autodiff through the same forward (128x28x28x32 and
# 128x14x14x64, float32, two CPU cores): autodiff reads the batch for reductions that are zero or known.
@functools.partial(jax.custom_jvp, nondiff_argnums=(5, 6, 7))
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
    r"""$\gamma\,(x - E[x]) / \sqrt{Var[x] + \varepsilon} + \beta$ over `axes`, and $E[x]$, $Var[x]$."""
    mean, variance = moments(x, where, axes, axis_name)
    return (x - mean) * (inverse_deviation(variance, eps, eps_inside_sqrt) * scale) + bias, mean, variance


@standardize.defjvp
def _standardize_jvp(
    axes: tuple[int, ...], axis_name: Any, eps_inside_sqrt: bool, primals: Any, tangents: Any
) -> tuple[Any, Any]:
    x, scale, _, eps, where = primals
    dx, dscale, dbias, deps, _ = tangents
    y, mean, variance = standardize(*primals, axes, axis_name, eps_inside_sqrt)
    average, _ = averaging(axes, axis_name, x, where)
    centered = x - mean
    dmean, dvariance = average(dx), 2 * average(centered * dx)
    inverse, dinverse = jax.jvp(
        lambda v, e: inverse_deviation(v, e, eps_inside_sqrt), (variance, eps), (dvariance, deps)
    )
    slope = inverse * scale
    # Grouped so that the transpose needs two reductions, of dy and of dy * centered.
    dy = dx * slope + centered * (dinverse * scale + inverse * dscale) + (dbias - dmean * slope)
    return (y, mean, variance), (dy, dmean, dvariance)
