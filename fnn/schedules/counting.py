"""Steps counted exactly: integers until they become a fraction."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from fnn import checks
from fnn.typing import Array, ArrayLike


def real(x: ArrayLike) -> Array:
    return jnp.asarray(x, jnp.result_type(float))


def same_kind(*numbers: ArrayLike) -> tuple[Array, ...]:
    """Integers stay integers, so that steps beyond 2^24 are compared exactly in float32 programs."""
    if all(jnp.issubdtype(jnp.result_type(n), jnp.integer) for n in numbers):
        return tuple(jnp.asarray(n, jnp.result_type(int)) for n in numbers)
    return tuple(map(real, numbers))


def since(count: ArrayLike, begin: ArrayLike) -> Array:
    """Steps after `begin`, 0 before it."""
    count, begin = same_kind(count, begin)
    return jnp.maximum(count - jnp.maximum(begin, 0), 0)


def portion(count: ArrayLike, begin: ArrayLike, steps: ArrayLike) -> Array:
    """How much of the `steps` after `begin` is done, in [0, 1]; 0 for ever if there are none."""
    steps = real(steps)
    part = real(since(count, begin)) / jnp.where(steps > 0, steps, 1)
    return jnp.where(steps > 0, jnp.clip(part, 0, 1), 0)


def power_of(base: ArrayLike, exponent: ArrayLike) -> Array:
    """`base` to the power of `exponent`, whose derivative by a base of 0 is 0: the end of a decay does not move."""
    base, exponent = real(base), real(exponent)
    return jnp.where(base > 0, jnp.where(base > 0, base, 1) ** exponent, real(0) ** exponent)


def is_past(count: ArrayLike, boundary: ArrayLike) -> Array:
    count, boundary = same_kind(count, boundary)
    return count >= boundary


def require_numbers(where: str, **given: Any) -> None:
    """Require settings that are numbers when the schedule is made, and not in the middle of a run."""
    for name, value in given.items():
        checks.in_range(where, name, value)


def require_increasing(where: str, name: str, steps: Sequence[Any]) -> None:
    require_numbers(where, **{f"{name}[{place}]": step for place, step in enumerate(steps)})
    known = [checks.to_host(step) for step in steps if checks.is_concrete(step)]
    if any(a > b for a, b in itertools.pairwise(known)):
        raise ValueError(f"{where}: expected {name} in increasing order, got {list(steps)}")
