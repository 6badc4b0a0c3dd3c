"""Sizes that are numbers, and sizes that stand for any: `jax.export` traces one program for all batches or lengths.

Such a symbol can be added and multiplied, but what is smaller may be open. A choice that only makes a program quicker
takes, where it is open, the form that is right for all sizes.
"""

from __future__ import annotations

from typing import Any


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
