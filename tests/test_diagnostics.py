"""Dead units, saturation, gradients and steps are those found by hand; the first number not finite is named."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_layer import LAYERS, MODELS

import fnn
from fnn.diagnostics import diagnose, explain_divergence

KEY = jax.random.key(0)
X = jnp.sin(jnp.arange(24.0)).reshape(8, 3)
Y = jnp.cos(jnp.arange(8.0)).reshape(8, 1)
MODEL = fnn.serial(fnn.dense(4), fnn.relu, fnn.dense(5), fnn.sigmoid, fnn.dense(1))


def started(model, x=X):
    return fnn.Trained(*model.init(KEY, x))


def killed(trained, place, unit):
    """The unit's bias far below zero: no row reaches it."""
    params = list(trained.params)
    params[place] = {**params[place], "bias": params[place]["bias"].at[unit].set(-100.0)}
    return fnn.Trained(tuple(params), trained.state)


def test_every_number_is_that_of_a_network_by_hand():
    trained = killed(started(MODEL), 0, 2)
    seen = diagnose(MODEL, fnn.losses.mse, trained, (X, Y), key=KEY, optimizer=fnn.optim.sgd(0.5))
    assert seen.layers == ("0, dense(4)", "1, relu", "2, dense(5)", "3, sigmoid", "4, dense(1)")
    (first, _, second, _, last) = trained.params

    def from_hidden(h):
        return jnp.mean(
            (jax.nn.sigmoid(h @ second["kernel"] + second["bias"][None]) @ last["kernel"] + last["bias"][None] - Y) ** 2
        )

    hidden = jax.nn.relu(X @ first["kernel"] + first["bias"][None])
    inner = jax.nn.sigmoid(hidden @ second["kernel"] + second["bias"][None])
    np.testing.assert_allclose(seen.mean[1], hidden.mean(), rtol=1e-5)
    np.testing.assert_allclose(seen.spread[3], inner.std(), rtol=1e-5)
    np.testing.assert_allclose(seen.zeros[1], (hidden == 0).mean(), rtol=1e-6)
    np.testing.assert_allclose(seen.dead[1], (hidden == 0).all(0).mean(), rtol=1e-6)
    np.testing.assert_allclose(seen.saturated[3], (inner * (1 - inner) < 0.02).mean())
    np.testing.assert_allclose(seen.gradient[1], jnp.linalg.norm(jax.grad(from_hidden)(hidden)), rtol=1e-5)
    by_last = jax.grad(lambda p: jnp.mean((inner @ p["kernel"] + p["bias"][None] - Y) ** 2))(last)
    np.testing.assert_allclose(seen.weight_gradient[4], fnn.optim.global_norm(by_last), rtol=1e-5)
    np.testing.assert_allclose(
        seen.update[4], 0.5 * fnn.optim.global_norm(by_last) / fnn.optim.global_norm(last), rtol=1e-4
    )
    assert np.isnan(seen.weight[1])
    assert np.isnan(seen.dead[0])
    assert any("1, relu" in line and "leaky_relu or elu" in line for line in seen.advice)
    assert "1, relu" in str(seen)


