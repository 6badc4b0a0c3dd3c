"""Parameters given from outside are this model's, or an error says which layer differs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (12, 4))
Y = np.arange(12) % 3
TASK = fnn.tasks.multiclass(3)


def net(width=8, last=3, norm=True):
    inner = fnn.serial(fnn.dense(width), *([fnn.batch_norm()] if norm else []), fnn.relu)
    return fnn.serial(fnn.dense(5), inner, fnn.dense(last))


def init(model, x=X):
    return fnn.Trained(*model.init(KEY, x))


def fit(model, given, **options):
    return fnn.fit(
        model, fnn.optim.sgd(0.1), TASK, (X, Y), key=KEY, epochs=1, batch_size=6, start=given, progress=False, **options
    )


def train(model, given):
    run = fnn.trainer(model, fnn.optim.sgd(0.1), TASK, epochs=1, batch_size=6)
    return run(KEY, (X, Y), start=given)


DOORS = {
    "predict": ("predict", lambda model, given: fnn.predict(model, given, X)),
    "evaluate": ("evaluate", lambda model, given: fnn.evaluate(model, given, (X, Y), TASK)),
    "fit": ("start", fit),
    "trainer": ("start", train),
    "many at once": ("start", lambda model, given: jax.vmap(lambda key: train(model, given))(jax.random.split(KEY, 2))),
    "the step": (
        "start",
        lambda model, given: fnn.train_step(model, fnn.optim.sgd(0.1), TASK).init(KEY, X, given),
    ),
    "compiled": ("predict", lambda model, given: jax.jit(lambda t: fnn.predict(model, t, X))(given)),
    "mc_dropout": ("predict", lambda model, given: fnn.predict(fnn.mc_dropout(model), given, X)),
}
OTHERS = {
    "another width": (init(net(16)), r"layer 1 > 0, dense\(8\): kernel is float32\[5,8\], got float32\[5,16\]"),
    "another last layer": (init(net(last=4)), r"layer 2, dense\(3\): kernel is float32\[8,3\], got float32\[8,4\]"),
    "no state": (fnn.Trained(init(net()).params, ()), r"layer 1 > 1, batch_norm\(\): mean is missing: .*float32\[8\]"),
    "no norm": (init(net(norm=False)), r"layer 1 > 1, batch_norm\(\): bias is missing"),
    "integers": (
        jax.tree.map(lambda a: a.astype(int), init(net())),
        r"layer 0, dense\(5\): kernel is float32\[4,5\], got i",
    ),
    "lists": (fnn.Trained(list(init(net()).params), init(net()).state), "expected params of the structure"),
    "nothing": (fnn.Trained((), ()), r"layer 0, dense\(5\): .* is missing"),
    "one layer more": (init(fnn.serial(*net().parts, fnn.dense(3))), r"3/bias is not this model's"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("other", ["another width", "no state"])
def test_every_door_names_the_layer_that_differs(door, other):
    where, use = DOORS[door]
    given, message = OTHERS[other]
    with pytest.raises(ValueError, match=f"^{where}: {message}"):
        use(net(), given)


@pytest.mark.parametrize("other", OTHERS)
def test_structure_shapes_and_kinds_of_number_are_compared(other):
    given, message = OTHERS[other]
    with pytest.raises(ValueError, match=message):
        fnn.predict(net(), given, X)


def test_the_right_parameters_pass_in_any_precision_of_their_own():
    model = net()
    given = init(model)
    whole = fnn.predict(model, given, X)
    np.testing.assert_allclose(whole, model.apply(*given, X)[0], rtol=1e-5, atol=1e-6)
    assert fnn.predict(model, given, X.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert fnn.predict(model, jax.tree.map(np.asarray, given), X).shape == whole.shape


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (fnn.lstm(3, stateful=True), jnp.ones((4, 5, 2))),
        (fnn.serial(fnn.embedding(5, 2), fnn.gru(3)), jnp.zeros((4, 3), int)),
        (fnn.gru(3), fnn.Padded(jnp.ones((4, 5, 2)), jnp.array([5, 2, 1, 3]))),
        (fnn.spectral_norm(fnn.dense(3)), X),
        (fnn.shared(fnn.dense(4), lambda use: fnn.serial(use, fnn.batch_norm(), use)), X),
        (fnn.activity_penalty(l1=1.0), X),
        (fnn.Layer(lambda key, x: ({"seed": key}, ()), lambda p, s, x, **_: (x, s)), X),
        (fnn.Layer(lambda key, x: (None, None), lambda p, s, x, **_: (x, s)), X),
        (fnn.as_layer(fnn.relu), X),
    ],
)
def test_every_kind_of_layer_takes_what_its_own_init_made(model, x):
    assert jax.tree.leaves(fnn.predict(model, init(model, x), x))


def test_a_model_that_begins_with_other_inputs_than_it_predicts_from_is_not_compared():
    model, source = fnn.models.encoder_decoder(3, 1, steps=2), jnp.ones((4, 5, 2))
    given = init(model, (source, jnp.ones((4, 2, 1))))
    assert fnn.predict(model, given, source).shape == (4, 2, 1)


@pytest.mark.parametrize("given", [({},), None, 3, jnp.ones(3), "model"])
def test_what_is_no_trained_model_is_said(given):
    for where, use in (DOORS[name] for name in ("predict", "evaluate")):
        with pytest.raises(TypeError, match=rf"^{where}: expected Trained\(params, state\), got "):
            use(net(), given)


def test_shared_and_wrapped_layers_are_named():
    def tied(width):
        return fnn.shared(fnn.dense(4), lambda use: fnn.serial(use, fnn.weight_norm(fnn.dense(width)), fnn.dense(1)))

    with pytest.raises(
        ValueError, match=r"layer 1 > 1, weight_norm\(dense\(6\)\): kernel is float32\[4,6\], got float32\[4,7\]"
    ):
        fnn.predict(tied(6), init(tied(7)), X)


def test_folding_refuses_parameters_of_another_model():
    with pytest.raises(ValueError, match="fold_batch_norm: expected the parameters of 3 layers, got a tuple of 2"):
        fnn.fold_batch_norm(net(), *init(fnn.serial(fnn.dense(5), fnn.dense(3))))


@pytest.mark.thorough
def test_an_estimator_whose_model_was_exchanged_says_so():
    estimator = fnn.estimators.Regressor(hidden=(4,), epochs=1, random_state=0).fit(X, np.asarray(X[:, 0]))
    estimator.set_params(hidden=(6,))
    with pytest.raises(ValueError, match=r"dense\(6.*\): kernel is float32\[4,6\], got float32\[4,4\]"):
        estimator.predict(X)
