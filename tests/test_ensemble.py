"""Ensembles: members are their solo trainings, estimates use only rows a member did not see; averaged parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.selection.ensemble import outputs_for

KEY = jax.random.key(0)


@pytest.mark.parametrize("verb", ["ensemble", "snapshots"])
def test_padded_outputs_cannot_be_averaged_which_is_said_before_anything_is_trained(verb):
    model = fnn.rnn(3, return_sequences=True)
    data = fnn.Padded(np.ones((4, 5, 2), np.float32), np.array([5, 2, 1, 3], np.int32)), np.zeros((4, 5), np.int32)
    rule, options = (fnn.optim.sgd(0.1), {}) if verb == "ensemble" else (fnn.optim.sgd, {"learning_rate": 0.1})
    run = getattr(fnn.selection, verb)
    with pytest.raises(TypeError, match=rf"{verb}: .*are arrays, got fnn\.Padded; end it in lambda y: y\.values"):
        run(model, rule, fnn.tasks.multiclass(3), data, key=KEY, members=2, epochs=1, **options)


S = fnn.selection
TASK = fnn.tasks.multiclass(3)
MODEL = fnn.dense(3)


def data(rows=31):
    rng = np.random.default_rng(0)
    y = np.arange(rows) % 3
    return (rng.normal(size=(rows, 3)) + np.eye(3)[y]).astype(np.float32), y


def bagged(x, y, **options):
    options = {"members": 5, "epochs": 3, "batch_size": 8, "progress": False} | options
    return S.ensemble(MODEL, fnn.optim.sgd(0.1), TASK, (x, y), key=KEY, **options)


def samples(monkeypatch, given=None):
    """The bootstrap samples an ensemble draws, or those it is given instead."""
    drawn, real = [], S.bootstrap

    def watched(*arguments, **options):
        drawn.append(real(*arguments, **options) if given is None else given)
        return drawn[-1]

    monkeypatch.setattr("fnn.selection.splits.bootstrap", watched)
    return drawn


def test_members_are_solo_runs_and_the_estimate_uses_unseen_rows_only(monkeypatch):
    x, y = data()
    drawn = samples(monkeypatch)
    bag = bagged(x, y)
    (folds,) = drawn
    assert folds.train.shape == (5, 31)
    assert (folds.train >= 0).all()
    run = fnn.trainer(MODEL, fnn.optim.sgd(0.1), TASK, epochs=3, batch_size=8)
    total, times = np.zeros((31, 3)), np.zeros(31)
    for m, key in enumerate(jax.random.split(KEY, 5)):
        trained, _ = run(key, (x, y), folds.train[m])
        np.testing.assert_allclose(bag.outputs(x)[m], fnn.predict(MODEL, trained, x), rtol=1e-3, atol=1e-5)
        for row in range(31):
            if row not in folds.train[m]:
                total[row] += jax.nn.softmax(fnn.predict(MODEL, trained, x[row : row + 1]))[0]
                times[row] += 1
    seen = times > 0
    assert bag.always_in_bag == (~seen).sum()
    np.testing.assert_array_equal(np.isnan(bag.out_of_bag).all(axis=1), ~seen)
    np.testing.assert_allclose(bag.out_of_bag[seen], total[seen] / times[seen, None], rtol=1e-3, atol=1e-5)
    right = (total[seen].argmax(axis=1) == y[seen]).mean()
    assert bag.out_of_bag_scores["accuracy"] == pytest.approx(right)


def test_rows_always_in_bag_are_nan_and_counted(monkeypatch):
    x, y = data(6)
    train = np.array([[0, 0, 1, 2, 3, 4], [0, 1, 1, 2, 4, 5]], np.int32)
    valid = np.array([[5], [3]], np.int32)
    samples(monkeypatch, S.Folds(train, valid))
    bag = bagged(x, y, members=2, batch_size=3)
    assert bag.always_in_bag == 4
    assert np.isnan(bag.out_of_bag).all(axis=1).tolist() == [True, True, True, False, True, False]


def test_averages_votes_spread_and_uncertainty():
    logits = jnp.log(jnp.array([[[0.9, 0.1]], [[0.4, 0.6]], [[0.4, 0.6]]]))
    identity = fnn.dense(2)
    kernels = jnp.zeros((3, 1, 2))
    task = fnn.tasks.multiclass(2)
    made = S.Ensemble(identity, task, fnn.Trained({"kernel": kernels, "bias": logits[:, 0]}, ()), {})
    x = jnp.ones((4, 1))
    assert made.predict(x).tolist() == [0] * 4
    assert made.predict(x, "vote").tolist() == [1] * 4
    np.testing.assert_allclose(made.mean(x)[0], [1.7 / 3, 1.3 / 3], rtol=1e-5)
    np.testing.assert_allclose(made.spread(x, batch_size=3)[0], [np.std([0.9, 0.4, 0.4])] * 2, rtol=1e-4)
    entropy = lambda p: -np.sum(p * np.log(p), axis=-1)  # noqa: E731
    total, disagreement = made.uncertainty(x)
    expected = entropy(np.array([1.7, 1.3]) / 3)
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    parts = entropy(np.array([[0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])).mean()
    np.testing.assert_allclose(disagreement, expected - parts, rtol=1e-4)
    tied = made._replace(trained=jax.tree.map(lambda leaf: leaf[:2], made.trained))
    assert tied.predict(x, "vote").tolist() == [0] * 4, "the smallest class among equals"


@pytest.mark.parametrize(("task", "outputs"), [(fnn.tasks.binary(), 1), (fnn.tasks.multilabel(2), 2)])
def test_probabilities_are_averaged_whatever_their_layout(task, outputs):
    biases = jnp.array([[4.0, -4.0], [-1.0, 1.0], [-1.0, 1.0]])[:, :outputs]
    trained = fnn.Trained({"kernel": jnp.zeros((3, 1, outputs)), "bias": biases}, ())
    made = S.Ensemble(fnn.dense(outputs), task, trained, {})
    x = jnp.ones((2, 1))
    # The mean of sigmoid(4, -1, -1) is above one half, most members say no.
    assert np.ravel(made.predict(x)[0]).tolist() == [1, 0][:outputs]
    assert np.ravel(made.predict(x, "vote")[0]).tolist() == [0, 1][:outputs]


def perplexity(outputs, targets, *, weights=None):
    losses = fnn.losses.softmax_cross_entropy(outputs, targets)
    return jnp.exp(jnp.where(weights > 0, weights * losses, 0).sum() / weights.sum())


@pytest.mark.thorough
def test_pooled_outputs_of_exclusive_classes_are_their_log_probabilities():
    x, y = data()
    task = TASK._replace(metrics={"perplexity": perplexity})
    made = S.ensemble(
        MODEL, fnn.optim.sgd(0.1), task, (x, y), key=KEY, members=6, epochs=3, batch_size=8, progress=False
    )
    seen = np.isfinite(made.out_of_bag).all(axis=1)
    expected = np.exp(-np.log(made.out_of_bag[seen, y[seen]]).mean())
    np.testing.assert_allclose(made.out_of_bag_scores["perplexity"], expected, rtol=1e-5)
    decoded = made._replace(task=task._replace(decode=lambda outputs: jax.nn.softmax(outputs).argmax(axis=-1)))
    np.testing.assert_array_equal(decoded.predict(x), made.mean(x).argmax(axis=-1))


@pytest.mark.parametrize(("takes", "form"), [("probabilities", lambda p: p), ("log_probabilities", jnp.log)])
def test_a_task_of_probabilities_is_scored_by_them(takes, form):
    p = jnp.array([[0.2, 0.5, 0.3]])
    task = TASK._replace(takes=takes)
    np.testing.assert_allclose(outputs_for(task, p, (1, 3)), form(p))


def test_a_sample_without_a_row_that_counts_is_refused(monkeypatch):
    x, y = data(6)
    drawn = S.using([([0, 1, 3], [2, 4, 5]), ([2, 2, 2], [0, 1, 3, 4, 5])])
    samples(monkeypatch, drawn)
    weights = np.array([1, 1, 0, 1, 0, 0])
    with pytest.raises(ValueError, match="every weight of the rows drawn for member 1 is 0"):
        S.ensemble(MODEL, fnn.optim.sgd(0.1), TASK, (x, y, weights), key=KEY, members=2, epochs=1, progress=False)


def test_out_of_bag_rows_of_weight_0_are_no_score(monkeypatch):
    x, y = data(6)
    samples(monkeypatch, S.using([([0, 1, 3], [2, 4, 5])]))
    weights = np.array([1, 1, 0, 1, 0, 0])
    made = S.ensemble(MODEL, fnn.optim.sgd(0.1), TASK, (x, y, weights), key=KEY, members=1, epochs=1, progress=False)
    assert made.out_of_bag_scores == {}


@pytest.mark.thorough
def test_seeds_and_snapshots():
    x, y = data()
    seeds = bagged(x, y, bootstrap=False, members=2)
    assert seeds.out_of_bag is None
    assert not np.allclose(*seeds.outputs(x))
    rule, options = fnn.optim.sgd, {"key": KEY, "learning_rate": 0.05, "members": 3, "epochs": 2, "batch_size": 8}
    found = S.snapshots(MODEL, rule, TASK, (x, y), **options)
    first, *keys = jax.random.split(KEY, 4)
    trained = fnn.Trained(*MODEL.init(first, x[:1]))
    run = fnn.trainer(MODEL, rule(fnn.schedules.cosine_decay_schedule(0.05, 8)), TASK, epochs=2, batch_size=8)
    for m, key in enumerate(keys):
        trained, _ = run(key, (x, y), start=trained)
        np.testing.assert_allclose(found.outputs(x)[m], fnn.predict(MODEL, trained, x), rtol=1e-3, atol=1e-5)


def test_misuse():
    x, y = data()
    with pytest.raises(TypeError, match="snapshots: expected optimizer to be a function of the learning rate"):
        S.snapshots(MODEL, fnn.optim.adam(0.1), TASK, (x, y), key=KEY, learning_rate=0.1, epochs=1)
    with pytest.raises(ValueError, match="members"):
        bagged(x, y, members=0)
    with pytest.raises(ValueError, match="batch_size >= 1"):
        bagged(x, y, batch_size=0)
    trained = fnn.Trained({"kernel": jnp.zeros((3, 3, 1)), "bias": jnp.zeros((3, 1))}, ())
    values = S.Ensemble(fnn.dense(1), fnn.tasks.regression(), trained, {})
    with pytest.raises(ValueError, match='write how="average"'):
        values.predict(x, "vote")
    with pytest.raises(ValueError, match="write spread"):
        values.uncertainty(x)
    with pytest.raises(ValueError, match="median"):
        values.predict(x, "median")


@pytest.mark.thorough
@pytest.mark.parametrize("rule", ["ema", "swa"])
@pytest.mark.parametrize("how", ["trainer", "fit"])
def test_a_run_returns_the_averaged_parameters(rule, how):
    x = np.ones((4, 1), np.float32)
    y = np.zeros((4, 1), np.float32)
    inner = fnn.optim.sgd(0.1)
    averaged = fnn.optim.ema_params(inner, 0.5) if rule == "ema" else fnn.optim.swa_params(inner, 1)
    rule_of_all = fnn.optim.chain(fnn.optim.clip_by_global_norm(10.0), averaged)
    model, task = fnn.dense(1), fnn.tasks.regression()
    start = fnn.Trained({"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)}, ())
    options = {"epochs": 3, "batch_size": None}
    if how == "trainer":
        trained, history = fnn.trainer(model, rule_of_all, task, **options)(KEY, (x, y), validation=(x, y), start=start)
    else:
        trained, history = fnn.fit(
            model, rule_of_all, task, (x, y), key=KEY, validation=(x, y), start=start, progress=False, **options
        )
    step = fnn.train_step(model, inner, task)
    one = step.init(KEY, x)._replace(params=start.params)
    mean, kept = start.params["kernel"], []
    for _ in range(3):
        one, _ = step.update(one, KEY, (x, y))
        kept.append(one.params["kernel"])
        mean = 0.5 * mean + 0.5 * kept[-1]
    np.testing.assert_allclose(trained.params["kernel"], mean if rule == "ema" else sum(kept[1:]) / 2, rtol=1e-5)
    last = fnn.evaluate(model, trained, (x, y), task)["loss"]
    np.testing.assert_allclose(history["validation_loss"][-1], last, rtol=1e-5)


@pytest.mark.thorough
def test_members_that_diverge_are_named_and_left_out():
    x = jnp.linspace(-1, 1, 20).reshape(20, 1)

    def bag(x):
        return fnn.selection.ensemble(
            fnn.dense(1), fnn.optim.sgd(0.1), fnn.tasks.regression(), (x, jnp.ones(20)), key=jax.random.key(0),
            members=6, epochs=2, batch_size=20, progress=False,
        )  # fmt: skip

    with pytest.warns(RuntimeWarning, match=r"members \[.*\] diverged and are left out"):
        found = bag(x.at[3].set(1e25))  # its square overflows, in the samples that hold it
    outputs = np.asarray(found.outputs(x))
    assert 0 < len(outputs) < 6
    assert np.isfinite(outputs).all()
    with pytest.raises(ValueError, match="every member diverged"):
        bag(x + 1e25)