ACTIVATIONS = {
    "relu": (fnn.relu, [-1.0, 1.0], 0.5, 0.0),
    "a function of one's own": (lambda v: jnp.maximum(v, 0.0), [-1.0, 1.0], 0.5, 0.0),
    "sigmoid": (fnn.sigmoid, [6.0, 0.0], 0.0, 0.5),
    "tanh": (fnn.tanh, [-5.0, 0.0], 0.0, 0.5),
    "hard_tanh": (fnn.hard_tanh, [3.0, 0.0], 0.5, 0.5),
    "leaky_relu": (fnn.leaky_relu, [-9.0, 1.0], 0.0, 0.5),
    "identity": (fnn.identity, [-9.0, 1.0], 0.0, 0.0),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_known_by_its_slope(name):
    function, x, dead, saturated = ACTIVATIONS[name]
    x = jnp.array([x, x])
    seen = diagnose(fnn.serial(function), fnn.losses.mse, ((((),)), ()), (x, x))
    assert (float(seen.dead[0]), float(seen.saturated[0])) == (dead, saturated)


def test_the_padding_of_sequences_is_no_output():
    lengths = jnp.array([2, 1])
    x = jnp.array([[[-1.0, 2.0], [-3.0, 4.0]], [[-5.0, 1.0], [9.0, 9.0]]])
    model, target = fnn.serial(fnn.relu), jnp.zeros((2, 2, 2))
    task = fnn.tasks.regression(2)
    seen = diagnose(model, task, ((((),)), ()), (fnn.Padded(x, lengths), target))
    np.testing.assert_allclose(seen.mean[0], (2 + 4 + 1) / 6, rtol=1e-6)
    np.testing.assert_allclose(seen.spread[0], np.std([0, 2, 0, 4, 0, 1]), rtol=1e-6)
    assert (float(seen.zeros[0]), float(seen.dead[0]), float(seen.saturated[0])) == (0.5, 0.5, 0.0)
    noisy = diagnose(model, task, ((((),)), ()), (fnn.Padded(x.at[1, 1].set(jnp.nan), lengths), target))
    jax.tree.map(np.testing.assert_array_equal, noisy, seen)
    nothing = diagnose(model, task, ((((),)), ()), (fnn.Padded(x, 0 * lengths), target))
    assert np.isnan([nothing.mean[0], nothing.zeros[0], nothing.dead[0], nothing.saturated[0]]).all()


@pytest.mark.devices(2)
def test_several_devices_with_explicit_axes_agree():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    x, lengths = jax.random.normal(jax.random.key(0), (4, 3, 2)), jnp.array([3, 0, 2, 1])
    model = fnn.serial(fnn.dense(2), fnn.tanh, fnn.dense(1))
    trained = fnn.Trained(*model.init(jax.random.key(1), x))
    for given in (x, fnn.Padded(x, lengths)):
        batch = given, x[..., :1]
        expected = diagnose(model, fnn.tasks.regression(), trained, batch)
        with jax.set_mesh(mesh):
            seen = diagnose(model, fnn.tasks.regression(), trained, jax.device_put(batch, split))
        jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6), seen, expected)


ELSEWISE = {
    "softmax": fnn.softmax, "prelu": fnn.prelu(), "dropout": fnn.dropout(0.5), "layer_norm": fnn.layer_norm(),
    "dense": fnn.dense(2),
}  # fmt: skip


@pytest.mark.parametrize("layer", ELSEWISE.values(), ids=ELSEWISE)
def test_what_is_no_elementwise_activation_has_no_dead_units(layer):
    x = jnp.array([[-1.0, 2.0], [0.5, -3.0]])
    model = fnn.serial(layer)
    seen = diagnose(model, fnn.losses.mse, started(model, x), (x, x), key=KEY)
    assert np.isnan(seen.dead[0])
    assert np.isnan(seen.saturated[0])


def deep(activation, layers=4, initializer=None):
    options = {} if initializer is None else {"kernel_init": initializer}
    return fnn.serial(*[part for _ in range(layers) for part in (fnn.dense(8, **options), activation)], fnn.dense(1))


@pytest.mark.parametrize(
    ("model", "trained", "text"),
    [
        (deep(fnn.sigmoid), None, "gradients vanish"),
        (deep(fnn.identity, 3, fnn.initializers.normal(5.0)), None, "gradients explode"),
        (deep(fnn.identity, 3, fnn.initializers.normal(0.02)), None, "outputs shrink"),
        (
            fnn.serial(fnn.dense(4, kernel_init=fnn.initializers.normal(50.0)), fnn.tanh, fnn.dense(1)),
            None,
            "saturated",
        ),
    ],
    ids=["vanish", "explode", "shrink", "saturate"],
)
def test_what_is_wrong_is_said_with_what_to_try(model, trained, text):
    seen = diagnose(model, fnn.losses.mse, started(model), (X, Y))
    assert any(text in line and "try" in line for line in seen.advice), seen.advice


