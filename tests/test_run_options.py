"""What people ask of a run beside the loss: training metrics, callbacks at steps, plain numbers, precision."""

import functools
import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.optim.stated_rate import learning_rate
from fnn.train.options import Options

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(22, 3)).astype(np.float32)
Y = (X.sum(1) > 0).astype(np.int32)
TASK = fnn.tasks.multiclass(2)
MODEL = fnn.dense(2)


def fit(model=MODEL, optimizer=None, data=(X, Y), task=TASK, **options):
    options = dict(epochs=2, batch_size=8, key=KEY, progress=False) | options
    return fnn.fit(model, optimizer or fnn.optim.sgd(0.1), task, data, **options)


def test_training_metrics_are_the_means_over_the_steps_of_an_epoch():
    """At a learning rate of 0 the network stands still: the mean over its batches is that over all rows."""
    trained, history = fit(optimizer=fnn.optim.sgd(0.0), data=(X, Y, np.linspace(0, 2, 22)), validation=(X, Y))
    scores = fnn.evaluate(MODEL, trained, (X, Y, np.linspace(0, 2, 22)), TASK)
    np.testing.assert_allclose(history["accuracy"], 2 * [scores["accuracy"]], rtol=1e-5)
    assert [*history][:2] == ["loss", "validation_loss"]
    _, rows = fnn.trainer(MODEL, fnn.optim.sgd(0.0), TASK, epochs=2, batch_size=8)(KEY, (X, Y))
    assert rows["accuracy"].shape == (2,)
    assert "accuracy" not in fit(training_metrics=False)[1]


def test_a_training_metric_that_a_batch_does_not_define_is_the_mean_of_the_others():
    data = (X[:17], X[:17, 0])
    _, history = fit(fnn.dense(1), data=data, task=fnn.tasks.regression())  # 8, 8 and 1 rows, which have no R²
    assert np.isfinite(history["r2"]).all()


def test_training_metrics_can_be_watched_and_change_no_digit():
    rule = fnn.early_stopping("accuracy", patience=1)
    trained, history = fit(early_stopping=rule, epochs=9)
    assert history["best_epoch"] == int(np.argmax(history["accuracy"]))
    with pytest.raises(ValueError, match="expected monitor to be one of 'loss', got 'accuracy'"):
        fit(early_stopping=rule, training_metrics=False)
    jax.tree.map(np.testing.assert_array_equal, fit()[0], fit(training_metrics=False)[0])


def test_the_history_is_plain_numbers():
    _, history = fit(validation=0.2, early_stopping=fnn.early_stopping())
    assert json.loads(json.dumps(history)) == history
    assert {type(value) for value in history.values()} == {list, int}


def test_callbacks_at_steps_and_at_epochs():
    steps, epochs = [], []
    told = [fnn.every(2, steps.append), epochs.append]
    trained, history = fit(callbacks=told, epochs=3)
    assert [(end.epoch, end.step) for end in steps] == [(0, 2), (1, 4), (1, 6), (2, 8)]
    assert [end.epoch for end in epochs] == [0, 1, 2]
    assert steps[2].row["loss"] == pytest.approx(history["loss"][1])
    jax.tree.map(np.testing.assert_array_equal, trained, fit(epochs=3)[0])


def test_a_callback_at_a_step_ends_the_run_there():
    trained, history = fit(callbacks=[fnn.every(1, lambda end: end.step == 4)], epochs=3)
    assert history["epochs"] == 1
    assert len(history["loss"]) == 1


def test_an_error_in_a_callback_says_whose_it_is():
    def broken(end):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as error:
        fit(callbacks=[broken])
    assert "in the callback" in error.value.__notes__[0]
    assert "broken" in error.value.__notes__[0]


@pytest.mark.parametrize(
    ("callbacks", "came"),
    [
        (print, "the function print"),
        (functools.partial(print), "partial"),
        (fnn.every(1, print), "Every"),
        ([1], r"\[1\]"),
        (3, "3"),
        (None, "None"),
    ],
)
def test_what_is_no_list_of_functions_is_refused(callbacks, came):
    with pytest.raises(TypeError, match=rf"callbacks to be a list of functions, got {came}; write callbacks="):
        fit(callbacks=callbacks)


def test_sums_over_many_steps_lose_no_digits():
    """A hundred thousand times 0.1 in float32: added plainly it is off by a hundredth of a percent."""
    from fnn.train.loop import Means

    value, zero = jnp.float32(0.1), Means(("loss",), jnp.zeros((1, 2)), jnp.zeros((1, 2)))
    plus = lambda i, mean: mean.plus({"loss": value}, {"loss": jnp.ones(())}, {"loss": jnp.array(True)})  # noqa: E731
    total = jax.jit(lambda mean: jax.lax.fori_loop(0, 100_000, plus, mean))(zero).total
    np.testing.assert_allclose(total[0], 100_000 * np.float64([value, 1]), rtol=1e-7)


