"""Initializers scaled by the number of connections, so that signals keep their size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from fnn import activations, checks
from fnn.initializers.drawing import draw_flat, maker, resolve_dtype, truncated_complex_normal, uniform_on_disk
from fnn.typing import Array, ArrayLike, DType, Initializer, Key

__all__ = [
    "gain",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
]

Axes: TypeAlias = int | Sequence[int]


def _fans(shape: Sequence[int], in_axis: Axes, out_axis: Axes, batch_axis: Axes) -> tuple[float, float]:
    """$n_{in}$ and $n_{out}$: connections into and out of one unit."""
    where = "variance_scaling"
    if len(shape) < 2 and (in_axis, out_axis) == (-2, -1):
        repair = "write in_axis= and out_axis= if its inputs and outputs are elsewhere"
        raise checks.wrong_shape(where, "a kernel", "(..., in, out)", tuple(shape), repair)
    given = {"in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch_axis}
    found = [checks.axes(where, name, axes, len(shape), 0) for name, axes in given.items()]
    checks.axes(where, ", ".join(given), sum(found, ()), len(shape), 0)
    n_in, n_out, kernels = (math.prod(shape[axis] for axis in axes) for axes in found)
    field = math.prod(shape) / max(n_in * n_out * kernels, 1)
    return n_in * field, n_out * field


@maker
def variance_scaling(
    scale: ArrayLike,
    mode: str,
    distribution: str,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DType | None = None,
) -> Initializer:
    r"""Zero mean and variance $s/n$, $n$ the fan-in, fan-out, their mean, or $\sqrt{n_{in} n_{out}}$.

    Args:
        scale: $s$.
        mode: "fan_in", "fan_out", "fan_avg" or "fan_geo_avg".
        distribution: "truncated_normal", "normal" or "uniform" on $±\sqrt{3s/n}$; in a complex dtype on a disk.
        in_axis, out_axis: axes that are inputs and outputs; all others but `batch_axis` are receptive field.
        batch_axis: axes of independent kernels.
        dtype: dtype unless the call gives one.

    Raises:
        ValueError: for an unknown mode or distribution, or a shape of fewer than two axes.

    Example:
        >>> import jax, fnn
        >>> w = fnn.initializers.variance_scaling(1.0, "fan_in", "normal")(jax.random.key(0), (400, 100))
        >>> bool(abs(w.var() - 1 / 400) < 1e-4)
        True

    References:
        Glorot and Bengio, 2010. He et al., 2015.
    """
    checks.one_of("variance_scaling", "mode", mode, ("fan_in", "fan_out", "fan_avg", "fan_geo_avg"))
    checks.one_of("variance_scaling", "distribution", distribution, ("truncated_normal", "normal", "uniform"))
    checks.in_range("variance_scaling", "scale", scale, 0)

    def init(key: Key, shape: Sequence[int], dtype: DType | None = dtype) -> Array:
        n_in, n_out = _fans(shape, in_axis, out_axis, batch_axis)
        dtype = resolve_dtype(dtype)
        fans = {"fan_in": n_in, "fan_out": n_out, "fan_avg": (n_in + n_out) / 2, "fan_geo_avg": math.sqrt(n_in * n_out)}
        variance = jnp.asarray(scale / max(fans[mode], 1), dtype)
        if distribution == "normal":
            return draw_flat(jax.random.normal, key, shape, dtype) * jnp.sqrt(variance)
        if jnp.issubdtype(dtype, jnp.complexfloating):
            # 0.9531… is the standard deviation of a complex normal cut off at modulus 2.
            disk = distribution == "uniform"
            stddev = jnp.sqrt(variance) / (1 if disk else jnp.asarray(0.95311164380491208, dtype))
            return draw_flat(uniform_on_disk if disk else truncated_complex_normal, key, shape, dtype) * stddev
        if distribution == "uniform":
            values = draw_flat(lambda k, s, d: jax.random.uniform(k, s, d, -1), key, shape, dtype)
            return values * jnp.sqrt(3 * variance)
        # 0.8796… is the standard deviation of a normal cut off at ±2.
        stddev = jnp.sqrt(variance) / jnp.asarray(0.87962566103423978, dtype)
        return draw_flat(lambda k, s, d: jax.random.truncated_normal(k, -2, 2, s, d), key, shape, dtype) * stddev

    return init


@maker
def glorot_uniform(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: DType | None = None
) -> Initializer:
    r"""$w \sim U(±\sqrt{6/(n_{in} + n_{out})})$, for tanh and sigmoid. Also called Xavier.

    Args:
        in_axis, out_axis, batch_axis, dtype: as for `variance_scaling`.

    Example:
        >>> import jax, fnn
        >>> bool(abs(fnn.initializers.glorot_uniform()(jax.random.key(0), (3, 3))).max() <= 1)
        True

    References:
        Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.
    """
    return variance_scaling(1.0, "fan_avg", "uniform", in_axis, out_axis, batch_axis, dtype)


@maker
def glorot_normal(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: DType | None = None
) -> Initializer:
    r"""Truncated normal of variance $2/(n_{in} + n_{out})$. Also called Xavier.

    Args:
        in_axis, out_axis, batch_axis, dtype: as for `variance_scaling`.

    Example:
        >>> import jax, fnn
        >>> fnn.initializers.glorot_normal()(jax.random.key(0), (3, 4)).shape
        (3, 4)

    References:
        Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.
    """
    return variance_scaling(1.0, "fan_avg", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


@maker
def lecun_uniform(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: DType | None = None
) -> Initializer:
    r"""$w \sim U(±\sqrt{3/n_{in}})$.

    Args:
        in_axis, out_axis, batch_axis, dtype: as for `variance_scaling`.

    Example:
        >>> import jax, fnn
        >>> bool(abs(fnn.initializers.lecun_uniform()(jax.random.key(0), (3, 9))).max() <= 1)
        True

    References:
        LeCun et al., Efficient BackProp, 1998.
    """
    return variance_scaling(1.0, "fan_in", "uniform", in_axis, out_axis, batch_axis, dtype)


@maker
def lecun_normal(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: DType | None = None
) -> Initializer:
    r"""Truncated normal of variance $1/n_{in}$.

    Args:
        in_axis, out_axis, batch_axis, dtype: as for `variance_scaling`.

    Example:
        >>> import jax, fnn
        >>> fnn.initializers.lecun_normal()(jax.random.key(0), (3, 4)).shape
        (3, 4)

    References:
        LeCun et al., Efficient BackProp, 1998.
    """
    return variance_scaling(1.0, "fan_in", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


@maker
def he_uniform(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: DType | None = None
) -> Initializer:
    r"""$w \sim U(±\sqrt{6/n_{in}})$, for relu. Also called Kaiming.

    Args:
        in_axis, out_axis, batch_axis, dtype: as for `variance_scaling`.

    Example:
        >>> import jax, fnn
        >>> bool(abs(fnn.initializers.he_uniform()(jax.random.key(0), (6, 9))).max() <= 1)
        True

    References:
        He et al., Delving deep into rectifiers, 2015.
    """
    return variance_scaling(2.0, "fan_in", "uniform", in_axis, out_axis, batch_axis, dtype)


@maker
def he_normal(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: DType | None = None
) -> Initializer:
    r"""Truncated normal of variance $2/n_{in}$, for relu. Also called Kaiming.

    Args:
        in_axis, out_axis, batch_axis, dtype: as for `variance_scaling`.

    Example:
        >>> import jax, fnn
        >>> fnn.initializers.he_normal()(jax.random.key(0), (3, 4)).shape
        (3, 4)

    References:
        He et al., Delving deep into rectifiers, 2015.
    """
    return variance_scaling(2.0, "fan_in", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


xavier_uniform, xavier_normal = glorot_uniform, glorot_normal
kaiming_uniform, kaiming_normal = he_uniform, he_normal


_GAINS = {"identity": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


def _name_of(activation: Callable[..., Any]) -> str:
    """Which of those it is, ours or JAX's: the function itself, not what a function of the user's is called."""
    for name in (*_GAINS, "leaky_relu"):
        if activation in (getattr(activations, name), getattr(jax.nn, name)):
            return name
    return repr(activation)


def gain(activation: str | Callable[..., Any], slope: float = 0.01) -> float:
    r"""Factor on the standard deviation that keeps a signal's size through an activation.

    identity and sigmoid 1, tanh 5/3, relu $\sqrt2$, leaky_relu $\sqrt{2/(1 + α^2)}$, selu 3/4.

    Args:
        activation: its name, or the function.
        slope: $α$ of leaky_relu.

    Returns:
        $g$; `variance_scaling(g**2, "fan_in", "normal")` uses it.

    Raises:
        ValueError: for an activation without a known gain.

    Example:
        >>> import fnn
        >>> round(fnn.initializers.gain(fnn.relu) ** 2, 6)
        2.0

    References:
        He et al., Delving deep into rectifiers, 2015.
    """
    checks.instance("gain", "activation", activation, str | Callable, "the name of an activation or the function")
    checks.in_range("gain", "slope", slope)
    name = activation if isinstance(activation, str) else _name_of(activation)
    if name == "leaky_relu":
        return math.sqrt(2 / (1 + slope**2))
    checks.one_of("gain", "activation", name, (*_GAINS, "leaky_relu"))
    return _GAINS[name]