ROWS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(6, 2)
LOOKED = {
    "diagnose": lambda trained, batch: diagnose(fnn.dense(1), fnn.losses.mse, trained, batch),
    "explain_divergence": lambda trained, batch: explain_divergence(
        fnn.dense(1), fnn.optim.sgd(0.1), fnn.losses.mse, trained, batch, key=KEY
    ),
}


@pytest.mark.parametrize("name", LOOKED)
@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (ROWS, r"expected batch \(x, targets\) or \(x, targets, weights\), got float32\[6,2\]"),
        ((ROWS,), r"expected batch \(x, targets\)"),
        ((ROWS, ROWS[:3, :1]), r"one target and one weight for every row of x, .* got float32\[6,2\], float32\[3,1\]"),
        ((ROWS[:0], ROWS[:0, :1]), "and a row at least, got"),
        ((ROWS, np.array([["a"]] * 6)), r"expected numeric targets, got <U1, 'a' at row 0"),
        ((ROWS.astype(np.float64) * 1e60, ROWS[:, :1]), r"expected x that fit float32"),
    ],
)
def test_what_is_no_batch_is_named(name, batch, message):
    trained = fnn.Trained(*fnn.dense(1).init(KEY, ROWS))
    with pytest.raises((TypeError, ValueError), match=f"{name}: .*{message}"):
        LOOKED[name](trained, batch)
    with pytest.raises(TypeError, match=rf"{name}: expected Trained\(params, state\), got dict"):
        LOOKED[name](trained.params, (ROWS, ROWS[:, :1]))


@pytest.mark.parametrize("name", LOOKED)
def test_lists_tables_and_wide_numbers_are_looked_at_as_arrays(name):
    pandas = pytest.importorskip("pandas")
    trained, y = fnn.Trained(*fnn.dense(1).init(KEY, ROWS)), ROWS[:, :1]
    expected = str(LOOKED[name](trained, (ROWS, y)))
    for x in (ROWS.tolist(), pandas.DataFrame(ROWS), ROWS.astype(np.float64)):
        assert str(LOOKED[name](trained, (x, y.astype(np.float64)))) == expected


def test_a_table_of_no_model_is_refused():
    with pytest.raises(TypeError, match=r"expected model to be a layer, got float32\[6,2\]; write summary\(model, x\)"):
        fnn.summary(ROWS, fnn.dense(1))


def test_a_sound_network_gets_no_advice_on_its_layers():
    model = fnn.serial(fnn.dense(32), fnn.tanh, fnn.dense(1))
    assert diagnose(model, fnn.losses.mse, started(model), (X, Y)).advice == []
    words, tokens = fnn.serial(lambda x: x[:, :-1], fnn.embedding(9, 4), fnn.dense(9)), jnp.array([[1, 2, 3]])
    seen = diagnose(words, fnn.tasks.multiclass(9), started(words, tokens), (tokens, jnp.array([[1, 2]])))
    assert not any("not finite" in line for line in seen.advice)  # of integers there is no mean and no gradient


def test_it_is_a_pure_function_under_jit_and_over_many_runs():
    model = fnn.serial(fnn.dense(3), fnn.relu)

    def one(params):
        return diagnose(model, fnn.losses.mse, fnn.Trained(params, ()), (X, X))

    params = started(model).params
    many = jax.tree.map(lambda leaf: jnp.stack([0 * leaf, leaf]), params)
    together, alone = jax.jit(jax.vmap(one))(many), one(params)
    assert together.layers == alone.layers
    np.testing.assert_allclose(together.gradient[1], alone.gradient, rtol=1e-5)
    assert together.dead[0, 1] == 1
    assert "2 layers of 2 runs" in str(together)