NETS = {
    "dense": (fnn.serial(fnn.dense(8), fnn.relu, fnn.dense(2)), X),
    "batch norm": (fnn.serial(fnn.dense(8), fnn.batch_norm(), fnn.relu, fnn.dropout(0.2), fnn.dense(2)), X),
    "conv": (
        fnn.serial(fnn.conv(4, 3), fnn.batch_norm(), fnn.relu, fnn.max_pool(2), fnn.flatten(), fnn.dense(2)),
        np.random.default_rng(1).normal(size=(22, 4, 4, 1)).astype(np.float32),
    ),
    "lstm": (
        fnn.serial(fnn.lstm(4), fnn.dense(2)),
        np.random.default_rng(1).normal(size=(22, 5, 3)).astype(np.float32),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [name if name == "dense" else pytest.param(name, marks=pytest.mark.thorough) for name in NETS]
)
def test_bfloat16_is_the_casts_written_by_hand(name):
    model, x = NETS[name]
    low = jnp.bfloat16
    step = fnn.train_step(model, fnn.optim.sgd(0.1), TASK, compute_dtype=low)
    state = step.init(KEY, x)
    batch, key = (x[:8], Y[:8], np.ones(8, np.float32)), jax.random.key(1)

    def by_hand(params):
        cast = jax.tree.map(lambda leaf: leaf.astype(low), params)
        outputs, new = model.apply(cast, state.state, jnp.asarray(x[:8], low), key=key, train=True)
        return TASK.loss(outputs.astype(jnp.float32), batch[1]).mean(), new

    (loss, new), gradient = jax.value_and_grad(by_hand, has_aux=True)(state.params)
    after, found = step.update(state, key, batch)
    np.testing.assert_allclose(found, loss, rtol=1e-6)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), after.params, expected)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((after.params, after.state)))


@pytest.mark.thorough
def test_every_verb_computes_in_bfloat16():
    model = NETS["batch norm"][0]
    low = {"compute_dtype": jnp.bfloat16}
    trained, history = fit(model, validation=(X, Y), **low)
    same, rows = fnn.trainer(model, fnn.optim.sgd(0.1), TASK, epochs=2, batch_size=8, **low)(
        KEY, (X, Y), validation=(X, Y)
    )
    jax.tree.map(np.testing.assert_array_equal, trained, same)
    assert history["loss"] != fit(model)[1]["loss"]
    scores = fnn.evaluate(model, trained, (X, Y), TASK, **low)
    np.testing.assert_allclose(scores["loss"], history["validation_loss"][-1], rtol=1e-5)
    outputs = fnn.predict(model, trained, X, **low)
    assert outputs.dtype == jnp.float32
    assert not np.array_equal(outputs, fnn.predict(model, trained, X))
    found = fnn.selection.cross_validate(
        model, fnn.optim.sgd(0.1), TASK, (X, Y), key=KEY, folds=2, epochs=1, batch_size=8, progress=False, **low
    )
    assert np.isfinite(found.scores["loss"]).all()
    with pytest.raises(TypeError, match="expected compute_dtype to be a floating dtype, got"):
        fit(compute_dtype="bf")


def test_float16_scales_its_loss_and_leaves_overflowing_steps_out():
    rule = fnn.optim.scale_loss(fnn.optim.sgd(0.1), 2.0**40, largest=2.0**60)
    trained, history = fit(NETS["dense"][0], rule, epochs=12, compute_dtype=jnp.float16)
    assert history["diverged_at"] == -1
    assert 0 < history["skipped"] < 36
    assert history["loss"][-1] < history["loss"][0]


def test_a_scaled_loss_keeps_gradients_that_float16_would_lose():
    """A gradient of 1e-9 is nothing in float16."""
    model, tiny = fnn.dense(1, use_bias=False), lambda outputs, targets: 1e-9 * outputs[:, 0]

    def moved(rule):
        step = fnn.train_step(model, rule, tiny, compute_dtype=jnp.float16)
        state = step.init(KEY, X)
        return step.update(state, KEY, (X, X))[0].params["kernel"] - state.params["kernel"]

    with pytest.warns(RuntimeWarning, match="gradients below 6e-08 become 0"):
        assert not moved(fnn.optim.sgd(1e6)).any()
    expected = -1e-3 * X.mean(0)[:, None]
    np.testing.assert_allclose(moved(fnn.optim.scale_loss(fnn.optim.sgd(1e6), 2.0**15)), expected, rtol=0.02, atol=1e-6)


