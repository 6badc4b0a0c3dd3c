"""What a scaler keeps of the rows it was fitted on; that of a table knows its columns by their names."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np

from fnn.typing import Array

__all__ = ["MinMaxStatistics", "StandardStatistics"]

Statistics = TypeVar("Statistics")


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


def with_columns(statistics: Statistics, x: Any) -> Statistics:
    """The statistics, which know the names of the columns of the table `x`."""
    if names := _names(x):
        statistics.columns = names  # type: ignore[attr-defined]
    return statistics


def require_same_columns(where: str, statistics: Any, x: Any) -> None:
    """A table has the columns that were fitted, in their order."""
    fitted, names = getattr(statistics, "columns", ()), _names(x)
    if not (fitted and names) or fitted == names or len(fitted) != len(names):  # how many is said by the shape
        return
    place, (own, came) = next((i, pair) for i, pair in enumerate(zip(fitted, names, strict=True)) if len({*pair}) > 1)
    raise ValueError(
        f"{where}: expected column {own!r} at place {place}, as in fit, got {came!r}; write x[list(statistics.columns)]"
    )


def _names(x: Any) -> tuple[str, ...]:
    """Names of columns where all are texts, as scikit-learn knows them; numbers may only say their places."""
    names = tuple(getattr(x, "columns", ()))
    return names if all(isinstance(name, str) for name in names) else ()
