"""Modules of flax and equinox stand in fnn's models and are trained by it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)


def linen():
    nn = pytest.importorskip("flax.linen")

    class Body(nn.Module):
        @nn.compact
        def __call__(self, x, train: bool = False):
            x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(nn.Dense(5)(x))
            return nn.Dropout(0.5, deterministic=not train)(nn.relu(x))

    return Body()


def nnx():
    module = pytest.importorskip("flax.nnx")
    rngs = module.Rngs(0)
    return module.Sequential(
        module.Linear(4, 5, rngs=rngs), module.BatchNorm(5, momentum=0.5, rngs=rngs), module.Dropout(0.5, rngs=rngs)
    )


def equinox():
    eqx = pytest.importorskip("equinox")
    return eqx.nn.Sequential([eqx.nn.Linear(4, 5, key=KEY), eqx.nn.Lambda(jax.nn.relu), eqx.nn.Dropout(0.5)])


@pytest.mark.parametrize("build", [linen, nnx, equinox])
def test_a_module_is_a_layer(build):
    model = fnn.serial(build(), fnn.dense(2))
    params, state = model.init(KEY, jax.ShapeDtypeStruct(X.shape, X.dtype))
    y, same = model.apply(params, state, X)
    assert y.shape == (8, 2)
    assert same is state or jax.tree.all(jax.tree.map(np.array_equal, same, state))
    np.testing.assert_array_equal(y, model.apply(params, state, X)[0])
    draws = [model.apply(params, state, X, key=jax.random.key(n), train=True) for n in (1, 1, 2)]
    np.testing.assert_array_equal(draws[0][0], draws[1][0])
    assert not np.array_equal(draws[0][0], draws[2][0])  # dropout follows the key
    if build is not equinox:  # running statistics have moved
        assert not all(map(np.array_equal, jax.tree.leaves(state), jax.tree.leaves(draws[0][1])))


@pytest.mark.thorough
@pytest.mark.parametrize("build", [linen, nnx, equinox])
def test_a_module_is_trained_and_saved(build, tmp_path):
    pytest.importorskip("safetensors")
    model, y = fnn.serial(build(), fnn.dense(2)), (X[:, 0] > 0).astype(np.int32)
    task = fnn.tasks.multiclass(2)
    run = fnn.trainer(model, fnn.optim.adam(3e-2), task, epochs=1, batch_size=4)
    trained, history = run(KEY, (X, y))
    assert np.isfinite(history["loss"]).all()
    fnn.save(tmp_path / "m", trained, model=model)
    again = fnn.load(tmp_path / "m", like=(model, X))
    np.testing.assert_array_equal(*(fnn.predict(model, t, X) for t in (trained, again)))


def test_two_functions_of_linen_are_a_layer():
    nn = pytest.importorskip("flax.linen")
    module = nn.Dense(3)
    model = fnn.serial(fnn.stateless(module.init, module.apply), fnn.relu)
    params, state = model.init(KEY, jax.ShapeDtypeStruct(X.shape, X.dtype))
    np.testing.assert_array_equal(model.apply(params, state, X)[0], jax.nn.relu(module.apply(params[0], X)))


def test_equinox_with_a_state_is_refused_and_its_wrapped_functions_are_functions():
    eqx = pytest.importorskip("equinox")
    with pytest.raises(TypeError, match="BatchNorm of equinox keeps a state"):
        fnn.serial(eqx.nn.BatchNorm(4, "batch", mode="ema"))
    layer = fnn.as_layer(eqx.filter_jit(lambda x: x.sum(axis=0)))
    assert layer.apply((), (), jnp.ones((3, 2)))[0].shape == (2,)


@pytest.mark.parametrize("build", [linen, nnx, equinox])
def test_who_takes_a_layer_says_how_a_module_becomes_one(build):
    module, x, y = build(), jnp.ones((6, 3)), jnp.ones(6)
    rule, task, given = fnn.optim.sgd(0.1), fnn.tasks.regression(), {"key": jax.random.key(0), "epochs": 1}

    def says(where):
        return pytest.raises(TypeError, match=rf"{where}: expected model .*write fnn\.as_layer\(model\)")

    with says("fit"):
        fnn.fit(module, rule, task, (x, y), **given)
    with says("cross_validate"):
        fnn.selection.cross_validate(module, rule, task, (x, y), folds=2, **given)
    with says("snapshots"):
        fnn.selection.snapshots(module, fnn.optim.sgd, task, (x, y), learning_rate=0.1, **given)
    with says("summary"):
        fnn.summary(module, x)
    estimators = pytest.importorskip("fnn.estimators")
    with says("Regressor"):
        estimators.Regressor(model=module, epochs=1).fit(np.ones((6, 3)), np.ones(6))


def test_a_constructor_in_the_place_of_a_layer_is_called():
    with pytest.raises(TypeError, match=r"train_step: expected model to be a layer.*write dense\(\.\.\.\)"):
        fnn.train_step(fnn.dense, fnn.optim.sgd(0.1), fnn.tasks.regression())


def test_anything_else_is_refused():
    with pytest.raises(TypeError, match="or a module of flax or equinox, got int"):
        fnn.interop.module_layer(3)