def test_layers_are_named_by_their_place_also_where_one_stands_in_two():
    model = fnn.serial(
        fnn.residual(fnn.serial(fnn.dense(3), fnn.batch_norm(), fnn.relu)),
        fnn.shared(fnn.dense(3), lambda use: fnn.serial(use, fnn.tanh, use)), fnn.dropout(0.2), fnn.dense(1),
    )  # fmt: skip
    step = fnn.train_step(model, fnn.optim.adam(1e-2), fnn.losses.mse)
    end = fnn.EpochEnd(0, {}, step.init(KEY, X))
    seen = diagnose(model, fnn.losses.mse, end.train_state, (X, Y), key=KEY, optimizer=fnn.optim.adam(1e-2))
    names = [name.split(", ")[0] for name in seen.layers]
    assert names == ["0 > 0 > 0", "0 > 0 > 1", "0 > 0 > 2", "0 > 1", "1 > 0", "1 > 1 > 1", "1 > 0", "2", "3"]
    assert np.isfinite(seen.gradient).all()
    assert (seen.update[np.isfinite(seen.update)] > 0).all()


EVERY = {**LAYERS, **MODELS}


@pytest.mark.thorough
@pytest.mark.parametrize("name", EVERY)
def test_every_layer_and_model_can_be_looked_into(name):
    """Traced, not computed; the widest loss there is: the mean of all that comes out."""

    def loss(outputs, targets):
        floats = [leaf for leaf in jax.tree.leaves(outputs) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
        return sum(jnp.abs(leaf.reshape(2, -1)).astype(jnp.float32).mean(axis=1) for leaf in floats)

    def look(x, targets):
        trained = fnn.Trained(*model.init(KEY, x))
        return diagnose(model, loss, trained, (x, targets), key=KEY)

    model = EVERY[name].layer
    seen = jax.eval_shape(look, EVERY[name].x(2), jax.ShapeDtypeStruct((2,), jnp.float32))
    assert len(seen.layers) == seen.gradient.shape[0] >= 1


def test_a_step_needs_a_key():
    with pytest.raises(TypeError, match="give a key"):
        diagnose(MODEL, fnn.losses.mse, started(MODEL), (X, Y), optimizer=fnn.optim.sgd(0.1))


@jax.custom_vjp
def poisoned(x):
    return x


poisoned.defvjp(lambda x: (x, x), lambda x, g: (jnp.where(x > 0.9, jnp.nan, g),))


def log_of_norm(params):
    return jnp.log(-1.0 - sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)))


