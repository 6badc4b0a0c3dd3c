"""Splits: scikit-learn's folds where its rule is deterministic, and every row where it belongs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fnn

S = fnn.selection
model_selection = pytest.importorskip("sklearn.model_selection")


def rows(line):
    return line[line >= 0]


def same(folds, splitter, x, *given):
    pairs = list(splitter.split(x, *given))
    assert len(pairs) == len(folds.train)
    for (train, valid), mine, held in zip(pairs, folds.train, folds.valid, strict=True):
        np.testing.assert_array_equal(np.sort(rows(mine)), np.sort(train))
        np.testing.assert_array_equal(np.sort(rows(held)), np.sort(valid))


@given(st.integers(2, 40), st.data())
def test_k_fold_is_scikit_learns(n, data):
    k = data.draw(st.integers(2, n))
    same(S.k_fold(n, k), model_selection.KFold(k), np.zeros(n))
    same(S.leave_one_out(n), model_selection.LeaveOneOut(), np.zeros(n))


@given(st.lists(st.integers(0, 3), min_size=8, max_size=60), st.integers(2, 4))
def test_stratified_is_scikit_learns(labels, k):
    labels = np.array(labels)
    if np.unique(labels, return_counts=True)[1].min() < k:
        with pytest.raises(ValueError, match=r"class \d+ has \d+ rows, fewer than"):
            S.stratified_k_fold(labels, k)
        return
    same(S.stratified_k_fold(labels, k), model_selection.StratifiedKFold(k), np.zeros(len(labels)), labels)


@given(st.lists(st.integers(0, 9), min_size=6, max_size=60), st.integers(2, 5))
def test_group_is_scikit_learns(groups, k):
    if len(set(groups)) < k:
        with pytest.raises(ValueError, match="number of groups"):
            S.group_k_fold(groups, k)
        return
    same(S.group_k_fold(groups, k), model_selection.GroupKFold(k), np.zeros(len(groups)), None, groups)


@given(st.integers(4, 50), st.integers(2, 6), st.integers(0, 3))
def test_time_series_is_scikit_learns(n, k, gap):
    if k > n or n - gap - (n // (k + 1)) * k <= 0 or n // (k + 1) == 0:
        return
    same(S.time_series(n, k, gap=gap), model_selection.TimeSeriesSplit(k, gap=gap), np.zeros(n))


def test_leave_p_out_is_scikit_learns():
    same(S.leave_p_out(7, 2), model_selection.LeavePOut(2), np.zeros(7))


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_folds_hold_every_row_once(seed):
    labels = np.arange(23) % 3
    for folds in (S.k_fold(23, 4, seed=seed), S.stratified_k_fold(labels, 4, seed=seed)):
        np.testing.assert_array_equal(np.sort(rows(folds.valid.ravel())), np.arange(23))
        for train, valid in zip(*folds, strict=True):
            np.testing.assert_array_equal(np.sort(np.r_[rows(train), rows(valid)]), np.arange(23))
    for valid in folds.valid:
        assert np.ptp(np.bincount(labels[rows(valid)])) <= 1


def test_hold_out():
    labels = np.repeat([0, 1], [40, 10])
    train, valid = S.hold_out(50, 0.2, stratify=labels)
    np.testing.assert_array_equal(np.sort(np.r_[train[0], valid[0]]), np.arange(50))
    np.testing.assert_array_equal(np.bincount(labels[valid[0]]), [8, 2])
    assert len(S.hold_out(50, 0.21).valid[0]) == 11
    assert not np.array_equal(S.hold_out(50, seed=1).valid, S.hold_out(50, seed=2).valid)


def test_bootstrap_has_the_size_of_the_data_and_validates_on_what_was_not_drawn():
    train, valid = S.bootstrap(30, 200)
    assert train.shape == (200, 30)
    for drawn, held in zip(train, valid, strict=True):
        assert set(rows(held)) == set(range(30)) - set(drawn)
    # A row is left out with probability (1 − 1/30)^30.
    assert abs((valid >= 0).sum() / (200 * 30) - (1 - 1 / 30) ** 30) < 0.02
    S.bootstrap(2, 50)


def test_repeated_and_foreign_splitters():
    folds = S.repeated(S.k_fold(7, 3, seed=s) for s in range(2))
    assert folds.train.shape == (6, 5)
    splitter = model_selection.ShuffleSplit(3, random_state=0)
    same(S.using(splitter, np.zeros(20)), splitter, np.zeros(20))


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda: S.k_fold(3, 4), "at most 3 folds"),
        (lambda: S.k_fold(3, 1), "folds >= 2"),
        (lambda: S.stratified_k_fold([0, 0, 0, 1], 2), "class .*1.* has 1 rows"),
        (lambda: S.leave_p_out(3, 3), "p < 3"),
        (lambda: S.hold_out(10, 1.5), r"fraction in \(0, 1\)"),
        (lambda: S.hold_out(10, stratify=[1, 2]), r"shape \(10,\)"),
        (lambda: S.time_series(4, 4, gap=3), "too few"),
        (lambda: S.using(3, np.zeros(3)), "split method"),
        (lambda: S.using([1, 2]), "pairs of row numbers"),
        (lambda: S.using([([0, 1], [1, 2])]), "row 1"),
        (lambda: S.using([([0, 1], [])]), "no validation rows"),
        (lambda: S.using([([True, False], [False, True])]), "np.flatnonzero"),
        (lambda: S.using([([0, -2], [1])]), "row numbers in fold 0"),
        (lambda: S.using([([0.5, 1.0], [2])]), "row numbers in fold 0"),
        (lambda: S.using([([2**32 + 1, 2], [0])]), "row numbers in fold 0"),
        (lambda: S.using([(np.array(3), [0])]), "row numbers in fold 0"),
        (lambda: S.repeated([]), "at least one split"),
        (lambda: S.hold_out(4, stratify=[0, 1, 2, 3]), "every class has one row"),
        (lambda: S.group_k_fold("nonsense", 2), r"groups of shape \(rows,\)"),
        (lambda: S.using([([0, 1], [2])], groups=["a", "b", "b"]), "fold 0 trains on rows of group .*b.* on row 2"),
        (lambda: S.using([([0, 1], [2])], groups=["a", "b"]), r"groups of shape \(3,\)"),
    ],
)
def test_misuse(misuse, message):
    with pytest.raises((ValueError, TypeError), match=message):
        misuse()


def test_no_row_is_on_both_sides_of_a_fold():
    """Folds of a user's own, or of a splitter of his own."""
    import jax

    class Leaky:
        def split(self, x, targets=None, groups=None):
            yield np.arange(4), np.arange(4, 6)
            yield np.arange(6), np.arange(4, 7)

    folds = S.Folds(np.array([[0, 1, 2, 3], [2, 3, 4, -1]]), np.array([[4, 5, -1], [0, 4, 5]]))
    for leaky in (folds, Leaky()):
        with pytest.raises(ValueError, match="fold 1 trains on row 4, and validates on it"):
            S.cross_validate(
                fnn.dense(1), fnn.optim.sgd(0.1), fnn.tasks.regression(), (np.ones((6, 1), np.float32), np.arange(6.0)),
                key=jax.random.key(0), folds=leaky, epochs=1, batch_size=2,
            )  # fmt: skip
