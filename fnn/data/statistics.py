"""What a scaler keeps of the rows it was fitted on; that of a table knows its columns by their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fnn.typing import Array

__all__ = ["MinMaxStatistics", "StandardStatistics"]


class _Range(NamedTuple):
    minimum: Array | np.ndarray
    maximum: Array | np.ndarray


class _Moments(NamedTuple):
    mean: Array | np.ndarray
    deviation: Array | np.ndarray


# `columns` is no field: those are arrays, which jit, vmap and what unpacks them expect.
class MinMaxStatistics(_Range):
    """Smallest and largest value of each column, and of a table fitted by itself the names of its `columns`."""

    columns: tuple[str, ...] = ()


class StandardStatistics(_Moments):
    """Mean and standard deviation of each column, and of a table fitted by itself the names of its `columns`."""

    columns: tuple[str, ...] = ()


def require_same_columns(where: str, fitted: tuple[str, ...], x: Any, instead: str, of: str = "fit") -> None:
    """A table has the columns that were fitted, in their order."""
    names = columns_of(x)
    if not (fitted and names) or fitted == names or len(fitted) != len(names):  # how many is said by the shape
        return
    place, (own, came) = next((i, pair) for i, pair in enumerate(zip(fitted, names, strict=True)) if len({*pair}) > 1)
    raise ValueError(f"{where}: expected column {own!r} at place {place}, as in {of}, got {came!r}; write {instead}")


Columns = tuple[str, tuple[tuple[str, ...], ...]]
"""Whose `(x, targets)` they are, and the columns of both."""


def columns_of_parts(whose: str, parts: Sequence[Any]) -> Columns | None:
    """None where neither x nor targets are a table whose columns have names."""
    names = tuple(map(columns_of, parts[:2]))
    return (whose, names) if any(names) else None


def require_columns(where: str, known: Columns | None, parts: Sequence[Any]) -> None:
    """`require_same_columns` of x and of targets."""
    whose, both = known or ("", ())
    for name, names, came in zip(("x", "targets"), both, parts, strict=False):
        require_same_columns(where, names, came, f"{name}[{list(names)}]", whose)


def columns_of(x: Any) -> tuple[str, ...]:
    """Names of a table's columns where all are texts, as scikit-learn knows them; numbers may only say their places."""
    names = () if isinstance(x, tuple) else tuple(getattr(x, "columns", ()))  # of a named tuple it may be an array
    return names if all(isinstance(name, str) for name in names) else ()