WRONG = {
    "input": ({"x": X.at[3, 1].set(jnp.inf)}, r"^input, the batch: 1 of 32 entries not finite; .* before was 1"),
    "forward": ({"middle": jnp.log}, r"^forward, layer 1, log: output: \d+ of 32 entries not finite"),
    "forward overflow": ({"middle": lambda v: jnp.exp(200 * jnp.abs(v))}, r"^forward, layer 1, <lambda>: output"),
    "loss": ({"loss": lambda o, t: jnp.log(-jnp.abs(o[:, 0]))}, r"^loss, the loss, penalties included: 1 of 1"),
    "penalty": ({"penalty": log_of_norm}, r"^loss, the loss, penalties included"),
    "backward": (
        {"middle": fnn.serial(fnn.tanh, poisoned), "grow": 9.0},
        r"^backward, layer 1 > 0, tanh: gradient by ",
    ),
    "backward of a root": (
        {"middle": lambda v: jnp.sqrt(jnp.maximum(v, 0.0))},
        r"^backward, layer 0, dense\(4\): gradient by its output: \d+ of 32",
    ),
    "update": (
        {"optimizer": fnn.optim.chain(fnn.optim.sgd(1e30), fnn.optim.scale(1e30))},
        r"^update, layer 0, dense\(4\): \w+ after the step",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_first_number_that_is_not_finite_is_named(name):
    change, text = WRONG[name]
    model = fnn.serial(fnn.dense(4), change.get("middle", fnn.tanh), fnn.dense(1))
    (params, *rest), state = started(model)
    grown = fnn.Trained(({"kernel": params["kernel"] * change.get("grow", 1.0), "bias": params["bias"]}, *rest), state)
    found = explain_divergence(
        model, change.get("optimizer", fnn.optim.sgd(0.1)), change.get("loss", fnn.losses.mse), grown,
        (change.get("x", X), Y), key=KEY, penalty=change.get("penalty"),
    )  # fmt: skip
    assert found.phase == name.split()[0].replace("penalty", "loss")
    assert 0 < found.count <= found.size
    assert np.isfinite(found.largest)
    assert re.search(text, str(found)), str(found)


def test_a_number_too_large_for_half_precision_is_found_there():
    x = jnp.full((4, 2), 300.0)
    model = fnn.serial(lambda v: v * v, fnn.dense(1))
    given = (model, fnn.optim.sgd(1e-12), fnn.losses.mse, started(model, x), (x, x[:, :1]))
    found = explain_divergence(*given, key=KEY, compute_dtype=jnp.float16)
    assert str(found).startswith("forward, layer 0, <lambda>: output: 8 of 8 entries not finite")
    assert found.largest == 300
    assert explain_divergence(*given, key=KEY) is None


def test_a_finite_step_needs_no_explanation():
    assert explain_divergence(MODEL, fnn.optim.adam(0.1), fnn.losses.mse, started(MODEL), (X, Y), key=KEY) is None


def test_parameters_that_are_not_finite_are_named_by_layer_and_leaf():
    trained = started(MODEL)
    broken = jax.tree.map(jnp.copy, trained.params)
    broken[2]["bias"] = broken[2]["bias"].at[0].set(jnp.nan)
    found = explain_divergence(MODEL, fnn.optim.sgd(0.1), fnn.losses.mse, (broken, ()), (X, Y), key=KEY)
    assert str(found).startswith("parameters, layer 2, dense(5): bias: 1 of 5 entries not finite")


def test_a_summary_shows_dtypes_and_where_memory_goes():
    model = fnn.serial(fnn.dense(16), fnn.relu, fnn.dense(4))
    table = fnn.summary(model, (8, 10))
    assert table.rows == fnn.summary(model, jax.ShapeDtypeStruct((8, 10), jnp.float32)).rows
    assert [(row.dtype, row.bytes, row.output_bytes) for row in table.rows] == [
        ("float32", 4 * 11 * 16, 4 * 8 * 16), ("", 0, 4 * 8 * 16), ("float32", 4 * 17 * 4, 4 * 8 * 4),
    ]  # fmt: skip
    half = fnn.summary(model, jax.ShapeDtypeStruct((8, 10), jnp.bfloat16))
    assert half.rows[0].output == "bfloat16[8,16]"
    assert half.rows[0].output_bytes == 2 * 8 * 16
    block = fnn.dense(4)
    assert fnn.summary(fnn.serial(block, block), (8, 4)).parameters == 40


GROW = fnn.optim.Transform(
    lambda params: (), lambda updates, state, params=None, **_: (jax.tree.map(jnp.ones_like, updates), state)
)
EXPONENTIAL = fnn.serial(fnn.dense(1), jnp.exp)
OVERFLOWING = np.zeros((8, 1), np.float32), np.ones(8, np.float32)
OVERFLOWING[0][5] = 30.0
ABSOLUTE = fnn.tasks.regression(loss=fnn.losses.mae)
ROW_5 = "Replayed: forward, layer 1, exp: output: 1 of 2 entries not finite"


def search(how, **options):
    given = (EXPONENTIAL, GROW, ABSOLUTE, OVERFLOWING)
    return getattr(fnn.selection, how)(*given, key=KEY, batch_size=2, progress=False, **options)


def driven(**options):
    given = (EXPONENTIAL, GROW, ABSOLUTE, OVERFLOWING)
    return fnn.fit(*given, key=KEY, progress=False, epochs=3, batch_size=2, **options)


def compiled(**options):
    return fnn.trainer(EXPONENTIAL, GROW, ABSOLUTE, epochs=3, batch_size=2, **options)(KEY, OVERFLOWING)


def stopped_early(verb):
    return lambda: verb(early_stopping=fnn.early_stopping("loss", patience=3))


DIVERGING = {
    "fit": driven,
    "fit, early stopping": stopped_early(driven),
    "fit, bfloat16": lambda: driven(compute_dtype=jnp.bfloat16),
    "trainer": compiled,
    "trainer, early stopping": stopped_early(compiled),
    "cross_validate": lambda: search("cross_validate", epochs=3, folds=2),
    "cross_validate, scaled": lambda: fnn.selection.cross_validate(
        EXPONENTIAL, GROW, ABSOLUTE, OVERFLOWING, key=KEY, batch_size=2, folds=2, epochs=50,
        scaler=fnn.data.standard_scaler(), progress=False,
    ),
    "ensemble": lambda: fnn.selection.ensemble(
        EXPONENTIAL, GROW, ABSOLUTE, OVERFLOWING, key=KEY, batch_size=2, members=6, epochs=3,
        bootstrap=True, progress=False,
    ),
    "snapshots": lambda: fnn.selection.snapshots(
        EXPONENTIAL, lambda learning_rate: GROW, ABSOLUTE, OVERFLOWING, key=KEY, learning_rate=0.1,
        members=2, epochs=1, batch_size=2,
    ),
    "estimator": lambda: fnn.estimators.Regressor(
        model=EXPONENTIAL, optimizer=GROW, epochs=3, batch_size=2, random_state=0
    ).fit(*OVERFLOWING),
}  # fmt: skip


@pytest.mark.parametrize(
    "how", [how if how == "fit" else pytest.param(how, marks=pytest.mark.thorough) for how in DIVERGING]
)
def test_the_warning_of_a_run_replays_the_step_that_diverged(how):
    """The weight grows by one a step; row 5 alone overflows, in a later step: its batch and key are found again."""
    with pytest.warns(RuntimeWarning, match=ROW_5):
        DIVERGING[how]()


@pytest.mark.parametrize("verb", [driven, compiled])
@pytest.mark.devices(2)
def test_the_step_of_a_run_over_a_mesh_is_replayed(verb):
    with pytest.warns(RuntimeWarning, match=ROW_5):
        verb(mesh=fnn.devices.data_mesh())


def test_an_ensemble_of_which_every_member_diverged_says_in_which_layer():
    with pytest.raises(ValueError, match=rf"every member diverged\. .*{ROW_5}"):
        search("ensemble", members=2, epochs=3, bootstrap=False)


def test_a_setting_that_diverges_among_others_costs_no_further_training():
    with pytest.warns(RuntimeWarning, match=r"see \.diverged; a search of that setting alone says in which layer"):
        fnn.selection.cross_validate(
            fnn.dense(1), fnn.optim.sgd, fnn.tasks.regression(), (OVERFLOWING[0], OVERFLOWING[1]), key=KEY, folds=2,
            epochs=2, batch_size=4, over={"learning_rate": [1e-3, 1e30]}, progress=False,
        )  # fmt: skip


def test_many_runs_at_once_tell_where_they_diverged_and_each_alone_says_in_which_layer():
    run = fnn.trainer(EXPONENTIAL, GROW, ABSOLUTE, epochs=3, batch_size=2)
    keys = jax.random.split(KEY, 2)
    _, history = jax.vmap(lambda key: run(key, OVERFLOWING))(keys)
    assert (history["diverged_at"] >= 0).all()
    with pytest.warns(RuntimeWarning, match=ROW_5):
        run(keys[1], OVERFLOWING)
