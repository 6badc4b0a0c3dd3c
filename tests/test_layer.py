"""The protocol and the combinators."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_layer import LAYERS, MODELS

import fnn

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).standard_normal((5, 4)), jnp.float32)


def run(model, x=X, **options):
    return model.apply(*model.init(KEY, x), x, **options)[0]


def test_serial_is_composition():
    model = fnn.serial(fnn.dense(3), jnp.tanh, fnn.dense(2))
    params, state = model.init(KEY, X)
    assert len(params) == 3
    assert params[1] == state == ()
    hidden = jnp.tanh(X @ params[0]["kernel"] + params[0]["bias"][None])
    np.testing.assert_allclose(
        model.apply(params, state, X)[0], hidden @ params[2]["kernel"] + params[2]["bias"][None], rtol=1e-5, atol=1e-6
    )


def test_states_stand_in_the_place_of_their_layers():
    model = fnn.serial(fnn.dense(3), fnn.serial(jnp.tanh, fnn.batch_norm()), fnn.parallel(jnp.tanh, jnp.sin))
    params, state = model.init(KEY, X)
    assert state[0] == state[2] == state[1][0] == ()
    assert sorted(state[1][1]) == ["mean", "var"]
    _, new = model.apply(params, state, X, train=True)
    assert jax.tree.structure(new) == jax.tree.structure(state)


def test_serial_of_nothing_is_the_identity():
    assert run(fnn.serial()) is X


def test_state_and_mode_reach_every_layer():
    model = fnn.serial(fnn.batch_norm(), fnn.serial(fnn.batch_norm(), fnn.dropout(0.5)))
    params, state = model.init(KEY, X + 5)
    y, trained = model.apply(params, state, X + 5, key=KEY, train=True)
    assert jax.tree.structure(trained) == jax.tree.structure(state)
    assert (trained[0]["mean"] != 0).all()
    assert (y == 0).any()
    y, same = model.apply(params, state, X + 5)
    np.testing.assert_array_equal(same[0]["mean"], state[0]["mean"])
    assert not (y == 0).any()


def test_every_place_draws_its_own_parameters():
    params, _ = fnn.serial(fnn.dense(4), fnn.dense(4), fnn.serial(fnn.dense(4))).init(KEY, X)
    kernels = [p["kernel"] for p in (params[0], params[1], params[2][0])]
    assert (kernels[0] != kernels[1]).all()
    assert (kernels[1] != kernels[2]).all()


def test_init_computes_nothing_with_the_data():
    def apply(params, x):
        assert not isinstance(x, jax.Array) or isinstance(x, jax.core.Tracer)
        return x

    layer = fnn.stateless(lambda key, x: (), apply)
    for model in (fnn.serial(layer), fnn.parallel(layer), fnn.residual(layer)):
        model.init(KEY, X)
        model.init(KEY, jax.ShapeDtypeStruct((2, 3), jnp.float32))


def test_parallel_gives_every_branch_the_same_input():
    model = fnn.parallel(fnn.dense(1), jnp.sin)
    params, state = model.init(KEY, X)
    first, second = model.apply(params, state, X)[0]
    np.testing.assert_allclose(first, X @ params[0]["kernel"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(second, jnp.sin(X))
    assert run(fnn.parallel(fnn.dense(3), jnp.sin, merge=fnn.concatenate)).shape == (5, 7)
    np.testing.assert_array_equal(run(fnn.parallel(jnp.sin, jnp.cos, merge=sum)), jnp.sin(X) + jnp.cos(X))


def test_residual_adds_its_input():
    np.testing.assert_array_equal(run(fnn.residual(jnp.sin)), jnp.sin(X) + X)
    model = fnn.residual(fnn.dense(3), shortcut=fnn.dense(3, use_bias=False))
    params, state = model.init(KEY, X)
    expected = X @ params[0]["kernel"] + X @ params[1]["kernel"]
    np.testing.assert_allclose(model.apply(params, state, X)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("features", [1, 3])
def test_residual_broadcasts_nothing(features):
    with pytest.raises(ValueError, match=r"residual: expected layer\(x\) and shortcut\(x\) of the same shape"):
        fnn.residual(fnn.dense(features)).init(KEY, X)


def test_shared_parameters_sum_their_gradients():
    tied = fnn.shared(fnn.dense(4), lambda use: fnn.serial(use, jnp.tanh, use))
    params, state = tied.init(KEY, X)
    assert set(params) == {"shared", "body"}

    def by_hand(p):
        kernel, bias = p["kernel"], p["bias"][None]
        return jnp.sum((jnp.tanh(X @ kernel + bias) @ kernel + bias) ** 2)

    found = jax.grad(lambda p: jnp.sum(tied.apply(p, state, X)[0] ** 2))(params)["shared"]
    expected = jax.grad(by_hand)(params["shared"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


def test_shared_refuses_state_and_disuse():
    with pytest.raises(ValueError, match=r"shared: batch_norm\(\) keeps state"):
        fnn.shared(fnn.batch_norm(), lambda use: fnn.serial(use, use)).init(KEY, X)
    with pytest.raises(ValueError, match=r"shared: body\(use\) never uses the shared layer"):
        fnn.shared(fnn.dense(4), lambda use: fnn.serial(fnn.dense(4))).init(KEY, X)
    with pytest.raises(ValueError, match=r"shared: body\(use\) never uses the shared layer"):
        fnn.shared(fnn.dense(4), lambda use: jnp.tanh).init(KEY, X)


def test_map_layers_keeps_the_structure():
    model = fnn.serial(fnn.dense(4), fnn.residual(fnn.serial(fnn.dense(4), jnp.tanh)), fnn.parallel(fnn.dense(2)))
    names = []
    same = fnn.map_layers(lambda layer: names.append(layer.name) or layer, model)
    assert names == ["dense(4)", "dense(4)", "tanh", "identity", "dense(2)"]
    params, state = model.init(KEY, X)
    assert jax.tree.structure((params, state)) == jax.tree.structure(same.init(KEY, X))
    np.testing.assert_array_equal(same.apply(params, state, X)[0][0], model.apply(params, state, X)[0][0])
    linear = fnn.map_layers(lambda layer: fnn.as_layer(lambda x: x) if layer.name == "tanh" else layer, model)
    assert (linear.apply(params, state, X)[0][0] != model.apply(params, state, X)[0][0]).any()


def layers_of(model):
    yield model
    for part in model.parts:
        yield from layers_of(part)


@pytest.mark.parametrize("name", LAYERS | MODELS)
def test_what_apply_takes_is_seen_in_its_signature(name):
    for layer in layers_of((LAYERS | MODELS)[name].layer):
        *given, key, train = inspect.signature(layer.apply).parameters.values()
        assert (len(given), key.name, key.default, train.name, train.default) == (3, "key", None, "train", False)


def test_names_are_the_calls_that_built_them():
    assert repr(fnn.dense(3, use_bias=False)) == "dense(3, use_bias=False)"
    assert repr(fnn.serial(fnn.dense(2), jnp.tanh)) == "serial(2 layers)\n  0: dense(2)\n  1: tanh"
    assert repr(fnn.dense(3, kernel_init=fnn.initializers.he_normal())) == "dense(3, kernel_init=he_normal())"
    assert repr(fnn.dense(3, bias_init=fnn.initializers.constant(0.5))) == "dense(3, bias_init=constant(0.5))"
    table = fnn.initializers.constant(np.ones((4, 2), np.float32))
    assert repr(fnn.embedding(4, 2, embedding_init=table)) == "embedding(4, 2, embedding_init=constant(float32[4,2]))"
    assert repr(fnn.time_distributed(fnn.weight_norm(fnn.dense(3)))) == (
        "time_distributed(weight_norm(dense(3)))\n  0: weight_norm(dense(3))\n    0: dense(3)"
    )
    assert jax.vmap(lambda rate: jnp.asarray(len(fnn.dropout(rate).name)))(jnp.ones(1)) == len("dropout(float32[])")


def test_a_named_initializer_is_a_function_like_any_other():
    init = fnn.initializers.he_normal()
    drawn = jax.jit(lambda key: init(key, (3, 2), jnp.float32))(KEY)
    np.testing.assert_allclose(jax.jit(init, static_argnums=1)(KEY, (3, 2)), drawn, rtol=1e-6)
    assert fnn.programs.fingerprint(fnn.dense(3, kernel_init=init)) == fnn.programs.fingerprint(
        fnn.dense(3, kernel_init=fnn.initializers.he_normal())
    )


@pytest.mark.thorough
@pytest.mark.parametrize(
    "model",
    [
        fnn.serial(fnn.dense(3), fnn.batch_norm(), jnp.tanh, fnn.dropout(0.5), fnn.dense(2)),
        fnn.residual(fnn.serial(fnn.dense(4), fnn.layer_norm())),
        fnn.parallel(fnn.dense(2), fnn.serial(fnn.dense(3), jnp.tanh), merge=fnn.concatenate),
        fnn.shared(fnn.dense(4), lambda use: fnn.serial(use, jnp.tanh, use)),
    ],
    ids=lambda model: model.name,
)
def test_combinators_keep_the_protocol(model):
    fnn.testing.check_layer(model, X)


IMAGES = jnp.ones((2, 4, 4, 3))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_layers_compute_in_the_dtype_of_the_input_with_float32_parameters(dtype):
    """Mixed precision: the state keeps its own dtype, whatever comes in."""
    sequence = (
        fnn.dense(3),
        fnn.batch_norm(),
        fnn.layer_norm(),
        fnn.rms_norm(),
        fnn.group_norm(3),
        fnn.instance_norm(),
    )
    wrapped = (fnn.weight_norm(fnn.dense(3)), fnn.spectral_norm(fnn.dense(3)), fnn.drop_connect(fnn.dense(3), 0.5))
    recurrent, images = (fnn.lstm(3), fnn.gru(3), fnn.rnn(3)), (fnn.conv(3, 3), fnn.max_pool(2), fnn.avg_pool(2))
    with jax.enable_x64(True):
        for layer in (*sequence, *wrapped, *recurrent, *images):
            x = IMAGES if layer in images else IMAGES[0]
            params, state = jax.eval_shape(layer.init, KEY, x)
            for train in (False, True):

                def apply(params, state, x, layer=layer, train=train):
                    return layer.apply(params, state, x, key=KEY, train=train)

                y, new = jax.eval_shape(apply, params, state, x.astype(dtype))
                assert y.dtype == dtype, layer
                assert jax.tree.map(lambda a: a.dtype, new) == jax.tree.map(lambda a: a.dtype, state), layer


@pytest.mark.parametrize(
    ("model", "x", "error", "message"),
    [
        (
            fnn.serial(fnn.dense(4), jnp.tanh, fnn.instance_norm()),
            X,
            ValueError,
            r"layer 2, instance_norm\(\): instance_norm: expected x of shape .* got float32\[5,4\]",
        ),
        (
            fnn.serial(fnn.flatten(), fnn.reshape(5, -1)),
            IMAGES,
            ValueError,
            r"layer 1, reshape\(5, -1\): reshape: expected a shape of 48 values .* \(input float32\[2,48\]\)",
        ),
        (
            fnn.serial(fnn.dense(4)),
            jnp.ones((5, 4), int),
            TypeError,
            r"layer 0, dense\(4\): dense: expected x to be floating-point, got int32\[5,4\]",
        ),
        (
            fnn.serial(fnn.dense(4), fnn.serial(fnn.dense(6), fnn.group_norm(4))),
            X,
            ValueError,
            r"^layer 1 > 1, group_norm\(4\): .*num_groups=4, got float32\[5,6\]",
        ),
        (
            fnn.parallel(fnn.dense(2), fnn.spatial_dropout(0.5), fnn.instance_norm()),
            X,
            ValueError,
            r"layer 2, instance_norm\(\): ",
        ),
        (
            fnn.serial(fnn.dense(4), fnn.residual(fnn.dense(3))),
            X,
            ValueError,
            r"layer 1, residual: residual: expected .* of the same shape, got \(5, 3\) and \(5, 4\)",
        ),
        (fnn.serial(lambda x: x @ jnp.ones((7, 2))), X, TypeError, r"layer 0, <lambda>: .*\(input float32\[5,4\]\)"),
    ],
)
def test_errors_name_the_layer_at_init(model, x, error, message):
    with pytest.raises(error, match=message):
        model.init(KEY, x)


def test_errors_name_the_layer_at_apply():
    model = fnn.serial(fnn.layer_norm(), fnn.dense(3))
    params, state = model.init(KEY, X)
    message = r"layer 0, layer_norm\(\): layer_norm: expected 4 features, as initialised, got 6 in float32\[5,6\]"
    with pytest.raises(ValueError, match=message):
        jax.jit(model.apply)(params, state, jnp.ones((5, 6)))
    model = fnn.serial(fnn.dense(3), fnn.dropout(0.5))
    with pytest.raises(ValueError, match=r"layer 1, dropout\(0.5\): dropout: train=True needs a random key"):
        run(model, train=True)


def nested(layer):
    return fnn.serial(fnn.relu, fnn.serial(fnn.relu, fnn.residual(fnn.parallel(fnn.relu, layer, merge=sum))))


def test_a_mistake_four_levels_deep_names_one_place_in_a_short_traceback():
    with pytest.raises(ValueError, match=r"^layer 1 > 1 > 0 > 1, group_norm\(4\): group_norm: ") as caught:
        nested(fnn.group_norm(4)).init(KEY, jnp.ones((5, 6)))
    assert str(caught.value).count("layer") == 1
    assert str(caught.value).count("input") == 1
    assert caught.value.__cause__ is None
    assert len(caught.traceback) <= 10  # one frame for each model around it, and where it was made


def test_errors_keep_their_kind():
    def branches(x):
        return x if x.sum() > 0 else -x

    with pytest.raises(jax.errors.TracerBoolConversionError, match=r"^layer 1 > 1 > 0 > 1, branches: "):
        nested(branches).init(KEY, X)

    class Own(Exception):
        pass

    def own(x):
        raise Own("mine")

    with pytest.raises(Own, match=r"^layer 1 > 1 > 0 > 1, own: mine \(input float32\[5,4\]\)"):
        nested(own).init(KEY, X)

    def missing(x):
        return {}["weight"]

    with pytest.raises(KeyError) as caught:
        nested(missing).init(KEY, X)
    assert str(caught.value) == "'weight'"
    assert "in layer 1 > 1 > 0 > 1, missing (input float32[5,4])" in caught.value.__notes__
    assert sum("in layer" in note for note in caught.value.__notes__) == 1


@pytest.mark.parametrize("combine", [fnn.serial, fnn.parallel])
def test_parameters_of_another_model(combine):
    model = combine(fnn.dense(3), fnn.dense(3))
    for params, came in (((), "a tuple of 0"), ({"kernel": 1}, "dict")):
        with pytest.raises(ValueError, match=f"{combine.__name__}: expected the parameters of 2 layers, got {came}"):
            model.apply(params, ((), ()), X)


@pytest.mark.parametrize(
    ("given", "message"),
    [(3, "expected a layer or a function of arrays, got int 3"), (fnn.dense, r"write dense\(...\)")],
)
def test_not_a_layer(given, message):
    for combine in (fnn.serial, fnn.parallel, fnn.residual, fnn.as_layer):
        with pytest.raises(TypeError, match=message):
            combine(given)


def with_two_rows(**parts):
    own = {"init": lambda key, x: ((), ()), "apply": lambda p, s, x, *, key=None, train=False: (x, s)} | parts
    return fnn.Layer(own["init"], own["apply"])


TWO_ROWS = np.ones((2, 2), np.float32)


def test_functions_of_a_layer_may_return_lists():
    layer = with_two_rows(init=lambda key, x: [(), ()], apply=lambda p, s, x, *, key=None, train=False: [2 * x, s])
    model = fnn.serial(layer)
    np.testing.assert_array_equal(model.apply(*model.init(KEY, TWO_ROWS), TWO_ROWS)[0], 2 * TWO_ROWS)


@pytest.mark.parametrize("around", [fnn.frozen, fnn.time_distributed, lambda layer: fnn.serial(fnn.frozen(layer))])
def test_what_is_around_a_layer_that_returns_one_thing_does_not_take_it_apart(around):
    x = np.ones((2, 2, 2), np.float32)
    model = around(with_two_rows(apply=lambda p, s, x, *, key=None, train=False: x[:2]))
    with pytest.raises(TypeError, match=r"apply: expected it to return \(y, state\)"):
        model.apply(*model.init(KEY, x), x)


@pytest.mark.parametrize("whole", [lambda layer: layer, fnn.serial, fnn.parallel], ids=["alone", "serial", "parallel"])
def test_a_layer_that_returns_one_thing_is_not_taken_apart(whole):
    one = whole(with_two_rows(apply=lambda p, s, x, *, key=None, train=False: x))
    trained = fnn.Trained(((),) if one.parts else (), ())
    message = r"apply: expected it to return \(y, state\), got b?float(16|32)\[[12],2\]; .*fnn.stateless"
    calls = [
        lambda: fnn.predict(one, trained, TWO_ROWS),
        lambda: fnn.evaluate(one, trained, (TWO_ROWS, TWO_ROWS), fnn.losses.mse),
        lambda: fnn.fit(one, fnn.optim.sgd(0.1), fnn.losses.mse, (TWO_ROWS, TWO_ROWS), key=KEY, epochs=1),
        lambda: fnn.predict(one, trained, TWO_ROWS, compute_dtype=jnp.bfloat16),
        lambda: fnn.summary(one, TWO_ROWS),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=message):
            call()
    params_alone = whole(with_two_rows(init=lambda key, x: jnp.ones(2)))
    with pytest.raises(TypeError, match=r"init: expected it to return \(params, state\), got float32\[2\]"):
        fnn.fit(params_alone, fnn.optim.sgd(0.1), fnn.losses.mse, (TWO_ROWS, TWO_ROWS), key=KEY, epochs=1)
