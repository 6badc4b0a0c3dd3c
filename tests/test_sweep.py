"""Searches: which settings are tried, which go on, and that going on changes no number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import fnn

KEY = jax.random.key(0)
S = fnn.selection
X = jnp.linspace(-1, 1, 24).reshape(24, 1)
DATA = (X, 3 * X[:, 0])
LINEAR, TASK, SGD = fnn.dense(1), fnn.tasks.regression(), fnn.optim.sgd
RATES = [0.001, 0.3, 0.002, 0.1, 0.004, 0.2, 0.03, 0.0005, 0.01]


def search(optimizer=SGD, **options):
    options = {"epochs": 9, "batch_size": 6, "folds": 2, "progress": False, "over": {"learning_rate": RATES}} | options
    return S.sweep(LINEAR, optimizer, TASK, DATA, key=KEY, **options)


def test_grid_is_cross_validation():
    found = search()
    alone = S.cross_validate(
        LINEAR, SGD, TASK, DATA, key=KEY, epochs=9, batch_size=6, folds=2, progress=False, over={"learning_rate": RATES}
    )
    assert str(found) == str(alone)
    assert found.kept.all()
    assert (found.epochs == 9).all()


@pytest.mark.thorough
def test_halving_keeps_the_best_third_and_the_winner_is_its_solo_run():
    found, whole = search(how="halving", seeds=2), search(seeds=2)
    # Larger rates are ahead at every epoch here, so the order of the race is known.
    order = np.argsort(RATES)[::-1]
    epochs = found.epochs[:, 0, 0]
    assert epochs[order].tolist() == [9, 3, 3, 1, 1, 1, 1, 1, 1]
    assert found.kept.tolist() == [rate == 0.3 for rate in RATES]
    assert found.finished.all()
    np.testing.assert_allclose(found.curves["validation_loss"][1], whole.curves["validation_loss"][1], rtol=1e-5)
    np.testing.assert_allclose(found.outputs[1], whole.outputs[1], rtol=1e-5)
    # Those that lost keep what they were when they stopped.
    for place, last in enumerate(epochs):
        curve = found.curves["validation_loss"][place]
        assert np.isfinite(curve[..., :last]).all()
        assert np.isnan(curve[..., last:]).all()
        np.testing.assert_allclose(curve[..., :last], whole.curves["validation_loss"][place][..., :last], rtol=1e-5)
        np.testing.assert_array_equal(found.scores["loss"][place], curve[..., last - 1])
    assert found.best("loss") == {"learning_rate": 0.3}
    assert "epochs" in str(found).splitlines()[0]


@pytest.mark.thorough
def test_momentum_and_keys_go_on_where_they_were():
    """What an optimizer and a dropout remember crosses the rungs."""
    model = fnn.serial(fnn.batch_norm(), fnn.dropout(0.3), fnn.dense(1))
    options = {"epochs": 6, "factor": 2, "batch_size": 6, "folds": 2, "progress": False, "chunk": 2}
    over = {"learning_rate": [0.001, 0.003, 0.01, 0.02]}
    found = S.sweep(model, fnn.optim.adam, TASK, DATA, key=KEY, over=over, how="halving", **options)
    del options["factor"]
    whole = S.cross_validate(model, fnn.optim.adam, TASK, DATA, key=KEY, over=over, **options)
    winner = int(np.flatnonzero(found.kept)[0])
    np.testing.assert_allclose(found.curves["loss"][winner], whole.curves["loss"][winner], rtol=1e-4)


@pytest.mark.thorough
def test_hyperband_runs_the_brackets_of_the_paper():
    """R = 9, factor 3: (9 settings, 1 epoch), (5, 3), (3, 9)."""
    over = {"learning_rate": scipy.stats.loguniform(1e-4, 0.3)}
    found = search(how="hyperband", over=over)
    assert len(found.settings) == 9 + 5 + 3
    epochs = found.epochs[:, 0, 0]
    assert sorted(epochs[:9].tolist()) == [1] * 6 + [3] * 2 + [9]
    assert sorted(epochs[9:14].tolist()) == [3] * 4 + [9]
    assert epochs[14:].tolist() == [9] * 3
    assert found.kept.sum() == 1 + 1 + 3
    rates = np.array([setting["learning_rate"] for setting in found.settings])
    assert ((rates >= 1e-4) & (rates <= 0.3)).all()
    assert len(set(rates)) == 17
    assert search(how="hyperband", over=over).settings == found.settings


def test_random_draws_are_those_of_the_key_and_not_twice_from_a_grid():
    over = {"learning_rate": [0.1, 0.2, 0.3], "momentum": [0.0, 0.5]}
    found = search(lambda learning_rate, momentum: SGD(learning_rate, momentum), how="random", trials=5, over=over)
    assert len({tuple(setting.values()) for setting in found.settings}) == 5
    assert all(setting["learning_rate"] in over["learning_rate"] for setting in found.settings)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:cross_validate")
def test_settings_that_diverge_lose():
    with pytest.warns(RuntimeWarning, match=r"sweep: 4 of 8 runs diverged"):
        found = search(how="halving", over={"learning_rate": [1e30, 0.01, 1e25, 0.02]}, epochs=4, factor=2)
    assert found.kept.tolist() == [False, False, False, True]
    assert found.diverged[[0, 2]].all()


def test_the_largest_score_wins_where_larger_is_better():
    found = search(how="halving", metric="r2", epochs=3)
    assert found.best("r2") == {"learning_rate": 0.3} == found.settings[int(np.flatnonzero(found.kept)[0])]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"how": "bayes"}, "how"),
        ({"trials": 3}, "every combination"),
        ({"how": "random"}, "trials=50"),
        ({"how": "random", "trials": 10}, "10 trials of 9 combinations"),
        ({"how": "hyperband", "trials": 4}, "brackets need"),
        ({"how": "halving", "factor": 1}, "factor >= 2"),
        ({"how": "halving", "metric": "accuracy"}, "'mse'"),
        ({"how": "halving", "early_stopping": fnn.early_stopping()}, "leave out early_stopping"),
        ({"over": {"learning_rate": scipy.stats.uniform()}}, 'how="random"'),
        ({"over": {"learning_rate": scipy.stats.uniform()}, "how": "halving"}, "needs trials"),
        ({"over": {}}, "expected over"),
        ({"over": {"momentun": [0.1]}, "how": "halving"}, "momentun"),
        ({"how": "halving", "folds": 1000}, "1000"),
    ],
)
def test_misuse(options, message):
    with pytest.raises(ValueError, match=message):
        search(**options)


@pytest.mark.parametrize("how", ["grid", "random"])
def test_a_number_is_no_key(how):
    with pytest.raises(TypeError, match=r"sweep: expected a random key, got int; write jax.random.key\(0\)"):
        S.sweep(LINEAR, SGD, TASK, DATA, key=0, over={"learning_rate": RATES}, how=how, trials=3, epochs=1)