def falling(step):
    return 0.5 / (1 + step.astype(jnp.float32))


SGD = fnn.optim.sgd
RATES = {
    "number": (lambda: SGD(0.25), [0.25, 0.25]),
    "schedule": (lambda: SGD(falling), [0.5 / 3, 0.5 / 6]),  # the last of three steps, of six
    "wrapped": (
        lambda: fnn.optim.chain(fnn.optim.clip(1.0), fnn.optim.ema_params(fnn.optim.adam(falling), decay=0.9)),
        [0.5 / 3, 0.5 / 6],
    ),
    "lookahead": (lambda: fnn.optim.lookahead(SGD(falling), 2, 0.5), [0.5 / 3, 0.5 / 6]),
    "schedule free": (lambda: fnn.optim.schedule_free(SGD(0.25), 0.25), [0.25, 0.25]),
    "one group": (
        lambda: fnn.optim.partition(
            {"moves": SGD(0.25), "stays": fnn.optim.set_to_zero()},
            fnn.optim.by_path(lambda path: "moves" if path.endswith("kernel") else "stays"),
        ),
        [0.25, 0.25],
    ),
    "masked": (lambda: fnn.optim.masked(SGD(0.25), fnn.optim.by_path(lambda path: "kernel" in path)), [0.25, 0.25]),
    "every second step": (lambda: fnn.optim.multi_steps(SGD(falling), 2), [0.5, 0.5 / 3]),
    "skipping": (lambda: fnn.optim.scale_loss(fnn.optim.apply_if_finite(SGD(0.25), 3)), [0.25, 0.25]),
    "plateau": (
        lambda: fnn.optim.chain(SGD(0.25), fnn.optim.reduce_on_plateau(0.5, patience=1, rtol=0.0, atol=1.0)),
        [0.25 / 4, 0.25 / 32],
    ),
}  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize("name", RATES)
def test_the_learning_rate_stands_in_the_history(name):
    make, expected = RATES[name]
    np.testing.assert_allclose(fit(optimizer=make())[1]["learning_rate"], expected, rtol=1e-6)


def test_a_rate_that_optax_keeps_in_its_state_is_found_and_one_that_nobody_states_is_not():
    optax = pytest.importorskip("optax")
    with jax.numpy_dtype_promotion("standard"):
        _, history = fit(optimizer=optax.inject_hyperparams(optax.sgd)(learning_rate=0.25))
        _, other = fit(optimizer=optax.sgd(0.25))
    np.testing.assert_allclose(history["learning_rate"], [0.25, 0.25])
    assert "learning_rate" not in other
    assert "learning_rate" not in fit(optimizer=fnn.optim.scale(-0.1))[1]
    by_kind = fnn.optim.by_path(lambda path: path.endswith("kernel"))
    for other in (SGD(0.2), fnn.optim.scale(-0.2)):  # two groups move, also where only one states its rate
        assert "learning_rate" not in fit(optimizer=fnn.optim.partition({True: SGD(0.1), False: other}, by_kind))[1]


def test_a_masked_rule_states_its_rate_unless_another_moves_the_rest():
    optim, optax = fnn.optim, pytest.importorskip("optax")
    params = {"a": np.ones(1, np.float32), "b": np.ones(1, np.float32)}
    some, rest = {"a": True, "b": False}, {"a": False, "b": True}
    one, other = optim.masked(SGD(0.25), some), optim.masked(SGD(0.5), rest)
    injected = optax.inject_hyperparams(optax.sgd)
    for rule, rate in (
        (one, 0.25),
        (optim.chain(optim.clip(1.0), one, optim.freeze(rest)), 0.25),
        (optim.chain(one, optim.reduce_on_plateau(0.5)), 0.25),
        (optim.partition({True: optim.chain(one), False: optim.set_to_zero()}, {"a": True, "b": True}), 0.25),
        (optim.chain(optim.apply_if_finite(one, 1), other), None),
        (optim.chain(optim.chain(one), SGD(1.0)), None),
        (optim.chain(optax.masked(injected(0.25), some)), 0.25),
        (optim.chain(optax.masked(injected(0.25), some), optax.masked(injected(0.5), rest)), None),
    ):
        with jax.numpy_dtype_promotion("standard"):
            assert learning_rate(rule, rule.init(params)) == rate


