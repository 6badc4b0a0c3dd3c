"""Folds as arrays of row numbers, and how they are made of parts of different sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from fnn import checks
from fnn.typing import Labels


class Splitter(Protocol):
    """A splitter of scikit-learn."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[Any, Any]]: ...


class Folds(NamedTuple):
    """Row numbers per fold, -1 for an empty slot: `train` (folds, slots) and `valid` (folds, slots), int32.

    Example:
        >>> import fnn
        >>> train, valid = fnn.selection.k_fold(5, 2)
        >>> train.tolist(), valid.tolist()
        ([[3, 4, -1], [0, 1, 2]], [[0, 1, 2], [3, 4, -1]])
    """

    train: np.ndarray
    valid: np.ndarray


def check_form(where: str, given: Folds) -> Folds:
    """Folds of a user's own: row numbers of as many folds on both sides."""
    train, valid = (checks.one_array(where, f"folds.{name}", side) for name, side in given._asdict().items())
    tables = all(side.ndim == 2 and side.size and np.issubdtype(side.dtype, np.integer) for side in (train, valid))
    if not tables or len(train) != len(valid):
        raise ValueError(
            f"{where}: expected train and valid of folds to be row numbers (folds, slots), got "
            f"{checks.describe(train)} and {checks.describe(valid)}; write fnn.selection.using([(train, valid), …]) of "
            "the row numbers of each fold"
        )
    return Folds(train, valid)


LARGEST = np.iinfo(np.int32).max
"""Row numbers are held in int32."""


def fill_up(parts: Sequence[np.ndarray]) -> np.ndarray:
    table = np.full((len(parts), max(len(part) for part in parts)), -1, np.int32)
    for line, part in zip(table, parts, strict=True):
        line[: len(part)] = part
    return table


def mean_by_row(parts: np.ndarray, places: np.ndarray, rows: int) -> np.ndarray:
    """Values (folds, slots, …) of the rows `places` (folds, slots): a mean for every row, NaN where it is in none."""
    total, times = np.zeros((rows, *parts.shape[2:])), np.zeros(rows)
    for values, place in zip(parts, places, strict=True):
        total[place[place >= 0]] += values[place >= 0]
        times[place[place >= 0]] += 1
    return total / np.where(times > 0, times, np.nan).reshape(-1, *[1] * (total.ndim - 1))


def check_disjoint(where: str, folds: Folds) -> None:
    """No fold validates on a row that it trains on."""
    trained = np.zeros(max(folds.train.max(), folds.valid.max()) + 2, bool)
    for fold, (train, valid) in enumerate(zip(folds.train, folds.valid, strict=True)):
        trained[train] = True
        trained[-1] = False  # The place of empty slots.
        if (both := valid[trained[valid]]).size:
            raise ValueError(
                f"{where}: fold {fold} trains on row {both[0]}, and validates on it ({both.size} such rows)"
            )
        trained[train] = False


def check_groups(where: str, folds: Folds, groups: Labels) -> None:
    """No group is both trained on and validated on."""
    groups = checks.one_array(where, "groups", groups)
    rows = max(int(folds.train.max()), int(folds.valid.max())) + 1
    if groups.ndim != 1 or len(groups) < rows:
        raise checks.wrong_shape(where, "groups", f"({rows},)", groups.shape)
    _, group_of = np.unique(groups, return_inverse=True)
    for fold, (train, valid) in enumerate(zip(folds.train, folds.valid, strict=True)):
        valid = valid[valid >= 0]
        both = valid[np.isin(group_of[valid], group_of[train[train >= 0]])]
        if both.size:
            row = both[0]
            raise ValueError(
                f"{where}: fold {fold} trains on rows of group {groups.tolist()[row]!r}, and validates on row {row} of "
                "it; write folds=fnn.selection.group_k_fold(groups, folds), or leave groups out"
            )


def folds_from(pairs: Iterable[tuple[Any, Any]], where: str) -> Folds:
    pairs = [(np.asarray(train), np.asarray(valid)) for train, valid in pairs]
    for fold, (train, valid) in enumerate(pairs):
        if train.size == 0 or valid.size == 0:
            side = "training" if train.size == 0 else "validation"
            raise ValueError(f"{where}: fold {fold} has no {side} rows")
        for part in (train, valid):
            whole = part.ndim == 1 and np.issubdtype(part.dtype, np.integer)
            if not whole or not 0 <= part.min() <= part.max() <= LARGEST:
                repair = "; of a mask write np.flatnonzero(mask)" if part.dtype == bool else ""
                raise ValueError(f"{where}: expected row numbers in fold {fold}, got {checks.describe(part)}{repair}")
    return Folds(fill_up([train for train, _ in pairs]), fill_up([valid for _, valid in pairs]))


def against_the_rest(labels: np.ndarray, folds: int, where: str) -> Folds:
    """One fold per label: its rows validate, all others train."""
    rows = np.arange(len(labels))
    return folds_from(((rows[labels != k], rows[labels == k]) for k in range(folds)), where)
