"""Arrays: their dtypes and shapes."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Collection
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnn.checks.settings import integer
from fnn.checks.words import describe, hint_of, not_an_array
from fnn.typing import Array, ArrayLike


def floating(where: str, name: str, x: ArrayLike) -> None:
    """Require a real floating-point array."""
    if not (hasattr(x, "dtype") or isinstance(x, numbers.Number)) or hasattr(x, "numpy") or hasattr(x, "to_numpy"):
        raise not_an_array(where, name, x)
    dtype = jnp.result_type(x)
    if not jnp.issubdtype(dtype, jnp.floating):
        scaled = " / 255" if dtype == jnp.uint8 else ""
        repair = _real_part(name) if _is_complex(dtype) else f"write {name}.astype(jnp.float32){scaled}"
        raise TypeError(f"{where}: expected {name} to be floating-point, got {describe(x)}; {repair}")


def real(where: str, name: str, x: ArrayLike, repair: str = "") -> None:
    """Require anything but complex numbers, which have no order: JAX compares their real parts, then the others."""
    if _is_complex(jnp.result_type(x)):
        raise TypeError(f"{where}: expected {name} to be real, got {describe(x)}{hint_of(repair or _real_part(name))}")


def _is_complex(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.complexfloating)


def _real_part(name: str) -> str:
    return f"write {name}.real or jnp.abs({name})"


def wrong_shape(where: str, name: str, layout: Any, x: Any, repair: str = "") -> ValueError:
    """The error about an array, or a shape, that is not `layout`, which names the axes or says how long they are."""
    came = describe(x) if not isinstance(x, tuple) or any(hasattr(part, "shape") for part in x) else x
    return ValueError(f"{where}: expected {name} of shape {layout}, got {came}{hint_of(repair)}")


def rank(where: str, name: str, x: Any, ranks: int | Collection[int], layout: str, repair: str = "") -> None:
    """Require `x.ndim` in `ranks`; `layout` names the axes, "(batch, features)"."""
    allowed = (ranks,) if isinstance(ranks, int) else ranks
    if not hasattr(x, "shape"):
        raise not_an_array(where, name, x)
    if len(x.shape) not in allowed:
        raise wrong_shape(where, name, layout, x, repair)


def least_rank(where: str, name: str, x: Any, least: int, layout: str, repair: str = "") -> None:
    rank(where, name, x, range(least, sys.maxsize), layout, repair)


def integers(where: str, name: str, x: Any, repair: str = "") -> None:
    if not (hasattr(x, "dtype") or isinstance(x, numbers.Number)):
        raise not_an_array(where, name, x)
    if not jnp.issubdtype(jnp.result_type(x), jnp.integer):
        raise TypeError(f"{where}: expected integer {name}, got {describe(x)}{hint_of(repair)}")


def mask(where: str, x: ArrayLike) -> Array:
    """Require booleans that say which entries count."""
    x = jnp.asarray(x)
    if x.dtype != bool:
        raise TypeError(f"{where}: expected a boolean where, got {describe(x)}; write where != 0")
    return x


def divisible(where: str, name: str, number: int, groups: int, came: str = "", repair: str = "") -> None:
    """Require a number of channels or features that falls into `groups` of one size."""
    if number % groups:
        raise ValueError(f"{where}: expected {name} divisible by groups={groups}, got {number}{came}{hint_of(repair)}")


def static_axes(where: str, name: str, given: Any) -> int | tuple[int, ...]:
    """An axis, or several in any sequence, as Python ints, which can be hashed."""
    if isinstance(given, tuple | list | range) or (hasattr(given, "ndim") and given.ndim == 1):
        return tuple(integer(where, name, a, None) for a in given)
    return integer(where, name, given, None)


def axes(where: str, name: str, given: Any, ndim: int, least: int = 1) -> tuple[int, ...]:
    """An axis of an array of rank `ndim`, or several that differ, as they were given and counted from the front."""
    known = static_axes(where, name, given)
    several = known if isinstance(known, tuple) else (known,)
    found = tuple(a % ndim for a in several if -ndim <= a < ndim)
    if len(set(found)) != len(several) or len(several) < least:
        raise ValueError(f"{where}: expected {name} to name distinct axes of an array of rank {ndim}, got {given}")
    return found


def axis(where: str, name: str, given: Any, ndim: int) -> int:
    """One axis of an array of rank `ndim`, counted from the front."""
    return axes(where, name, integer(where, name, given, None), ndim)[0]


def halves(where: str, x: Array, along: int) -> list[Array]:
    """Both halves of `x` along an axis of an even length."""
    place = axis(where, "axis", along, x.ndim)
    if x.shape[place] % 2:
        raise ValueError(f"{where}: expected an even number along axis {along}, got {describe(x)}")
    return jnp.split(x, 2, place)


ONE_EXAMPLE = "write x[None] for a single example"
CHANNELS_LAST = "write jnp.moveaxis(x, 1, -1) if channels come first"


def reshape(name: str, shape: Any) -> str:
    """What to write where the numbers are there, and their axes are others."""
    return f"write {name}.reshape({shape}) if they mean the same"


def same_shape(where: str, first: str, a: Any, second: str, b: Any) -> None:
    """Require equal shapes: nothing is broadcast silently."""
    if np.shape(a) != np.shape(b):
        hint = ""
        if sorted(str(d) for d in np.shape(a) if d != 1) == sorted(str(d) for d in np.shape(b) if d != 1):
            hint = hint_of(reshape(second, f"{first}.shape"))
        raise ValueError(
            f"{where}: expected {first} and {second} of the same shape, got {np.shape(a)} and {np.shape(b)}{hint}"
        )


def looks_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether these seem to be square images of one or three channels with the channels before height and width."""
    return len(shape) == 4 and shape[1] in (1, 3) and shape[2] == shape[3] and shape[3] > 4


def images(where: str, x: Any) -> None:
    """Require (batch, height, width, channels)."""
    if len(x.shape) != 4 or looks_channels_first(x.shape):
        repair = "jnp.moveaxis(x, 1, -1)" if len(x.shape) == 4 else "x[..., None]" if len(x.shape) == 3 else "x[None]"
        raise ValueError(
            f"{where}: expected images of shape (batch, height, width, channels), got {describe(x)}; write {repair}"
        )


def same_features(where: str, expected: tuple[int, ...], came: tuple[int, ...], x: Any) -> None:
    """Require the features of `x` to have the shape that the layer was initialised with."""
    if expected != came:
        first, second = (shape[0] if len(shape) == 1 else shape for shape in (expected, came))
        raise ValueError(f"{where}: expected {first} features, as initialised, got {second} in {describe(x)}")
