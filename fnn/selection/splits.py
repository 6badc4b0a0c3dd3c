"""Splits of a data set into training and validation rows, as index arrays that `vmap` can run over.

Folds of different sizes are filled up with -1, an empty slot: `trainer` and `evaluate` skip those, so that no row is
lost or doubled. Where scikit-learn's rule is deterministic, the folds are its folds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fnn import checks
from fnn.selection.folds import Folds, Splitter, against_the_rest, check_disjoint, check_groups, fill_up, folds_from
from fnn.train.inputs import ONE_ROW, shares
from fnn.typing import Labels, PyTree, Rows

__all__ = [
    "Folds", "bootstrap", "group_k_fold", "hold_out", "k_fold", "leave_one_out", "leave_p_out", "repeated",
    "stratified_k_fold", "time_series", "using",
]  # fmt: skip


def _require_counts(where: str, rows: int, folds: int) -> None:
    checks.integer(where, "rows", rows)
    checks.integer(where, "folds", folds, 2)
    if folds > rows:
        raise ValueError(f"{where}: expected at most {rows} folds, the number of rows, got {folds}")


def k_fold(rows: int, folds: int = 5, *, seed: int | None = None) -> Folds:
    """K folds of consecutive rows; each row validates once.

    The first `rows % folds` folds have one row more.

    Args:
        rows: number of rows.
        folds: number of folds, at least 2.
        seed: shuffles the rows first; None keeps their order.

    Example:
        >>> import fnn
        >>> fnn.selection.k_fold(6, 3).valid.tolist()
        [[0, 1], [2, 3], [4, 5]]

    References:
        Stone, Cross-validatory choice and assessment of statistical predictions, 1974.
    """
    _require_counts("k_fold", rows, folds)
    order = np.arange(rows) if seed is None else checks.generator("k_fold", seed).permutation(rows)
    labels = np.empty(rows, int)
    labels[order] = np.sort(np.arange(rows) % folds)
    return against_the_rest(labels, folds, "k_fold")


def stratified_k_fold(targets: Labels, folds: int = 5, *, seed: int | None = None) -> Folds:
    """K folds in which every class has its share, within one row.

    Args:
        targets: classes, (rows,).
        folds: number of folds, at least 2; at most the rows of the rarest class.
        seed: shuffles the rows of each class first; None keeps their order.

    Example:
        >>> import fnn
        >>> fnn.selection.stratified_k_fold([0, 0, 0, 0, 1, 1], 2).valid.tolist()
        [[0, 1, 4], [2, 3, 5]]
    """
    targets = checks.one_array("stratified_k_fold", "classes", targets)
    checks.rank("stratified_k_fold", "classes", targets, 1, "(rows,)")
    _require_counts("stratified_k_fold", len(targets), folds)
    names, first, encoded, counts = np.unique(targets, return_index=True, return_inverse=True, return_counts=True)
    if counts.min() < folds:
        rare = names.tolist()[counts.argmin()]
        raise ValueError(f"stratified_k_fold: class {rare!r} has {counts.min()} rows, fewer than {folds} folds")
    # Classes are numbered by first appearance, as in scikit-learn, so that the same fold gets the odd rows.
    encoded = np.argsort(np.argsort(first))[encoded]
    dealt = np.sort(encoded)
    shares = np.stack([np.bincount(dealt[fold::folds], minlength=len(names)) for fold in range(folds)])
    rng = None if seed is None else checks.generator("stratified_k_fold", seed)
    labels = np.empty(len(targets), int)
    for k in range(len(names)):
        part = np.repeat(np.arange(folds), shares[:, k])
        labels[encoded == k] = part if rng is None else rng.permutation(part)
    return against_the_rest(labels, folds, "stratified_k_fold")


def group_k_fold(groups: Labels, folds: int = 5) -> Folds:
    """K folds of about the same size in which no group stands on both sides.

    The largest groups are dealt first, each to the fold with the fewest rows.

    Args:
        groups: group of each row, (rows,).
        folds: number of folds, at most the number of groups.

    Example:
        >>> import fnn
        >>> fnn.selection.group_k_fold(["a", "a", "b", "c"], 2).valid.tolist()
        [[0, 1], [2, 3]]
    """
    groups = checks.one_array("group_k_fold", "groups", groups)
    checks.rank("group_k_fold", "groups", groups, 1, "(rows,)")
    names, encoded, counts = np.unique(groups, return_inverse=True, return_counts=True)
    checks.integer("group_k_fold", "folds", folds, 2)
    if folds > len(names):
        raise ValueError(f"group_k_fold: expected at most {len(names)} folds, the number of groups, got {folds}")
    filled, fold_of = np.zeros(folds, int), np.zeros(len(names), int)
    for group in np.argsort(counts, kind="stable")[::-1]:
        fold_of[group] = np.argmin(filled)
        filled[fold_of[group]] += counts[group]
    return against_the_rest(fold_of[encoded], folds, "group_k_fold")


def leave_one_out(rows: int) -> Folds:
    """As many folds as rows, each validating on one.

    Example:
        >>> import fnn
        >>> fnn.selection.leave_one_out(3).train.tolist()
        [[1, 2], [0, 2], [0, 1]]

    References:
        Lachenbruch and Mickey, Estimation of error rates in discriminant analysis, 1968.
    """
    _require_counts("leave_one_out", rows, 2)
    return against_the_rest(np.arange(rows), rows, "leave_one_out")


def leave_p_out(rows: int, p: int) -> Folds:
    """Every choice of `p` validation rows, in lexicographic order.

    Args:
        rows: number of rows.
        p: how many of them validate, fewer than `rows`.

    Example:
        >>> import fnn
        >>> fnn.selection.leave_p_out(3, 2).valid.tolist()
        [[0, 1], [0, 2], [1, 2]]
    """
    checks.integer("leave_p_out", "p", p)
    if checks.integer("leave_p_out", "rows", rows) <= p:
        raise ValueError(f"leave_p_out: expected p < {rows}, the number of rows, got {p}")
    valid = (np.array(chosen) for chosen in itertools.combinations(range(rows), p))
    return folds_from(((np.setdiff1d(np.arange(rows), chosen), chosen) for chosen in valid), "leave_p_out")


def hold_out(rows: int, fraction: float = 0.2, *, seed: int | None = 0, stratify: Labels | None = None) -> Folds:
    """One fold: a share of the rows validates, the others train.

    Args:
        rows: number of rows.
        fraction: share that validates, rounded up to whole rows.
        seed: shuffles the rows; None takes the last ones.
        stratify: classes (rows,), each of which then has its share within one row, and never all of its rows.

    Example:
        >>> import fnn
        >>> fnn.selection.hold_out(5, 0.4, seed=None).valid.tolist()
        [[3, 4]]
    """
    rows = checks.integer("hold_out", "rows", rows, 2)
    checks.in_range("hold_out", "fraction", fraction, 0, 1, open="both")
    order = np.arange(rows) if seed is None else checks.generator("hold_out", seed).permutation(rows)
    count = min(int(np.ceil(fraction * rows)), rows - 1)
    if stratify is None:
        return folds_from([(order[: rows - count], order[rows - count :])], "hold_out")
    classes = checks.one_array("hold_out", "stratify", stratify)
    if classes.shape != (rows,):
        raise checks.wrong_shape("hold_out", "stratify", (rows,), classes.shape)
    # Rows sorted by class, every 1/fraction-th of them validates: each class has its share within one row.
    by_class = order[np.argsort(classes[order], kind="stable")]
    valid = by_class[np.floor((np.arange(count) + 0.5) * rows / count).astype(int)]
    names, begins, sizes = np.unique(classes[by_class], return_index=True, return_counts=True)
    if len(np.unique(np.delete(classes, valid))) < len(names):
        # A class must have rows to train on before it has one to validate on.
        places = [np.arange(b, b + share) for b, share in zip(begins, shares("hold_out", sizes, count), strict=True)]
        valid = by_class[np.concatenate(places)]
        if (sizes == 1).any():
            checks.warn(f"hold_out: class {names[sizes == 1][0]!r} {ONE_ROW}, so the class is not validated")
    return folds_from([(np.setdiff1d(order, valid), valid)], "hold_out")


def time_series(rows: int, folds: int = 5, *, gap: int = 0) -> Folds:
    """Folds that never train on the future: each validates on the block after the rows it trains on.

    Args:
        rows: number of rows, in order of time.
        folds: number of validation blocks.
        gap: rows left out between training and validation.

    Example:
        >>> import fnn
        >>> train, valid = fnn.selection.time_series(6, 2)
        >>> train.tolist(), valid.tolist()
        ([[0, 1, -1, -1], [0, 1, 2, 3]], [[2, 3], [4, 5]])
    """
    _require_counts("time_series", rows, folds)
    checks.integer("time_series", "gap", gap, 0)
    size = rows // (folds + 1)
    if size == 0 or rows - gap - size * folds <= 0:
        raise ValueError(f"time_series: {rows} rows are too few for {folds} folds and a gap of {gap}")
    starts = range(rows - folds * size, rows, size)
    return folds_from(((np.arange(s - gap), np.arange(s, s + size)) for s in starts), "time_series")


def bootstrap(rows: int, samples: int, *, seed: int = 0) -> Folds:
    """Bootstrap samples: each trains on `rows` rows drawn with replacement and validates on those not drawn.

    Args:
        rows: number of rows, at least 2.
        samples: number of samples.
        seed: of the draws.

    Example:
        >>> import fnn
        >>> fnn.selection.bootstrap(100, 3).train.shape
        (3, 100)

    References:
        Efron, Bootstrap methods: another look at the jackknife, 1979.
    """
    rows = checks.integer("bootstrap", "rows", rows, 2)
    samples = checks.integer("bootstrap", "samples", samples)
    rng = checks.generator("bootstrap", seed)
    drawn = [rng.integers(0, rows, rows) for _ in range(samples)]
    # A sample that drew every row leaves none to validate on; in small sets it happens, and it is drawn again.
    for sample in drawn:
        while len(np.unique(sample)) == rows:
            sample[:] = rng.integers(0, rows, rows)
    return folds_from(((sample, np.setdiff1d(np.arange(rows), sample)) for sample in drawn), "bootstrap")


def repeated(folds: Sequence[Folds]) -> Folds:
    """Several splits as one: the folds of all of them, one after another.

    Example:
        >>> import fnn
        >>> fnn.selection.repeated([fnn.selection.k_fold(10, 5, seed=s) for s in range(3)]).train.shape
        (15, 8)
    """
    folds = checks.sequence("repeated", "folds", folds, "splits")
    checks.at_least_one("repeated", "split", len(folds))
    for split in folds:
        checks.instance("repeated", "every split", split, Folds, "Folds", "write [fnn.selection.k_fold(…), …]")
    sides = ([line[line >= 0] for table in side for line in table] for side in zip(*folds, strict=True))
    return Folds(*map(fill_up, sides))


def using(
    splitter: Splitter | Iterable[tuple[Rows, Rows]],
    x: PyTree = None,
    targets: Labels | None = None,
    groups: Labels | None = None,
) -> Folds:
    """The folds of any scikit-learn splitter, or of splits that are given as row numbers.

    Args:
        splitter: an object with `split(x, y, groups)`, or pairs of row numbers (train, valid), one for each fold.
        x: anything with as many rows as the data, for a splitter.
        targets: (rows,), for splitters that stratify.
        groups: (rows,), for splitters that keep groups together; an error where a fold has one on both sides.

    Example:
        >>> import numpy as np, fnn
        >>> from sklearn.model_selection import KFold
        >>> fnn.selection.using(KFold(2), np.zeros((4, 1))).valid.tolist()
        [[0, 1], [2, 3]]
        >>> fnn.selection.using([([0, 1, 2], [3]), ([2, 3], [0, 1])]).train.tolist()
        [[0, 1, 2], [2, 3, -1]]
    """
    given: Any = splitter.split(x, targets, groups) if hasattr(splitter, "split") else splitter
    pairs = list(given) if np.iterable(given) else []
    if not pairs or any(not hasattr(pair, "__len__") or len(pair) != 2 for pair in pairs):
        words = "an object with a split method, or pairs of row numbers (train, valid)"
        raise checks.not_one("using", "splitter", words, splitter)
    folds = folds_from(pairs, "using")
    check_disjoint("using", folds)
    if groups is not None:
        check_groups("using", folds, groups)
    return folds
