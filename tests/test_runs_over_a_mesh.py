"""Runs take a mesh with explicit or automatic axes, data that lie on one, and one that surrounds them."""

import contextlib

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import fnn

pytestmark = pytest.mark.devices(2)

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32)
DATA = X, (np.arange(24) % 3).astype(np.int32)
MODEL = fnn.serial(fnn.dense(4, use_bias=False), fnn.batch_norm(), fnn.relu, fnn.dropout(0.1), fnn.dense(3))
OPTIMIZER, TASK = fnn.optim.sgd(0.1), fnn.tasks.multiclass(3)


def fit(data, **options):
    return fnn.fit(
        MODEL, OPTIMIZER, TASK, data, key=KEY, epochs=2, batch_size=8, validation=data, progress=False, **options
    )


def trainer(data, **options):
    return fnn.trainer(MODEL, OPTIMIZER, TASK, epochs=2, batch_size=8, **options)(KEY, data, validation=data)


def cross_validate(data, **options):
    result = fnn.selection.cross_validate(
        MODEL, OPTIMIZER, TASK, data, key=KEY, folds=4, epochs=2, batch_size=8, progress=False, **options
    )
    return result.scores


def trained():
    return fnn.Trained(*MODEL.init(KEY, X))


def predict(data, **options):
    return fnn.predict(MODEL, trained(), data[0], TASK, batch_size=7, **options)


def evaluate(data, **options):
    return fnn.evaluate(MODEL, trained(), data, TASK, batch_size=7, **options)


RUNS = {f.__name__: f for f in (fit, trainer, cross_validate, predict, evaluate)}


def mesh_of(kind):
    return jax.make_mesh((2,), ("data",), axis_types=(kind,), devices=jax.devices()[:2])


def on(mesh, data):
    return jax.device_put(data, NamedSharding(mesh, PartitionSpec("data")))


def assert_same(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5), found, expected)


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto], ids=["explicit", "automatic"])
@pytest.mark.parametrize("name", RUNS)
def test_the_numbers_of_one_device_wherever_the_mesh_is(name, kind):
    run, mesh = RUNS[name], mesh_of(kind)
    expected = run(DATA)
    assert_same(run(on(mesh, DATA)), expected)
    with jax.set_mesh(mesh):
        assert_same(run(on(mesh, DATA)), expected)
    assert_same(run(DATA, mesh=mesh), expected)
    with jax.set_mesh(mesh):
        assert_same(run(on(mesh, DATA), mesh=mesh), expected)


@pytest.mark.parametrize("run", [fit, trainer])
def test_what_is_trained_lies_on_the_mesh_that_was_given(run):
    mesh = mesh_of(AxisType.Explicit)
    found, _ = run(DATA, mesh=mesh)
    assert {leaf.sharding.mesh for leaf in jax.tree.leaves(found)} == {mesh}
    own = jax.jit(lambda trained, x: MODEL.apply(*trained, x)[0])(found, on(mesh, X))
    assert jax.typeof(own).sharding.spec[0] == "data"
    assert_same(fnn.predict(MODEL, found, on(mesh, X)), own)


@pytest.mark.parametrize("around", [False, True])
def test_a_run_inside_a_program_of_ones_own(around):
    mesh = mesh_of(AxisType.Explicit)
    with jax.set_mesh(mesh) if around else contextlib.nullcontext():
        found = jax.jit(trainer)(on(mesh, DATA))
    assert_same(found, trainer(DATA))


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_mesh_of_two_axes_is_an_error(run):
    mesh = jax.make_mesh((2, 1), ("data", "model"), devices=jax.devices()[:2])
    with pytest.raises(ValueError, match=r"expected a mesh with one axis, got \('data', 'model'\)"):
        run(DATA, mesh=mesh)
