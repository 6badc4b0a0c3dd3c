"""Learning curves: scikit-learn's sizes and subsets, members that are their solo runs; figures with labels."""

import jax
import numpy as np
import pytest

import fnn

KEY = jax.random.key(0)
S = fnn.selection
RNG = np.random.default_rng(0)
X = RNG.normal(size=(22, 2)).astype(np.float32)
Y = (X @ np.array([1.0, -2.0])).astype(np.float32)
PARTS = fnn.dense(1), fnn.optim.sgd(0.1), fnn.tasks.regression(), (X, Y)
OPTIONS = {"key": KEY, "epochs": 3, "batch_size": 4, "progress": False}


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:Removed duplicate entries")
def test_sizes_and_subsets_are_those_of_scikit_learn():
    selection = pytest.importorskip("sklearn.model_selection")
    dummy = pytest.importorskip("sklearn.dummy")
    shares = np.array([0.1, 0.11, 0.5, 1.0])
    sizes, _, theirs = selection.learning_curve(
        dummy.DummyRegressor(), X, Y, cv=selection.KFold(4), train_sizes=shares, scoring="neg_mean_squared_error"
    )
    found = S.learning_curve(*PARTS, folds=S.k_fold(22, 4), sizes=shares, seed=None, seeds=2, **OPTIONS)
    assert found.sizes.tolist() == sizes.tolist()
    assert found.scores["mse"].shape == found.training_scores["mse"].shape == (*theirs.shape, 2)
    folds = S.k_fold(22, 4)
    run = fnn.trainer(*PARTS[:3], epochs=3, batch_size=4)
    for place, fold, seed in ((1, 0, 1), (2, 3, 0)):
        rows, valid = (side[fold][side[fold] >= 0] for side in folds)
        trained, _ = run(jax.random.split(KEY, 2)[seed], (X, Y), rows[: sizes[place]])
        alone = fnn.evaluate(PARTS[0], trained, (X, Y), PARTS[2], valid)["mse"]
        np.testing.assert_allclose(found.scores["mse"][place, fold, seed], alone, rtol=1e-4)
        seen = fnn.evaluate(PARTS[0], trained, (X, Y), PARTS[2], rows[: sizes[place]])["mse"]
        np.testing.assert_allclose(found.training_scores["mse"][place, fold, seed], seen, rtol=1e-4)


@pytest.mark.parametrize("sizes", [[0.0, 1.0], [1.5], [0], [40], [], [float("nan")], "half"])
def test_wrong_sizes(sizes):
    with pytest.raises(ValueError, match="learning_curve: expected sizes"):
        S.learning_curve(*PARTS, sizes=sizes, **OPTIONS)


@pytest.mark.thorough
def test_a_hold_out_split_is_scored_at_a_part_of_its_size():
    found = S.learning_curve(*PARTS, folds=S.hold_out(22, 0.25), sizes=[0.25, 0.5], **OPTIONS)
    assert found.sizes.tolist() == [4, 8]
    assert np.isfinite(found.scores["loss"]).all()
    with pytest.raises(ValueError, match="learning_curve: 2 of 22 rows stand in no fold"):
        S.learning_curve(*PARTS, folds=S.hold_out(20, 0.25), sizes=[1.0], **OPTIONS)


@pytest.mark.thorough
def test_targets_are_encoded_once():
    task = fnn.tasks.regression()
    doubled = task._replace(encode=lambda targets: task.encode(2 * targets))
    given, folds = (*PARTS[:2], doubled, (X, Y)), S.hold_out(22, 0.25)
    found = S.learning_curve(*given, folds=folds, sizes=[1.0], seed=None, **OPTIONS)
    whole = S.cross_validate(*given, folds=folds, **OPTIONS)
    np.testing.assert_allclose(found.scores["mse"][0], whole.scores["mse"][0], rtol=1e-5)


def test_a_size_without_a_row_that_counts_is_refused():
    weights = np.ones(22)
    weights[:3] = 0
    with pytest.raises(ValueError, match="every weight of the training rows of fold 0 is 0"):
        S.learning_curve(*PARTS[:3], (X, Y, weights), folds=S.hold_out(22, 0.25, seed=None), sizes=[2, 6], seed=None,
                         **OPTIONS)  # fmt: skip


def test_one_setting_only():
    with pytest.raises(TypeError, match="unexpected keyword argument 'over'"):
        S.learning_curve(*PARTS, over={"learning_rate": [0.1]}, **OPTIONS)


def test_figures():
    pytest.importorskip("matplotlib")
    scores = np.array([[[3.0], [5.0]], [[1.0], [1.0]]])
    axes = fnn.plot.score_by_size(S.LearningCurve(np.array([5, 9]), {"mse": scores}, {"mse": scores / 2}), "mse").axes[
        0
    ]
    assert axes.lines[0].get_ydata().tolist() == [4, 1]
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == 5  # the standard error of 3 and 5 is 1
    with pytest.raises(ValueError, match="expected metric to be one of 'mse'"):
        fnn.plot.score_by_size(S.LearningCurve(np.array([5, 9]), {"mse": scores}, {"mse": scores / 2}), "loss")
    no = np.zeros((2, 2, 1), bool)
    settings = ({"rate": 1.0}, {"rate": 0.01})
    found = S.CrossValidation(settings, *[{"mse": scores}] * 2, {}, no, no, ~no, np.ones((2, 2, 1)), ~no[:, 0, 0])
    axes = fnn.plot.validation_curve(found, "rate", "mse").axes[0]
    assert axes.lines[0].get_ydata().tolist() == [1, 4]
    assert axes.get_xscale() == "log"
    with pytest.raises(ValueError, match="only setting"):
        fnn.plot.validation_curve(found, "decay")
