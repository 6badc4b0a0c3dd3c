"""What the norms share: centered and scaled arrays, with the gradient in closed form.

Batch norm, 64×28×28×64 in float32, milliseconds of 2 cores (AMD Zen 4, 2026), minima, jax 0.12.0 | 0.10.2. Textbook is
the mean of squared distances from the mean, differentiated by JAX:

|                          |   by need   | of any size |   textbook  |
|--------------------------|------------:|------------:|------------:|
| forward                  | 1.00 | 0.95 | 2.28 | 2.40 | 1.24 | 1.16 |
| gradient                 | 2.05 | 1.96 | 3.16 | 3.60 | 3.29 | 3.15 |
| forward in a scan        | 0.83 | 0.86 | 2.21 | 2.13 | 0.90 | 0.81 |
| gradient in a scan       | 1.52 | 1.42 | 2.13 | 1.76 | 6.16 | 3.38 |
| forward, vmap of 4       | 0.80 | 1.08 | 1.99 | 3.28 | 0.96 | 1.47 |
| gradient, vmap of 4      | 2.84 | 3.47 | 4.29 | 4.51 | 3.81 | 4.00 |
| forward, means 5 from 0  | 1.69 | 1.49 | 2.29 | 2.28 | 1.30 | 1.13 |
| gradient, means 5 from 0 | 2.82 | 2.64 | 3.38 | 3.37 | 3.18 | 2.87 |

Scans and vmap are of another run. The branches compile for 50 to 60 ms longer. A loop that runs once or never, in the
place of the conditions, copies the batch: forward 3.0 | 3.9. Sums of the values and of their sizes in one pass, for a
unit and no condition, 3.1 | 3.1, because XLA's fast sums are of arrays alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from fnn import checks
from fnn.kernels.broadcasting import of_rank
from fnn.typing import Array, ArrayLike


def axes_of(where: str, axis: int | tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """The axes as sorted, non-negative numbers."""
    return tuple(sorted(checks.axes(where, "axis", axis, ndim)))


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


def with_axes_of(x: Array, eps: ArrayLike) -> Array:
    """What broadcasts to x, in its rank and dtype."""
    return of_rank(jnp.asarray(eps, x.dtype), x.ndim)


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


def moments(x: Array, per_unit: ArrayLike, center: Array, average: Callable[[Array], Array]) -> tuple[Array, Array]:
    r"""$E[u] = c + E[d]$ and $Var[u] = E[d^2] - E[d]^2$ of $u = x / $ unit, with $d = u - c$, for a rough mean $c$.

    A sum of large numbers rounds; those of $d$ do not, and are taken in one pass.
    """
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


class Over(NamedTuple):
    """What statistics are taken over, and which."""

    axes: tuple[int, ...]
    axis_name: Any = None
    eps_inside_sqrt: bool = True
    centered: bool = True
    """Around the mean, or around 0: it stands for the mean then, and the mean of squares for the variance."""


Statistics = tuple[Array, Array, Array]
"""1 / unit, $E[u]$ and $Var[u]$ of $u = x / $ unit."""

NEAR = 1.0
"""So many variances may the square of a mean be where one is taken from the mean of squares: it costs a bit."""

RANGE = 2.0**40
"""Variances from 1 / RANGE to RANGE have powers that neither over- nor underflow, in the derivatives too."""

NOISE = 2.0**-16
"""A variance below so many of the mean of squares that it was taken from may be their rounding."""


def _by_any_size(x: Array, floor: Array, where: Array | None, over: Over) -> Statistics:
    """In units of the largest value, around a rough mean: right for all that can be represented, in three reads."""
    average, _ = average_over(over.axes, over.axis_name, x, where)
    per_unit = 1 / magnitude(x, floor, over.axes, where, over.axis_name)  # XLA divides once where it sees two divisions
    if not over.centered:
        return per_unit, jnp.zeros_like(per_unit), average(jnp.square(x * per_unit))
    # Of x, not of u, which would be written first; a constant factor keeps the sum of the largest from overflowing.
    center = average(x * 2.0**-24) * 2.0**24 * per_unit
    return per_unit, *moments(x, per_unit, center, average)


def _by_need(x: Array, floor: Array, where: Array | None, over: Over) -> Statistics:
    """From the sums of x and of its square, which are one read, where these hold; each statistic by what it needs.

    Where the mean is far from 0, one more read around it; where squares over- or underflow, all of `_by_any_size`.
    """
    average, _ = average_over(over.axes, over.axis_name, x, where)
    square = average(jnp.square(x))
    mean = average(x) if over.centered else jnp.zeros_like(square)
    variance = square - jnp.square(mean)
    # By the squares, since a variance near 0 may be what rounding left of them; never for what is not a number.
    fits = (square < RANGE) & ((variance > jnp.maximum(1 / RANGE, NOISE * square)) | (floor > RANGE**-0.5))
    good = fits & (jnp.square(mean) <= NEAR * variance)
    first = jnp.ones_like(mean), mean, variance

    def where_needed(other: Statistics) -> Statistics:
        per_unit, mean, variance = (jnp.where(good, *pair) for pair in zip(first, other, strict=True))
        return per_unit, mean, variance

    def around() -> Statistics:
        return where_needed((first[0], *moments(x, 1.0, mean, average)))

    def of_any_size() -> Statistics:
        return where_needed(_by_any_size(x, floor, where, over))

    if not over.centered:
        return lax.cond(jnp.all(good), lambda: first, of_any_size)
    return lax.cond(jnp.all(good), lambda: first, lambda: lax.cond(jnp.all(fits), around, of_any_size))


def statistics(x: Array, floor: Array, where: Array | None, over: Over) -> Statistics:
    """The statistics of x; no unit is below `floor`, and all three have the rank of x.

    Members of a `vmap` are one more axis that is kept: a condition of each would compute every road for all.
    """

    def by_platform(x: Array, floor: Array, where: Array | None) -> Statistics:
        cpu, default = (functools.partial(form, over=over) for form in (_by_need, _by_any_size))
        return lax.platform_dependent(x, floor, where, cpu=cpu, default=default)

    if over.axis_name is not None:
        return by_platform(x, floor, where)
    shared = custom_vmap(by_platform)

    @shared.def_vmap
    def of_members(members: int, mapped: Any, *arrays: Any) -> tuple[Statistics, tuple[bool, bool, bool]]:
        x, floor, where = jax.tree.map(lambda a, here: a if here else a[None], arrays, tuple(mapped))
        x = jnp.broadcast_to(x, (members, *x.shape[1:]))
        return statistics(x, floor, where, over._replace(axes=tuple(a + 1 for a in over.axes))), (True, True, True)

    return shared(x, floor, where)


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

    In units that are 1 where squares fit, else the largest value, none over- or underflows, nor does the derivative.
    """
    eps = with_axes_of(x, eps)
    # One for each statistic, though eps may have one for each value.
    floor = jnp.max(jnp.sqrt(eps) if eps_inside_sqrt else eps, axes, keepdims=True)
    seen = None if where is None else of_rank(jnp.asarray(where), x.ndim)
    over = Over(axes, axis_name, eps_inside_sqrt)
    per_unit, mean, variance = statistics(*lax.stop_gradient((x, floor)), seen, over)
    scaled = eps * per_unit * per_unit if eps_inside_sqrt else eps * per_unit
    # What keeps equal values from being divided by 0 must not itself underflow.
    eps = jnp.where(eps > 0, jnp.maximum(scaled, jnp.finfo(x.dtype).tiny), scaled)
    y, mean, variance = _standardize(x, per_unit, mean, variance, scale, bias, eps, seen, over)
    unit = 1 / per_unit
    return y, mean * unit, variance * unit * unit


