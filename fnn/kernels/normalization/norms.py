"""Normalization: statistics in float32 or better, gradients in closed form."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from fnn import checks
from fnn.kernels.normalization.standardization import (
    Over,
    affine,
    average_over,
    axes_of,
    inverse_deviation,
    per_feature,
    standardize,
    statistics,
    with_axes_of,
)
from fnn.kernels.sizes import compile_for
from fnn.precision import widen
from fnn.typing import Array, ArrayLike

__all__ = ["Moments", "batch_norm", "group_norm", "instance_norm", "layer_norm", "normalize", "rms_norm"]

Axes = int | tuple[int, ...]


class Moments(NamedTuple):
    """The statistics of a batch, per feature: `mean`, biased `variance`, and the `size` of what they are from."""

    mean: Array
    variance: Array
    size: Array


@compile_for("axis", "eps_inside_sqrt", "axis_name")
def batch_norm(
    x: Array,
    scale: Array | None = None,
    bias: Array | None = None,
    *,
    axis: Axes = -1,
    eps: ArrayLike = 1e-5,
    eps_inside_sqrt: bool = True,
    where: Array | None = None,
    axis_name: Any = None,
) -> tuple[Array, Moments]:
    r"""Normalize each feature over the batch and all other axes, as the layer `fnn.batch_norm` does in training.

    Args:
        x: floating-point, batch first.
        scale, bias: $\gamma$ and $\beta$, of the shape of `axis` in `x`; None is 1 and 0.
        axis, eps, eps_inside_sqrt: as for `fnn.batch_norm`.
        where: bool, broadcastable to `x`: the values that count (False for padded rows). The others are
            normalized with the same statistics.
        axis_name: mapped axis or axes (of `vmap`, `shard_map`) over which the statistics are shared.

    Returns:
        `(y, moments)`: `y` in the dtype of `x`; the moments in float32 or better, $0$ and $0$ if nothing counts.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> y, moments = fnn.kernels.batch_norm(jnp.array([[1.0], [3.0]]))
        >>> y.round(3).tolist(), moments.mean.tolist(), moments.variance.tolist()
        ([[-1.0], [1.0]], [2.0], [1.0])
    """
    checks.floating("batch_norm", "x", x)
    features = axes_of("batch_norm", axis, x.ndim)
    axes = tuple(a for a in range(x.ndim) if a not in features)
    wide = widen(x)
    gamma, beta = affine("batch_norm", scale, bias, features, wide)
    y, mean, variance = standardize(wide, gamma, beta, eps, where, axes, axis_name, eps_inside_sqrt)
    size = jnp.broadcast_to(average_over(axes, axis_name, wide, where)[1], mean.shape)
    shape = tuple(x.shape[a] for a in features)
    return y.astype(x.dtype), Moments(mean.reshape(shape), variance.reshape(shape), size.reshape(shape))


@compile_for("axis", "eps_inside_sqrt")
def normalize(
    x: Array,
    mean: Array,
    variance: Array,
    scale: Array | None = None,
    bias: Array | None = None,
    *,
    axis: Axes = -1,
    eps: ArrayLike = 1e-5,
    eps_inside_sqrt: bool = True,
) -> Array:
    r"""`batch_norm` at inference: $y = \gamma\,(x - \mu) / \sqrt{\sigma^2 + \varepsilon} + \beta$.

    Args:
        x: floating-point.
        mean, variance: $\mu$ and $\sigma^2$, of the shape of `axis` in `x`.
        scale, bias, axis, eps, eps_inside_sqrt: as for `batch_norm`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.normalize(jnp.array([[5.0]]), jnp.array([1.0]), jnp.array([4.0])).round(3).tolist()
        [[2.0]]
    """
    checks.floating("normalize", "x", x)
    features, wide = axes_of("normalize", axis, x.ndim), widen(x)
    mu = per_feature("normalize", "mean", mean, features, wide)
    sigma2 = per_feature("normalize", "variance", variance, features, wide)
    gamma, beta = affine("normalize", scale, bias, features, wide)
    return ((wide - mu) * (inverse_deviation(sigma2, eps, eps_inside_sqrt) * gamma) + beta).astype(x.dtype)


@compile_for("axis")
def layer_norm(
    x: Array, scale: Array | None = None, bias: Array | None = None, *, axis: Axes = -1, eps: ArrayLike = 1e-5
) -> Array:
    r"""Normalize each example over its features: the layer `fnn.layer_norm` with given parameters.

    Args:
        x: floating-point.
        scale, bias: $\gamma$ and $\beta$, of the shape of `axis` in `x`; None is 1 and 0.
        axis, eps: as for `fnn.layer_norm`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.layer_norm(jnp.array([[1.0, 3.0], [5.0, 5.0]])).round(3).tolist()
        [[-1.0, 1.0], [0.0, 0.0]]
    """
    checks.floating("layer_norm", "x", x)
    axes, wide = axes_of("layer_norm", axis, x.ndim), widen(x)
    gamma, beta = affine("layer_norm", scale, bias, axes, wide)
    return standardize(wide, gamma, beta, eps, None, axes)[0].astype(x.dtype)


@compile_for("axis")
def rms_norm(x: Array, scale: Array | None = None, *, axis: Axes = -1, eps: ArrayLike = 1e-6) -> Array:
    r"""Divide each example by the root mean square of its features: the layer `fnn.rms_norm` with a given scale.

    Args:
        x: floating-point.
        scale: $\gamma$, of the shape of `axis` in `x`; None is 1.
        axis, eps: as for `fnn.rms_norm`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.rms_norm(jnp.array([[3.0, -3.0]])).round(3).tolist()
        [[1.0, -1.0]]
    """
    checks.floating("rms_norm", "x", x)
    axes, wide = axes_of("rms_norm", axis, x.ndim), widen(x)
    gamma, _ = affine("rms_norm", scale, None, axes, wide)
    eps = with_axes_of(wide, eps)
    floor = jnp.max(jnp.sqrt(eps), axes, keepdims=True)
    # In units in which no square over- or underflows. Alone, JAX's gradient takes half the time of a closed form.
    per_unit, _, known = statistics(*lax.stop_gradient((wide, floor)), None, Over(axes, centered=False))
    wide = wide * per_unit
    mean_square = _mean_square(wide, known, axes)
    return (wide * lax.rsqrt(mean_square + eps * per_unit * per_unit) * gamma).astype(x.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _mean_square(x: Array, known: Array, axes: tuple[int, ...]) -> Array:
    """The mean of squares, which is known, as a function of x. To read x again would take a third of the time."""
    return known


@_mean_square.defjvp
def _mean_square_jvp(axes: tuple[int, ...], primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x, known), (dx, _) = primals, tangents
    return _mean_square(x, known, axes), 2 * jnp.mean(x * dx, axes, keepdims=True)


@functools.partial(jax.jit, static_argnames=("num_groups",))
def group_norm(
    x: Array, scale: Array | None = None, bias: Array | None = None, *, num_groups: int, eps: ArrayLike = 1e-5
) -> Array:
    r"""Normalize over groups of channels and all positions: the layer `fnn.group_norm` with given parameters.

    Args:
        x: floating-point, (batch, …, channels).
        scale, bias: $\gamma$ and $\beta$, (channels,); None is 1 and 0.
        num_groups: as for `fnn.group_norm`, without its default.
        eps: as for `fnn.group_norm`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.group_norm(jnp.array([[1.0, 3.0, 10.0, 30.0]]), num_groups=2).round(3).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]
    """
    checks.floating("group_norm", "x", x)
    checks.integer("group_norm", "num_groups", num_groups)
    if x.ndim < 2 or x.shape[-1] % num_groups:
        layout = f"(batch, ..., channels) with channels divisible by num_groups={num_groups}"
        raise checks.wrong_shape("group_norm", "x", layout, x)
    wide = widen(x)
    gamma, beta = affine("group_norm", scale, bias, (x.ndim - 1,), wide)
    # A group is an axis of its own; scale and bias are per channel, so they come after.
    grouped = wide.reshape(*x.shape[:-1], num_groups, x.shape[-1] // num_groups)
    y, *_ = standardize(
        grouped, *affine("group_norm", None, None, (), grouped), eps, None, (*range(1, x.ndim - 1), x.ndim)
    )
    return (y.reshape(x.shape) * gamma + beta).astype(x.dtype)


@jax.jit
def instance_norm(x: Array, scale: Array | None = None, bias: Array | None = None, *, eps: ArrayLike = 1e-5) -> Array:
    """Normalize each channel of each example over its positions: the layer `fnn.instance_norm` with given parameters.

    Args:
        x: floating-point, (batch, positions …, channels).
        scale, bias, eps: as for `group_norm`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.instance_norm(jnp.array([[[1.0, 7.0], [3.0, 7.0]]])).round(3).tolist()
        [[[-1.0, 0.0], [1.0, 0.0]]]
    """
    checks.floating("instance_norm", "x", x)
    checks.least_rank("instance_norm", "x", x, 3, "(batch, positions ..., channels)")
    wide = widen(x)
    gamma, beta = affine("instance_norm", scale, bias, (x.ndim - 1,), wide)
    return standardize(wide, gamma, beta, eps, None, tuple(range(1, x.ndim - 1)))[0].astype(x.dtype)
