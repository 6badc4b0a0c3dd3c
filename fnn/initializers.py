"""Initializers: `(key, shape, dtype) -> array`, with the names, arguments and numbers of `jax.nn.initializers`.

The same key gives the same array as there. A kernel has shape (…, in, out): what stands before the last two axes is the
receptive field of a convolution and counts in both fans.

Equal weights never separate: units that start alike get equal gradients and stay alike, so a network whose kernels
start from `constant` learns as if each hidden layer had one unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.typing import Array, ArrayLike, DType, Initializer, Key

__all__ = [
    "constant",
    "delta_orthogonal",
    "gain",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "per_gate",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

Draw = Callable[[Key, Sequence[int], DType], Array]


def _dtype(dtype: DType) -> Any:
    return jnp.result_type(float if dtype is None else dtype)


def _drawn(draw: Draw, key: Key, shape: Sequence[int], dtype: Any) -> Array:
    # Drawn flat: the numbers are the same, and the program compiles in a third of the time.
    return draw(key, (math.prod(shape),), dtype).reshape(shape)


def zeros(key: Key | None, shape: Sequence[int], dtype: DType = float) -> Array:
    """$w = 0$.

    Args:
        key: unused.
        shape: shape of the array.
        dtype: dtype of the array.

    Example:
        >>> import fnn
        >>> fnn.initializers.zeros(None, (2,)).tolist()
        [0.0, 0.0]
    """
    return jnp.zeros(shape, _dtype(dtype))


def ones(key: Key | None, shape: Sequence[int], dtype: DType = float) -> Array:
    """$w = 1$.

    Args:
        key: unused.
        shape: shape of the array.
        dtype: dtype of the array.

    Example:
        >>> import fnn
        >>> fnn.initializers.ones(None, (2,)).tolist()
        [1.0, 1.0]
    """
    return jnp.ones(shape, _dtype(dtype))


def constant(value: ArrayLike, dtype: DType = float) -> Initializer:
    """$w = c$. For biases: kernels that start equal stay equal, and their units never learn different things.

    Args:
        value: $c$, a number or anything that broadcasts to the shape.
        dtype: dtype unless the call gives one.

    Example:
        >>> import fnn
        >>> fnn.initializers.constant(3)(None, (2,)).tolist()
        [3.0, 3.0]
    """

    def init(key: Key | None, shape: Sequence[int], dtype: DType = dtype) -> Array:
        return jnp.full(shape, value, _dtype(dtype))

    return init


def identity(gain: ArrayLike = 1.0, dtype: DType = float) -> Initializer:
    """$W = g I$: the layer starts as the identity; a recurrent kernel keeps its state.

    Args:
        gain: $g$.
        dtype: dtype unless the call gives one.

    Returns:
        An initializer of matrices; one that is not square gets an identity in its corner and zeros beside it.

    Example:
        >>> import fnn
        >>> fnn.initializers.identity()(None, (2, 3)).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]

    References:
        Le, Jaitly and Hinton, A simple way to initialize recurrent networks of rectified linear units, 2015.
    """

    def init(key: Key | None, shape: Sequence[int], dtype: DType = dtype) -> Array:
        if len(shape) != 2:
            raise ValueError(f"identity: expected the shape of a matrix, got {tuple(shape)}")
        return jnp.asarray(gain, _dtype(dtype)) * jnp.eye(shape[0], shape[1], dtype=_dtype(dtype))

    return init


def uniform(scale: ArrayLike = 1e-2, dtype: DType = float) -> Initializer:
    """$w \\sim U[0, s)$.

    Args:
        scale: $s$.
        dtype: dtype unless the call gives one.

    Example:
        >>> import jax, fnn
        >>> w = fnn.initializers.uniform(5.0)(jax.random.key(0), (100,))
        >>> bool((w >= 0).all() & (w < 5).all())
        True
    """

    def init(key: Key, shape: Sequence[int], dtype: DType = dtype) -> Array:
        dtype = _dtype(dtype)
        return _drawn(jax.random.uniform, key, shape, dtype) * jnp.asarray(scale, dtype)

    return init


def normal(stddev: ArrayLike = 1e-2, dtype: DType = float) -> Initializer:
    """$w \\sim N(0, σ^2)$.

    Args:
        stddev: $σ$.
        dtype: dtype unless the call gives one.

    Example:
        >>> import jax, fnn
        >>> bool(abs(fnn.initializers.normal(2.0)(jax.random.key(0), (10_000,)).std() - 2) < 0.05)
        True
    """

    def init(key: Key, shape: Sequence[int], dtype: DType = dtype) -> Array:
        dtype = _dtype(dtype)
        return _drawn(jax.random.normal, key, shape, dtype) * jnp.asarray(stddev, dtype)

    return init


def truncated_normal(
    stddev: ArrayLike = 1e-2, dtype: DType = float, lower: ArrayLike = -2.0, upper: ArrayLike = 2.0
) -> Initializer:
    """$w \\sim N(0, σ^2)$ between `lower` σ and `upper` σ; its standard deviation is smaller than σ.

    Args:
        stddev: $σ$ before truncation.
        dtype: dtype unless the call gives one.
        lower, upper: bounds in units of σ.

    Example:
        >>> import jax, fnn
        >>> bool(abs(fnn.initializers.truncated_normal(1.0)(jax.random.key(0), (1000,))).max() <= 2)
        True
    """

    def init(key: Key, shape: Sequence[int], dtype: DType = dtype) -> Array:
        dtype = _dtype(dtype)
        drawn = _drawn(lambda k, s, d: jax.random.truncated_normal(k, lower, upper, s, d), key, shape, dtype)
        return drawn * jnp.asarray(stddev, dtype)

    return init


def _fans(shape: Sequence[int], in_axis: Any, out_axis: Any, batch_axis: Any) -> tuple[float, float]:
    """$n_{in}$ and $n_{out}$: connections into and out of one unit."""
    if len(shape) < 2:
        raise ValueError(
            f"variance_scaling: expected a kernel of at least two axes (in, out), got shape {tuple(shape)}"
        )

    def size(axes: Any) -> int:
        return math.prod(shape[axis] for axis in ((axes,) if isinstance(axes, int) else axes))

    n_in, n_out = size(in_axis), size(out_axis)
    field = math.prod(shape) / max(n_in * n_out * size(batch_axis), 1)
    return n_in * field, n_out * field


def variance_scaling(
    scale: ArrayLike,
    mode: str,
    distribution: str,
    in_axis: int | Sequence[int] = -2,
    out_axis: int | Sequence[int] = -1,
    batch_axis: int | Sequence[int] = (),
    dtype: DType = float,
) -> Initializer:
    r"""Zero mean and variance $s/n$, $n$ the fan-in, fan-out, their mean, or $\sqrt{n_{in} n_{out}}$.

    Args:
        scale: $s$.
        mode: "fan_in", "fan_out", "fan_avg" or "fan_geo_avg".
        distribution: "truncated_normal", "normal" or "uniform" on $±\sqrt{3s/n}$.
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

    def init(key: Key, shape: Sequence[int], dtype: DType = dtype) -> Array:
        n_in, n_out = _fans(shape, in_axis, out_axis, batch_axis)
        dtype = _dtype(dtype)
        fans = {"fan_in": n_in, "fan_out": n_out, "fan_avg": (n_in + n_out) / 2, "fan_geo_avg": math.sqrt(n_in * n_out)}
        variance = jnp.asarray(scale / max(fans[mode], 1), dtype)
        if distribution == "normal":
            return _drawn(jax.random.normal, key, shape, dtype) * jnp.sqrt(variance)
        if distribution == "uniform":
            drawn = _drawn(lambda k, s, d: jax.random.uniform(k, s, d, -1), key, shape, dtype)
            return drawn * jnp.sqrt(3 * variance)
        # 0.8796… is the standard deviation of a normal cut off at ±2.
        stddev = jnp.sqrt(variance) / jnp.asarray(0.87962566103423978, dtype)
        return _drawn(lambda k, s, d: jax.random.truncated_normal(k, -2, 2, s, d), key, shape, dtype) * stddev

    return init


