"""Learning rates tried at once are runs of their own, and the suggestion trains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.selection import RateRange, rate_range

KEY = jax.random.key(0)
X = jnp.linspace(-1, 1, 24).reshape(24, 1)
DATA = (X, 3 * X[:, 0])
TASK = fnn.tasks.regression()


def found_with(data=DATA, **options):
    given = {"rates": 5, "seeds": 2, "steps": 12, "low": 1e-2, "high": 100.0, "batch_size": 8} | options
    return rate_range(fnn.dense(1), fnn.optim.sgd, TASK, data, **{"key": KEY} | given)


def test_a_column_is_a_training_loop_by_hand():
    found = found_with()
    np.testing.assert_allclose(found.rates, [1e-2, 1e-1, 1, 10, 100], rtol=1e-6)
    seed = jax.random.split(KEY, 2)[1]
    begin, order, train = jax.random.split(seed, 3)
    rows = np.concatenate([jax.random.permutation(one, 24) for one in jax.random.split(order, 4)]).reshape(12, 8)
    step = fnn.train_step(fnn.dense(1), fnn.optim.sgd(0.1), TASK)
    state, update = step.init(begin, X[:1]), jax.jit(step.update)
    for number, chosen in enumerate(rows):
        state, loss = update(state, jax.random.fold_in(train, number), (X[chosen], DATA[1][chosen][:, None]))
        np.testing.assert_allclose(found.losses[1, 1, number], loss, rtol=1e-4)


def test_keys_of_raw_numbers_are_keys():
    key = jax.random.PRNGKey(3)
    raw, typed = found_with(key=key), found_with(key=jax.random.wrap_key_data(key))
    np.testing.assert_array_equal(raw.losses, typed.losses)


def test_the_suggestion_trains_and_what_diverges_is_said():
    found = found_with()
    assert 0.1 <= found.suggestion <= 1.0
    assert found.spread[0] <= found.suggestion <= found.spread[1]
    assert "on some diverge" in str(found._replace(losses=np.where(found.losses > 1e6, np.nan, found.losses)))
    assert str(found).startswith(f"learning rate {found.suggestion:.2g}; the seeds' own best lie between")


def test_chunks_change_nothing():
    np.testing.assert_allclose(found_with().losses[:2], found_with(chunk=4).losses[:2], rtol=1e-4)


@pytest.mark.thorough
def test_rows_of_weight_0_are_in_no_batch():
    counts, y = np.arange(24) % 3 == 0, np.asarray(DATA[1])
    options = {"rates": 2, "steps": 6, "high": 1.0, "batch_size": 4}
    with pytest.warns(RuntimeWarning, match="end of the range"):
        found, alone = (found_with(data=data, **options) for data in (
            (X, np.where(counts, y, 1e6), counts), (X[counts], y[counts], np.ones(8))))  # fmt: skip
    np.testing.assert_array_equal(found.losses, alone.losses)


def test_the_best_at_an_end_of_the_range_is_no_minimum():
    with pytest.warns(RuntimeWarning, match=r"the best rate is the high end of the range, 0\.01; try a larger high"):
        found_with(low=1e-3, high=1e-2)


def test_suggestions_from_losses_written_down():
    losses = np.array([[[4.0, 3.0], [4.0, 3.0]], [[4.0, 1.0], [4.0, 2.0]], [[4.0, np.nan], [4.0, 0.5]]])
    found = RateRange(np.array([0.1, 1.0, 10.0]), losses)
    assert found.suggestion == 1.0
    assert found.spread == (1.0, 10.0)
    assert str(found).endswith("from 10 on some diverge")
    with pytest.raises(ValueError, match="a seed diverged at every rate"):
        str(found._replace(losses=np.full_like(losses, np.nan)))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"low": 1.0, "high": 0.1}, ValueError, r"expected 0 < low < high, got low=1.0 and high=0.1"),
        ({"rates": 0}, ValueError, "rates >= 1"),
        ({"chunk": 0}, ValueError, "chunk >= 1"),
    ],
)
def test_misuse_is_said(options, error, text):
    with pytest.raises(error, match=text):
        found_with(**options)


def test_an_optimizer_already_built_is_refused():
    with pytest.raises(TypeError, match=r"a function of the learning rate, got Transform; write fnn\.optim\.adam"):
        rate_range(fnn.dense(1), fnn.optim.adam(1e-3), TASK, DATA, key=KEY)


def test_the_figure_shows_bands_and_the_suggestion():
    pytest.importorskip("matplotlib")
    losses = np.linspace(4, 1, 20)[None, None] * np.array([[1.0, 1.1], [0.4, 0.5], [np.nan, 2.0]])[..., None]
    axes = fnn.plot.rate_range(RateRange(np.array([0.01, 0.1, 1.0]), losses)).axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["after 4 steps", "after 20 steps", "best of single seeds", "suggestion, 0.1"]
    assert axes.get_xscale() == "log"