SELECTION = fnn.selection
VERBS = {
    fnn.fit: set(),
    fnn.trainer: set(),
    SELECTION.cross_validate: set(),
    SELECTION.sweep: set(),
    SELECTION.learning_curve: set(),
    SELECTION.ensemble: set(),
    SELECTION.snapshots: {"early_stopping"},  # a cycle that stops early has not ended
}


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_every_verb_spells_the_same_options(verb):
    parameters = inspect.signature(verb).parameters
    assert {*Options._fields} - {*parameters} == VERBS[verb]
    defaults = Options(epochs=1)._asdict()
    for name in Options._fields[1:-2]:
        if name in parameters:
            assert parameters[name].default == defaults[name]
    kinds = {parameter.kind for parameter in parameters.values()}
    assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["grid", "halving"])
def test_every_search_takes_every_option(how):
    options = dict(shuffle=False, training_metrics=True, penalty=fnn.optim.l2(1e-3), compute_dtype=jnp.bfloat16)
    found = SELECTION.sweep(
        MODEL, SGD, TASK, (X, Y), key=KEY, over={"learning_rate": [0.1, 0.2]}, how=how, factor=2, folds=2, epochs=2,
        batch_size=8, progress=False, **options,
    )  # fmt: skip
    assert np.isfinite(found.curves["accuracy"][..., 0]).all()


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:sweep. 4 of 4 runs diverged")
def test_a_search_of_which_every_setting_diverged_says_so():
    with pytest.warns(RuntimeWarning, match="all 2 settings that were to be compared after 1 epochs diverged"):
        SELECTION.sweep(
            fnn.dense(1), SGD, fnn.tasks.regression(), (X, X[:, 0]), key=KEY, over={"learning_rate": [1e30, 1e31]},
            how="halving", factor=2, folds=2, epochs=2, batch_size=8, progress=False,
        )  # fmt: skip


def test_the_momentum_of_sgd_is_named():
    with pytest.raises(ValueError, match=r"sgd: expected momentum in \[0, 1\], got 1.5"):
        SGD(0.1, momentum=1.5)


def test_an_estimator_goes_on_from_what_is_trained_and_not_from_its_averages():
    estimators = pytest.importorskip("fnn.estimators")

    def averaged(rate):
        return fnn.optim.ema_params(SGD(rate), decay=0.9)

    fitted = estimators.Classifier(
        hidden=(4,), optimizer=averaged, learning_rate=0.1, epochs=3, random_state=0,
        early_stopping=fnn.early_stopping("loss"),
    ).fit(X, Y)  # fmt: skip
    state = fitted._train_state
    average = fnn.optim.eval_params(state.opt_state, state.params)
    moved = jax.tree.map(lambda raw, mean: np.abs(raw - mean).max(), state.params, average)
    assert max(jax.tree.leaves(moved)) > 0
    jax.tree.map(lambda mean, kept: np.testing.assert_allclose(mean, kept, rtol=1e-5), average, fitted.trained_.params)


HALF = {"compute_dtype": jnp.float16}
EVERY_VERB = {
    "train_step": lambda rule, **low: fnn.train_step(MODEL, rule, TASK, **low).update(
        fnn.train_step(MODEL, rule, TASK).init(KEY, X), KEY, (X, Y)
    ),
    "fit": lambda rule, **low: fit(optimizer=rule, epochs=1, **low),
    "trainer": lambda rule, **low: fnn.trainer(MODEL, rule, TASK, epochs=1, **low)(KEY, (X, Y)),
    "cross_validate": lambda rule, **low: fnn.selection.cross_validate(
        MODEL, rule, TASK, (X, Y), key=KEY, epochs=1, folds=2, progress=False, **low
    ),
    "estimator": lambda rule, **low: fnn.estimators.Classifier(model=MODEL, optimizer=rule, epochs=1, **low).fit(X, Y),
}


@pytest.mark.parametrize(
    "verb", [verb if verb == "fit" else pytest.param(verb, marks=pytest.mark.thorough) for verb in EVERY_VERB]
)
def test_float16_without_a_scaled_loss_says_what_to_write(verb):
    """Gradients below float16's smallest number are 0, and the run looks as if nothing were the matter."""
    fnn.programs.clear()
    with pytest.warns(RuntimeWarning, match=r"below 6e-08 become 0.*write fnn\.optim\.scale_loss\(optimizer\)"):
        EVERY_VERB[verb](fnn.optim.sgd(0.1), **HALF)
    EVERY_VERB[verb](fnn.optim.chain(fnn.optim.scale_loss(fnn.optim.sgd(0.1))), **HALF)
    EVERY_VERB[verb](fnn.optim.sgd(0.1), compute_dtype=jnp.bfloat16)
