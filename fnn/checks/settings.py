"""Settings: numbers, words and functions that configure something."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Collection, Mapping, Set
from decimal import Decimal
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checks.words import bare, describe, describe_given, hint_of, is_concrete, name_of, to_host
from fnn.typing import Array, ArrayLike


def in_range(
    where: str, name: str, value: Any, low: ArrayLike | None = None, high: ArrayLike | None = None, *, open: str = ""
) -> None:
    """Require low <= value <= high; `open` is "low", "high" or "both" where an end is excluded.

    Where there is no end the value is finite; `math.inf` as an end allows infinity.
    """
    if callable(value):
        raise TypeError(
            f"{where}: expected {name} to be a number, got {name_of(value)}; a schedule stands only where "
            "a learning rate or a weight decay is asked for"
        )
    _require_real(where, name, value)
    if not all(map(is_concrete, (value, low, high))):
        return
    value, low, high = map(to_host, (value, low, high))
    above_low, below_high = open in ("low", "both") or low is None, open in ("high", "both") or high is None
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    inside = (value > low if above_low else value >= low) & (value < high if below_high else value <= high)
    if not np.all(inside):
        bounds = f"{'(['[not above_low]}{low}, {high}{')]'[not below_high]}"
        raise ValueError(f"{where}: expected {name} in {bounds}, got {value}")


def _require_real(where: str, name: str, value: Any) -> None:
    """Require a real number or an array of them; of a traced one the dtype is known. True is no number."""
    if isinstance(value, bool | np.bool_):
        raise not_one(where, name, "a number", bool(value), f"write {float(value)} if that is meant")
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        found = any(jnp.issubdtype(value.dtype, kind) for kind in (np.integer, np.floating))
    else:
        found = isinstance(value, int | float) and np.asarray(value).dtype != object  # an int of more than 64 bits
    if not found:
        kind = "a real number" if np.iscomplexobj(value) else "a number"
        repair = f"write float({name})" if isinstance(value, numbers.Real | Decimal) else ""
        raise TypeError(f"{where}: expected {name} to be {kind}, got {value!r}{hint_of(repair)}")


def number_or_schedule(where: str, name: str, value: Any) -> None:
    """Require a number of at least 0, or a function of the step."""
    if callable(value):
        schedule(where, name, value)
    else:
        in_range(where, name, value, 0)


def whole_number(where: str, name: str, value: Any, low: int) -> None:
    """Require a whole number of at least `low`, which counts steps and decides no shape: it may be traced."""
    in_range(where, name, value, low)
    if is_concrete(value) and np.any(to_host(value) % 1 != 0):
        raise ValueError(f"{where}: expected {name} to be a whole number, got {value}; write {np.ceil(to_host(value))}")


def flags(where: str, **given: Any) -> None:
    """Require True or False of each, or 1 or 0: "no" is true."""
    for name, value in given.items():
        if not (isinstance(value, bool | np.bool_) or (isinstance(value, int) and value in (0, 1))):
            raise not_one(where, name, "True or False", value)


def floating_dtype(where: str, name: str, value: Any, kind: Any = jnp.floating) -> None:
    """Require a floating dtype, or None; with `jnp.inexact` as the kind, complex ones too."""
    try:
        found = value is None or jnp.issubdtype(jnp.dtype(value), kind)
    except TypeError:
        found = False
    if not found:
        raise not_one(where, name, "a floating dtype", value, f"write {name}=jnp.bfloat16")


def schedule(where: str, name: str, value: Any) -> None:
    if not callable(value):
        raise TypeError(
            f"{where}: expected {name} to be a schedule, a function step -> number, got {value!r}; "
            f"write fnn.schedules.constant_schedule({value!r}) for a constant"
        )
    function(where, name, value, "step -> number", "", "Schedule")


def function(where: str, name: str, value: Any, signature: str, instead: str, kind: str = "") -> None:
    """Require a function, or None for none; `instead` is what to write. One of fnn that is annotated to return the
    `kind` makes such a function, and is asked to be called; in a `functools.partial` too."""
    if value is None:
        return
    maker = bare(value)
    ours = callable(maker) and (getattr(maker, "__module__", "") or "").partition(".")[0] == "fnn"
    makes = ours and kind and getattr(maker, "__annotations__", {}).get("return") == kind
    if makes or not callable(value):
        came = f"{name_of(maker)}, which makes one" if makes else describe_given(value)
        instead = f"{maker.__name__}(…)" if makes else instead
        raise TypeError(f"{where}: expected {name} to be a function {signature}, got {came}; write {instead}")


def keeps_some(where: str, rate: Any) -> None:
    """Require a rate below 1 in training: where everything is dropped, no gradient is left to learn from."""
    if rate is not None and is_concrete(rate) and np.ndim(rate) == 0 and to_host(rate) == 1:
        raise ValueError(
            f"{where}: rate=1 drops everything, so that nothing before it is trained; write a rate below 1, or leave "
            "the layer out"
        )


def integer(where: str, name: str, value: Any, low: int | None = 1) -> int:
    """Require a Python integer (it decides a shape, so it cannot be traced) of at least `low`."""
    try:
        whole = operator.index(to_host(value)) if is_concrete(value) and not isinstance(value, bool) else None
    except TypeError:
        whole = None
    if whole is None:
        repair = f"write {int(value)}" if isinstance(value, float | np.floating) and float(value).is_integer() else ""
        came = f"{describe(value)} {value!r}{hint_of(repair)}"
        raise TypeError(f"{where}: expected {name} to be a Python int, got {came}")
    if low is not None and whole < low:
        raise ValueError(f"{where}: expected {name} >= {low}, got {whole}")
    return whole


def one_of(where: str, name: str, value: Any, options: Collection[Any], repair: str = "") -> None:
    if isinstance(value, np.ndarray | jax.Array) or value not in tuple(options):
        these = ", ".join(map(repr, options))
        raise ValueError(f"{where}: expected {name} to be one of {these}, got {value!r}{hint_of(repair)}")


def instance(where: str, name: str, value: Any, kind: Any, words: str, repair: str = "") -> None:
    """Require a value of a type, "a layer"."""
    if not isinstance(value, kind):
        raise not_one(where, name, words, value, repair)


def not_one(where: str, name: str, words: str, value: Any, repair: str = "") -> TypeError:
    """The error about a value of another type."""
    return TypeError(f"{where}: expected {name} to be {words}, got {describe_given(value)}{hint_of(repair)}")


def sequence(where: str, name: str, value: Any, of: str, *, some: bool = False) -> tuple[Any, ...]:
    """Require several values in an order, "widths", also where there is one; `some`: and where there is none."""
    repair = ""
    if isinstance(value, numbers.Number):
        repair = f"write ({value!r},)"
    elif isinstance(value, Set | Mapping):
        repair = "write a tuple, which has an order"
    if repair or isinstance(value, str | bytes) or not np.iterable(value):
        raise not_one(where, name, f"a sequence of {of}", value, repair)
    found = tuple(value)
    if some and not found:
        raise not_one(where, name, f"a sequence of one or more {of}", found, "write (32,) for one")
    return found


def pair(where: str, name: str, value: Any, of: str) -> tuple[Any, Any]:
    """Require two values in an order, "(low, high)"."""
    several = np.iterable(value) and not isinstance(value, str | bytes | Set | Mapping)
    found = tuple(value) if several else ()
    if len(found) != 2:
        raise not_one(where, name, f"a pair {of}", value)
    return found[0], found[1]


def require_key(where: str, key: Array | None, why: str) -> Array:
    """Require a random key where randomness is asked for."""
    if key is None:
        raise ValueError(f"{where}: {why} needs a random key; write key=jax.random.key(0)")
    return key


def generator(where: str, seed: Any) -> np.random.Generator:
    """Random numbers of NumPy, from a seed that is a whole number."""
    return np.random.default_rng(integer(where, "seed", seed, 0))


def random_key(where: str, key: Any) -> Array:
    """Require a random key, new style or old."""
    if not hasattr(key, "dtype") or not (
        jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or (key.dtype == jnp.uint32 and key.shape[-1:] == (2,))
    ):
        raise TypeError(f"{where}: expected a random key, got {describe(key)}; write jax.random.key(0)")
    if key.ndim != (0 if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else 1):
        raise ValueError(f"{where}: expected one random key, got {describe(key)}; write jax.vmap for several")
    return key
