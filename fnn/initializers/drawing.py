"""How initializers draw: flat, and in the dtype asked for."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, random_bits
from fnn.random_bits import in_one_pass
from fnn.typing import Array, DType, Initializer, Key

P = ParamSpec("P")
Draw = Callable[[Key, Sequence[int], DType], Array]


def maker(make: Callable[P, Initializer]) -> Callable[P, Initializer]:
    """Decorate a function that makes an initializer: what it makes is named by the call that made it.

    A layer that is given the function itself asks for the call.
    """

    @functools.wraps(make)
    def make_named(*args: P.args, **kwargs: P.kwargs) -> Initializer:
        checks.floating_dtype(make.__name__, "dtype", kwargs.get("dtype"), jnp.number)
        init = make(*args, **kwargs)
        init.__name__ = checks.call_text(make.__name__, args, kwargs)
        return init

    make_named.makes_an_initializer = True  # type: ignore[attr-defined]
    return make_named


def require_finite(where: str, name: str, value: Any, *, array: bool = False) -> None:
    """Require a number, real or complex, or an `array` of them: none is NaN, infinite or a truth value."""
    found = checks.to_host(checks.as_numbers(where, name, value))
    if (
        (found.ndim and not array)
        or found.dtype == bool
        or (checks.is_concrete(found) and not np.isfinite(found).all())
    ):
        raise checks.not_one(where, name, "finite numbers" if array else "one finite number", value)


def resolve_dtype(dtype: DType | None) -> Any:
    """The dtype asked for; `float` and None are the default precision."""
    return jnp.result_type(float if dtype is None else dtype)


def draw_flat(draw: Draw, key: Key, shape: Sequence[int], dtype: Any) -> Array:
    """An array from `draw`, drawn flat: the same numbers, and the program compiles in a third of the time."""
    return draw(in_one_pass(key), (math.prod(shape),), dtype).reshape(shape)


def _random_complex(key: Key, radius: Callable[[Array], Array], shape: Sequence[int], dtype: Any) -> Array:
    """Complex numbers of a random modulus, `radius` of a uniform one, in a random direction."""
    key_radius, key_angle = random_bits.split(key)
    real = jnp.finfo(dtype).dtype
    angle = jnp.asarray(2 * math.pi, dtype) * jax.random.uniform(key_angle, shape, real).astype(dtype)
    return radius(jax.random.uniform(key_radius, shape, real)).astype(dtype) * jnp.exp(jnp.asarray(1j, dtype) * angle)


def uniform_on_disk(key: Key, shape: Sequence[int], dtype: Any) -> Array:
    """Uniform on the disk around 0 that has variance 1."""
    return _random_complex(key, lambda u: jnp.sqrt(2 * u), shape, dtype)


def truncated_complex_normal(key: Key, shape: Sequence[int], dtype: Any) -> Array:
    """A complex normal of variance 1, cut off at modulus 2."""
    return _random_complex(key, lambda u: jnp.sqrt(-jnp.log(1 - (1 - math.exp(-4.0)) * u)), shape, dtype)
