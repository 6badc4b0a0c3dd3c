"""Folds as a caller gives them: as row numbers, and whether each can be trained on and scored."""

from __future__ import annotations

import numpy as np

from fnn import checks
from fnn.layer import Padded
from fnn.selection import splits
from fnn.selection.folds import Folds, Splitter, check_disjoint, check_form, check_groups
from fnn.tasks.targets import are_class_numbers, are_several
from fnn.train import rows as rows_
from fnn.typing import Array, Labels


def folds_of(where: str, folds: int | Folds | Splitter, data: rows_.Checked, groups: Labels | None) -> Folds:
    """The folds as row numbers: where a number is given, groups stay together, or classes have their shares."""
    x, targets, _ = data
    rows = rows_.count(x)
    if groups is not None:
        groups = checks.one_array(where, "groups", groups)
        if groups.shape != (rows,):
            raise checks.wrong_shape(where, "groups", (rows,), groups.shape)
    if isinstance(folds, Folds):
        folds = check_form(where, folds)
        _require_rows(where, folds, rows)  # before the cast, in which a number of 64 bits may become negative
        folds = Folds(*(np.maximum(side.astype(np.int64), -1) for side in folds))
        unused = np.setdiff1d(np.arange(rows), np.concatenate([folds.train.ravel(), folds.valid.ravel()]))
        if len(unused):
            raise ValueError(
                f"{where}: {len(unused)} of {rows} rows stand in no fold, row {unused[0]} first; "
                "make the folds for this data set, or leave these rows out of it"
            )
        check_disjoint(where, folds)
        if groups is not None:
            check_groups(where, folds, groups)
        return folds
    if hasattr(folds, "split"):
        # Numbers that are no classes stand for several arrays: a splitter that stratifies refuses them.
        y = np.linspace(0.25, 0.75, rows) if are_several(targets) else np.asarray(targets)
        found = splits.using(folds, np.zeros((rows, 1)), y, groups)
        _require_rows(where, found, rows)
        return found
    if np.iterable(folds):
        words = "a number, fnn.selection.Folds or a splitter"
        raise checks.not_one(where, "folds", words, folds, "of pairs of row numbers write fnn.selection.using(pairs)")
    if groups is not None:
        return splits.group_k_fold(groups, folds)
    if are_class_numbers(targets):
        return splits.stratified_k_fold(np.asarray(targets), folds, seed=0)
    return splits.k_fold(rows, folds, seed=0)


def _require_rows(where: str, folds: Folds, rows: int) -> None:
    """No number beyond the last row: a splitter may have been made for other data, and not look at these."""
    top = max(int(folds.train.max()), int(folds.valid.max()))
    if top >= rows:
        raise ValueError(f"{where}: the folds name row {top} of {rows} rows")


def check_what_counts(where: str, split: Folds, data: rows_.Checked, parts: int = 1, *, scaled: bool = False) -> None:
    """Every fold has rows that count, to train on and to validate on, and steps to fit a scaler on where it is
    `scaled`; it is said where it lacks a class."""
    x, targets, weights = data
    _warn_of_missing_classes(where, split, targets)
    counts = np.ones(rows_.count(x), bool) if weights is None else np.asarray(weights) != 0
    for side, folds in zip(("training", "validation"), split, strict=True):
        if weights is not None and (fold := _first_without(folds, counts, parts)) is not None:
            raise ValueError(f"{where}: {checks.no_weight(f' of the {side} rows of fold {fold}')}")
    if scaled and isinstance(x, Padded):
        fold = _first_without(split.train, counts & (np.asarray(x.lengths) > 0), parts)
        if fold is not None:
            raise ValueError(
                f"{where}: the scaler has nothing to be fitted on in fold {fold}: every training sequence of it has "
                "length 0 or weight 0; leave empty sequences out, or write scaler=None"
            )


def _first_without(folds: np.ndarray, counts: np.ndarray, parts: int) -> int | None:
    """The number, in its part, of the first fold of whose rows none counts."""
    counted = np.append(counts, False)[folds].any(axis=1)  # The last is the place of empty slots.
    return None if counted.all() else int(np.argmin(counted)) % (len(folds) // parts)


def _warn_of_missing_classes(where: str, split: Folds, targets: Array) -> None:
    """A class that a fold never trains on cannot be learned there."""
    if not are_class_numbers(targets):
        return
    host = np.asarray(targets)
    every = set(host.tolist())
    absent = (sorted(every - set(host[train[train >= 0]].tolist())) for train in split.train)
    missing = {fold: classes for fold, classes in enumerate(absent) if classes}
    if missing:
        fold, classes = next(iter(missing.items()))
        checks.warn(
            f"{where}: fold {fold} has no training row of class {classes} (so in {len(missing)} folds); "
            "write fnn.selection.stratified_k_fold",
            UserWarning,
        )
