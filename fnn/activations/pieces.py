"""What several activations are made of."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.typing import Array, ArrayLike


def floating(where: str, x: ArrayLike) -> Array:
    checks.floating(where, "x", x)
    return jnp.asarray(x)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def clamped(x: Array, low: float, high: float) -> Array:
    return jnp.clip(x, low, high)


@clamped.defjvp
def _clamped_jvp(low: float, high: float, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (t,) = primals, tangents
    return jnp.clip(x, low, high), jnp.where((x > low) & (x < high), t, 0)