# Value and gradient take 0.5 to 0.75 of the time of autodiff through the same forward (128x28x28x32 and
# 128x14x14x64, float32, two CPU cores): autodiff reads the batch for reductions that are zero or known.
@functools.partial(jax.custom_jvp, nondiff_argnums=(8,))
def _standardize(
    x: Array,
    per_unit: Array,
    mean: Array,
    variance: Array,
    scale: Array,
    bias: Array,
    eps: Array,
    where: Array | None,
    over: Over,
) -> tuple[Array, Array, Array]:
    """The mean and variance come in as values, and go out as functions of x."""
    inverse = inverse_deviation(variance, eps, over.eps_inside_sqrt)
    return (x * per_unit - mean) * (inverse * scale) + bias, mean, variance


@_standardize.defjvp
def _standardize_jvp(over: Over, primals: Any, tangents: Any) -> tuple[Any, Any]:
    x, per_unit, _, _, scale, _, eps, where = primals
    dx, _, _, _, dscale, dbias, deps, _ = tangents
    y, mean, variance = _standardize(*primals, over)
    average, _ = average_over(over.axes, over.axis_name, x, where)
    centered, dx = x * per_unit - mean, dx * per_unit
    dmean, dvariance = average(dx), 2 * average(centered * dx)
    inverse, dinverse = jax.jvp(
        lambda v, e: inverse_deviation(v, e, over.eps_inside_sqrt), (variance, eps), (dvariance, deps)
    )
    slope = inverse * scale
    # Grouped so that the transpose needs two reductions, of dy and of dy * centered.
    dy = dx * slope + centered * (dinverse * scale + inverse * dscale) + (dbias - dmean * slope)
    return (y, mean, variance), (dy, dmean, dvariance)
