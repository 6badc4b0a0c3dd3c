"""Initializers that keep lengths."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from fnn import checks, random_bits
from fnn.initializers.drawing import draw_flat, maker, require_finite, resolve_dtype
from fnn.typing import Array, ArrayLike, DType, Initializer, Key

__all__ = ["delta_orthogonal", "orthogonal", "per_gate"]


def _factors(a: Array) -> tuple[Array, Array]:
    q, r = jnp.linalg.qr(a)
    return q, r


_qr = jax.custom_batching.custom_vmap(_factors)


@_qr.def_vmap
def _qr_of_many(size: int, batched: list[bool], many: Array) -> tuple[tuple[Array, Array], tuple[bool, bool]]:
    """On a CPU one after another: LAPACK on a batch waits in XLA's threads for XLA's threads.

    Two such calls at once, for instance those of two layers of a model initialized under `vmap`, hold every thread of a
    machine with two cores and never end.
    """
    one_by_one = functools.partial(jax.lax.map, _qr)
    return jax.lax.platform_dependent(many, cpu=one_by_one, default=_factors), (True, True)


@maker
def orthogonal(scale: ArrayLike = 1.0, column_axis: int = -1, dtype: DType | None = None) -> Initializer:
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
    require_finite("orthogonal", "scale", scale)
    column_axis = checks.integer("orthogonal", "column_axis", column_axis, None)

    def init(key: Key, shape: Sequence[int], dtype: DType | None = dtype) -> Array:
        if len(shape) < 2:
            raise checks.wrong_shape("orthogonal", "a kernel", "(..., in, out)", tuple(shape))
        dtype = resolve_dtype(dtype)
        column = checks.axis("orthogonal", "column_axis", column_axis, len(shape))
        columns, rest = shape[column], [size for axis, size in enumerate(shape) if axis != column]
        rows = math.prod(rest)
        wide = jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else dtype  # LAPACK has no half precision.
        if not math.prod(shape):
            return jnp.zeros(shape, dtype)
        q, r = _qr(draw_flat(jax.random.normal, key, (max(rows, columns), min(rows, columns)), wide))
        # The signs of R's diagonal make the result uniform over all such matrices.
        q = q * jnp.sign(jnp.diag(r))[None]
        q = (q.T if columns < rows else q).reshape(columns, *rest)
        return (jnp.asarray(scale, wide) * jnp.moveaxis(q, 0, column)).astype(dtype)

    return init


@maker
def delta_orthogonal(scale: ArrayLike = 1.0, column_axis: int = -1, dtype: DType | None = None) -> Initializer:
    """A convolution kernel that is orthogonal at its centre and 0 around it: signals pass without changing length.

    Args:
        scale, column_axis, dtype: as for `orthogonal`.

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
    require_finite("delta_orthogonal", "scale", scale)
    column_axis = checks.integer("delta_orthogonal", "column_axis", column_axis, None)

    def init(key: Key, shape: Sequence[int], dtype: DType | None = dtype) -> Array:
        if len(shape) not in (3, 4, 5):
            raise ValueError(
                f"delta_orthogonal: expected a convolution kernel of 3 to 5 axes, got shape {tuple(shape)}"
            )
        if shape[-1] < shape[-2]:
            raise ValueError(f"delta_orthogonal: expected no more input than output channels, got shape {tuple(shape)}")
        kernel = orthogonal(scale, column_axis, dtype)(key, tuple(shape[-2:]), dtype)
        centre = tuple((size - 1) // 2 for size in shape[:-2])
        return jnp.zeros(shape, resolve_dtype(dtype)).at[centre].set(kernel)

    return init


@maker
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
    checks.instance("per_gate", "initializer", initializer, Callable, "a function that draws one gate")
    gates = checks.integer("per_gate", "gates", gates)

    def init(key: Key, shape: Sequence[int], dtype: DType | None = None) -> Array:
        if shape[-1] % gates:
            raise ValueError(f"per_gate: expected a last axis of {gates} equal gates, got shape {tuple(shape)}")
        one = (*shape[:-1], shape[-1] // gates)
        parts = [initializer(k, one, dtype) for k in random_bits.split(key, gates)]
        return jnp.concatenate(parts, axis=-1)

    return init
