"""Which module computes the three products of a convolution with this jax."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from fnn import checks, versions
from fnn.kernels.convolution import plain


@functools.cache
def products() -> Any:
    """The module of the three products: the primitives, or XLA's own where this jax has not what they are made of."""
    try:
        from fnn.kernels.convolution import primitives
    except Exception as error:
        checks.warn(
            f"convolutions run by XLA's own forms, slower on a CPU: jax {jax.__version__} lacks what fnn's are made of "
            f"({type(error).__name__}: {error}); fnn is tested with jax{versions.TESTED}"
        )
        return plain
    return primitives


def plain_form(primitive: Any) -> Callable[..., Any] | None:
    """The same in operations of XLA alone, for a primitive that a traced program holds; None if it is not of fnn."""
    found: dict[Any, Callable[..., Any]] = getattr(products(), "PLAIN", {})
    return found.get(primitive)
