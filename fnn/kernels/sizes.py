"""Sizes that are numbers, and sizes that stand for any: `jax.export` traces one program for all batches or lengths.

Such a symbol can be added and multiplied, but what is smaller may be open. A choice that only makes a program quicker
takes, where it is open, the form that is right for all sizes.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

from fnn import checks

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compile_for(*static: str) -> Callable[[Kernel], Kernel]:
    """`jax.jit` with static arguments, which are hashed: several axes, or a shape, may come in any sequence."""

    def decorate(kernel: Kernel) -> Kernel:
        compiled = jax.jit(kernel, static_argnames=static)
        places = [place for place, name in enumerate(inspect.signature(kernel).parameters) if name in static]

        @functools.wraps(kernel)
        def call(*given: Any, **options: Any) -> Any:
            given = tuple(_hashable(one) if place in places else one for place, one in enumerate(given))
            return compiled(
                *given, **{name: _hashable(one) if name in static else one for name, one in options.items()}
            )

        for ahead in ("lower", "trace", "eval_shape", "clear_cache"):  # what a jitted function can besides
            setattr(call, ahead, getattr(compiled, ahead))
        return call  # type: ignore[return-value]

    return decorate


def _hashable(value: Any) -> Any:
    value = checks.to_host(value)
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


def is_static(*sizes: Any) -> bool:
    """Whether all of them are numbers."""
    return all(isinstance(size, int) for size in sizes)


def less(a: Any, b: Any) -> bool:
    """Whether a < b for every value of the symbols in them; False where that is open."""
    try:
        return bool(a < b)
    except Exception:  # what jax raises for an open comparison has no public name
        return False


def larger(a: Any, b: Any) -> Any:
    """The larger of two sizes, or None where that is open."""
    if less(b, a + 1):
        return a
    return b if less(a, b + 1) else None
