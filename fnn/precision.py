"""In which dtype sums and statistics are taken."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from fnn.typing import Array, DType

__all__ = ["wide_dtype", "widen"]


def wide_dtype(x: Any) -> DType:
    """float64 for float64, else float32: sums over a batch keep their digits, no step of a formula overflows.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.wide_dtype(jnp.ones(2, jnp.bfloat16))
        dtype('float32')
    """
    dtype = jnp.result_type(x)
    return dtype if dtype == jnp.float64 else jnp.dtype(jnp.float32)


def widen(x: Array) -> Array:
    """`x` in `wide_dtype(x)`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.kernels.widen(jnp.ones(2, jnp.float16)).dtype
        dtype('float32')
    """
    return x.astype(wide_dtype(x))
