"""What a layer draws its parameters by."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import jax.numpy as jnp

from fnn import checks, initializers
from fnn.typing import Array, DType, Initializer, Key, Shape


def as_initializer(where: str, name: str, given: Any) -> Initializer:
    """The initializer, of which an array of the right shape is required; anything else is named at once."""
    if not callable(given) or hasattr(given, "makes_an_initializer") or not _takes_three(given):
        raise checks.not_one(where, name, "a function (key, shape, dtype)", given, _instead(name, given))

    @functools.wraps(given)
    def draw(key: Key, shape: Shape, dtype: DType | None) -> Array:
        drawn, what = given(key, shape, dtype), f"the value of {name}"
        if not hasattr(drawn, "dtype"):
            raise checks.not_one(where, what, "an array", drawn, _instead(name, given))
        if tuple(drawn.shape) != tuple(shape):
            raise checks.wrong_shape(where, what, tuple(shape), drawn)
        if not jnp.issubdtype(drawn.dtype, jnp.inexact):
            raise checks.not_one(where, what, "floating-point", drawn, "draw it in the dtype that is given")
        return drawn

    return draw


def _takes_three(function: Any) -> bool:
    try:
        inspect.signature(function).bind(None, (), None)
    except TypeError:
        return False
    except ValueError:  # of a builtin, nothing is known
        pass
    return True


def _instead(name: str, given: Any) -> str:
    called = given if isinstance(given, str) else getattr(given, "__name__", "")
    if called in initializers.__all__:
        makes = hasattr(getattr(initializers, called), "makes_an_initializer")
        return f"write {name}=fnn.initializers.{called}{'(…)' if makes else ''}"
    if callable(given):
        return "give a function that takes the three and returns an array"
    return f"write {name}=fnn.initializers.zeros, or constant(…) of a number or an array; leave it out for the default"
