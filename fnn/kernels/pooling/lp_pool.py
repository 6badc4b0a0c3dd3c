"""The p-norm of each window."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.kernels.mesh_axes import auto_axes, rows_and_features
from fnn.kernels.pooling.windows import pool_windows
from fnn.kernels.sliding_windows import Padding, PerAxis, Windows, pad, taps
from fnn.precision import widen
from fnn.typing import Array

__all__ = ["lp_pool"]


def lp_pool(
    x: Array,
    window: PerAxis,
    p: float = 2,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "VALID",
    dilation: PerAxis = 1,
) -> Array:
    """The p-norm of each window: the layer `fnn.lp_pool` of an array.

    Args:
        x: (batch, *spatial, channels).
        window, p, stride, padding, dilation: as for `fnn.lp_pool`.

    Returns:
        (batch, *`conv_output_size`, channels); sums do not overflow.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.lp_pool(jnp.array([3.0, -4.0]).reshape(1, 2, 1), 2).ravel().tolist()
        [5.0]
    """
    if not checks.is_concrete(p) or np.ndim(p):
        raise TypeError(f"lp_pool: expected p to be a Python number, got {checks.describe(p)}")
    checks.in_range("lp_pool", "p", p, 1)
    p = np.asarray(checks.to_host(p)).item()
    windows = pool_windows("lp_pool", x, window, stride, padding, dilation)
    return auto_axes(lambda x: _lp_pool(x, windows, p), rows_and_features("lp_pool", x))(x)


@functools.partial(jax.jit, static_argnames=("windows", "p"))
def _lp_pool(x: Array, windows: Windows, p: float) -> Array:
    seen = list(taps(pad(widen(x), windows.padding), windows))
    # The norm is homogeneous: dividing a window by its largest value can neither overflow nor lose small ones.
    scale = jax.lax.stop_gradient(functools.reduce(jnp.maximum, map(jnp.abs, seen)))
    scale = jnp.where((scale > 0) & jnp.isfinite(scale), scale, 1)
    total = functools.reduce(jnp.add, [_power(tap / scale, p) for tap in seen])
    some = total > 0
    norm = jnp.where(some, jnp.where(some, total, 1) ** (1 / p), 0)
    return (scale * norm).astype(x.dtype)


def _power(x: Array, p: float) -> Array:
    """|x|^p, with the derivatives of 0 at 0 (the true ones for p = 2, 4, … and p > 2)."""
    if p == int(p) and int(p) % 2 == 0:
        return jax.lax.integer_pow(x, int(p))
    zero = x == 0
    return jnp.where(zero, 0, jnp.abs(jnp.where(zero, 1, x)) ** p)