def glorot_uniform(
    in_axis: int | Sequence[int] = -2,
    out_axis: int | Sequence[int] = -1,
    batch_axis: int | Sequence[int] = (),
    dtype: DType = float,
) -> Initializer:
    r"""$w \sim U(±\sqrt{6/(n_{in} + n_{out})})$, for tanh and sigmoid. Also called Xavier.

    Args:
        in_axis, out_axis, batch_axis, dtype: as for `variance_scaling`.

    Example:
        >>> import jax, fnn
        >>> w = fnn.initializers.glorot_uniform()(jax.random.key(0), (3, 3))
        >>> bool(abs(w).max() <= 1)
        True

    References:
        Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.
    """
    return variance_scaling(1.0, "fan_avg", "uniform", in_axis, out_axis, batch_axis, dtype)


def glorot_normal(
    in_axis: int | Sequence[int] = -2,
    out_axis: int | Sequence[int] = -1,
    batch_axis: int | Sequence[int] = (),
    dtype: DType = float,
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


def lecun_uniform(
    in_axis: int | Sequence[int] = -2,
    out_axis: int | Sequence[int] = -1,
    batch_axis: int | Sequence[int] = (),
    dtype: DType = float,
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


def lecun_normal(
    in_axis: int | Sequence[int] = -2,
    out_axis: int | Sequence[int] = -1,
    batch_axis: int | Sequence[int] = (),
    dtype: DType = float,
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


def he_uniform(
    in_axis: int | Sequence[int] = -2,
    out_axis: int | Sequence[int] = -1,
    batch_axis: int | Sequence[int] = (),
    dtype: DType = float,
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


def he_normal(
    in_axis: int | Sequence[int] = -2,
    out_axis: int | Sequence[int] = -1,
    batch_axis: int | Sequence[int] = (),
    dtype: DType = float,
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


def orthogonal(scale: ArrayLike = 1.0, column_axis: int = -1, dtype: DType = float) -> Initializer:
    r"""A random matrix with orthonormal columns (or rows, whichever are fewer), times $s$: $W^\top W = s^2 I$.

    Args:
        scale: $s$.
        column_axis: the axis of the outputs; all others together are the inputs.
        dtype: dtype unless the call gives one.

    Raises:
        ValueError: for a shape of fewer than two axes.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> w = fnn.initializers.orthogonal()(jax.random.key(0), (3, 3))
        >>> bool(jnp.allclose(w.T @ w, jnp.eye(3), atol=1e-6))
        True

    References:
        Saxe, McClelland and Ganguli, Exact solutions to the nonlinear dynamics of learning, 2014.
    """

    def init(key: Key, shape: Sequence[int], dtype: DType = dtype) -> Array:
        if len(shape) < 2:
            raise ValueError(f"orthogonal: expected a kernel of at least two axes, got shape {tuple(shape)}")
        dtype = _dtype(dtype)
        columns = shape[column_axis]
        rest = [size for axis, size in enumerate(shape) if axis != column_axis % len(shape)]
        rows = math.prod(rest)
        wide = dtype if dtype == jnp.float64 else jnp.dtype(jnp.float32)
        q, r = jnp.linalg.qr(_drawn(jax.random.normal, key, (max(rows, columns), min(rows, columns)), wide))
        # The signs of R's diagonal make the result uniform over all such matrices.
        q = q * jnp.sign(jnp.diag(r))
        q = (q.T if columns < rows else q).reshape(columns, *rest)
        return (jnp.asarray(scale, wide) * jnp.moveaxis(q, 0, column_axis)).astype(dtype)

    return init


def delta_orthogonal(scale: ArrayLike = 1.0, column_axis: int = -1, dtype: DType = float) -> Initializer:
    """A convolution kernel that is orthogonal at its centre and 0 around it: signals pass without changing length.

    Args:
        scale: factor of the orthogonal matrix.
        column_axis: the axis of the outputs.
        dtype: dtype unless the call gives one.

    Raises:
        ValueError: for other than 3 to 5 axes, or more input than output channels.

    Example:
        >>> import jax, fnn
        >>> w = fnn.initializers.delta_orthogonal()(jax.random.key(0), (3, 3, 2, 4))
        >>> bool((w[0] == 0).all()), w.shape
        (True, (3, 3, 2, 4))

    References:
        Xiao et al., Dynamical isometry and a mean field theory of CNNs, 2018.
    """

    def init(key: Key, shape: Sequence[int], dtype: DType = dtype) -> Array:
        if len(shape) not in (3, 4, 5):
            raise ValueError(
                f"delta_orthogonal: expected a convolution kernel of 3 to 5 axes, got shape {tuple(shape)}"
            )
        if shape[-1] < shape[-2]:
            raise ValueError(f"delta_orthogonal: expected no more input than output channels, got shape {tuple(shape)}")
        kernel = orthogonal(scale, column_axis, dtype)(key, tuple(shape[-2:]), dtype)
        centre = tuple((size - 1) // 2 for size in shape[:-2])
        return jnp.zeros(shape, _dtype(dtype)).at[centre].set(kernel)

    return init


def per_gate(initializer: Initializer, gates: int) -> Initializer:
    """Draw each gate of a recurrent kernel (in, gates·features) on its own: its fans, its orthogonality are right.

    Args:
        initializer: for one gate, (in, features).
        gates: number of gates along the last axis: 4 for an LSTM, 3 for a GRU.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> u = fnn.initializers.per_gate(fnn.initializers.orthogonal(), 4)(jax.random.key(0), (3, 12), jnp.float32)
        >>> bool(jnp.allclose(u[:, 3:6].T @ u[:, 3:6], jnp.eye(3), atol=1e-6))
        True
    """

    def init(key: Key, shape: Sequence[int], dtype: DType = float) -> Array:
        if shape[-1] % gates:
            raise ValueError(f"per_gate: expected a last axis of {gates} equal gates, got shape {tuple(shape)}")
        one = (*shape[:-1], shape[-1] // gates)
        parts = [initializer(k, one, dtype) for k in jax.random.split(key, gates)]
        return jnp.concatenate(parts, axis=-1)

    return init


_GAINS = {
    "identity": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}


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
    name = activation if isinstance(activation, str) else getattr(activation, "__name__", repr(activation))
    if name == "leaky_relu":
        return math.sqrt(2 / (1 + slope**2))
    checks.one_of("gain", "activation", name, (*_GAINS, "leaky_relu"))
    return _GAINS[name]
