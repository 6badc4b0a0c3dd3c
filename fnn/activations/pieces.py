"""What several activations are made of."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.typing import Array, ArrayLike

P = ParamSpec("P")


def of_arrays(function: Callable[P, Array]) -> Callable[P, Array]:
    """A function of arrays that says so when it is called without one, as the constructor of a layer would be."""

    @functools.wraps(function)
    def of_array(*args: P.args, **kwargs: P.kwargs) -> Array:
        if not args and "x" not in kwargs:
            name = function.__name__
            raise TypeError(
                f"{name}: expected an array x, got none; as a layer write fnn.{name} without parentheses, or "
                f"functools.partial(fnn.{name}, …) with settings"
            )
        return function(*args, **kwargs)

    return of_array


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
