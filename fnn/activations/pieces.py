"""What several activations are made of."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, ParamSpec

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from fnn import checks
from fnn.precision import wide_dtype, widen
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
        if isinstance(x := args[0] if args else kwargs["x"], tuple | dict):
            raise checks.not_an_array(function.__name__, "x", x)
        return function(*args, **kwargs)

    return of_array


def as_floating(where: str, x: ArrayLike, name: str = "x") -> Array:
    """`x` as a floating-point array; integers become numbers of the default precision, as in `jax.nn`."""
    if isinstance(x, jax.Array | np.ndarray | np.generic | int) and jnp.issubdtype(jnp.result_type(x), jnp.integer):
        return jnp.asarray(x, float)
    checks.floating(where, name, x)
    return jnp.asarray(x)


def parameter(value: ArrayLike, x: Array) -> Array:
    return jnp.asarray(value, wide_dtype(x))


def require_finite(where: str, name: str, value: ArrayLike, *, zero: bool = True) -> None:
    """Require a setting by which every x has a value: 0 · ∞ has none, nor has a formula divided by 0."""
    checks.in_range(where, name, value, -math.inf, math.inf, open="both")
    if not zero and checks.is_concrete(value) and np.any(checks.to_host(value) == 0):
        raise ValueError(f"{where}: expected {name} other than 0")


def require_order(where: str, lower: ArrayLike, upper: ArrayLike) -> None:
    checks.in_range(where, "lower", lower, -math.inf, math.inf)
    checks.in_range(where, "upper", upper, -math.inf, math.inf)
    if not (checks.is_concrete(lower) and checks.is_concrete(upper)):
        return
    if np.any(checks.to_host(lower) > checks.to_host(upper)):
        raise ValueError(f"{where}: expected lower <= upper, got {lower} and {upper}")


def times(x: Array, gate: Array) -> Array:
    """x·gate, and 0 where the gate is 0: at infinity too, where the product is not a number. The derivative by the gate
    is x, at 0 too."""
    return jnp.where((gate == 0) & jnp.isinf(x), jnp.sign(x), x) * gate


def with_slopes(value: Callable[..., Array], *slopes: Callable[..., Array]) -> Callable[..., Array]:
    """`value`, elementwise in the dtype of its first argument, whose derivative in each argument is a given formula.

    The automatic derivative of tanh, 1 - tanh², is 0 from x = 10 on, where 4σ(2x)σ(-2x) has all its digits.
    """

    @jax.custom_jvp
    def function(*given: Array) -> Array:
        return value(*map(widen, given)).astype(given[0].dtype)

    @functools.partial(function.defjvp, symbolic_zeros=True)
    def jvp(given: tuple[Array, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
        y, dtype = function(*given), given[0].dtype
        terms = [
            slope(*map(widen, given)).astype(dtype) * tangent.astype(dtype)
            for slope, tangent in zip(slopes, tangents, strict=True)
            if not isinstance(tangent, SymbolicZero)
        ]
        return y, functools.reduce(jnp.add, terms, jnp.zeros_like(y)) if len(terms) != 1 else terms[0]

    return function


def clamp(low: float, high: float) -> Callable[[Array], Array]:
    """x between two bounds, with slope 1 strictly between them and 0 elsewhere."""
    return with_slopes(
        lambda x: jnp.clip(x, low, high), lambda x: jnp.where((x > low) & (x < high), jnp.ones_like(x), 0)
    )
