"""On a GPU: layers, their gradients, rules and whole runs are those of the CPU beside it.

`JAX_PLATFORMS=cuda,cpu pytest tests/test_gpu.py`; without a card there is nothing to see.
"""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_layer import LAYERS, MODELS

import fnn
from fnn.kernels import placement
from fnn.kernels.recurrence import core

pytestmark = pytest.mark.skipif(
    placement.platform() != "gpu", reason="for a GPU: JAX_PLATFORMS=cuda,cpu pytest tests/test_gpu.py"
)

TOLERANCE = {"highest": 3e-5, None: 5e-3}
"""Of products: float32, and as a GPU takes them unasked, in TensorFloat-32."""


@pytest.fixture(params=TOLERANCE, ids=str)
def tolerance(request):
    """Inside the test products are of this precision."""
    with jax.default_matmul_precision(request.param):
        yield TOLERANCE[request.param]


@pytest.fixture
def highest():
    with jax.default_matmul_precision("highest"):
        yield


def close(a, b, tolerance):
    """Within `tolerance` of the largest value of each array, or of 1 where all are smaller."""

    def one(a, b):
        if jnp.issubdtype(b.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        scale = np.max(np.abs(b), initial=1, where=np.isfinite(b))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)

    jax.tree.map(one, a, b)


def on_cpu(f, *args):
    """`f` computed by the CPU of this process, and traced as there: gradients of recurrences are cut as suits it."""
    cpu = jax.devices("cpu")[0]
    core.recur.clear_cache()
    with jax.default_device(cpu), mock.patch.object(placement, "platform", return_value="cpu"):
        found = jax.jit(lambda *args: f(*args))(*jax.device_put(args, cpu))
    core.recur.clear_cache()
    return found


HOW = {
    "all steps": {},
    "lengths": {"lengths": True},
    "lengths in reverse, time first": {"lengths": True, "reverse": True, "time_major": True},
    "last output, in segments": {"lengths": True, "return_sequences": False, "remat": 4},
}


@pytest.mark.parametrize("sizes", [(3, 5, 2, 4), (1, 1, 1, 1), (64, 100, 64, 256), (8, 25, 512, 512)], ids=str)
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("how", HOW)
def test_recurrences_and_their_gradients_are_those_of_the_cpu(tolerance, how, kind, sizes):
    (batch, time, features, hidden), rng = sizes, np.random.default_rng(0)
    gates, options = {"lstm": 4, "gru": 3, "rnn": 1}[kind] * hidden, dict(HOW[how])
    if "lengths" in options:
        options["lengths"] = np.arange(batch) % (time + 1)
    shapes = (batch, time, features), (features, gates), (hidden, gates), (gates,)
    x, *weights = (jnp.asarray(rng.normal(size=shape) / np.sqrt(shape[0]), jnp.float32) for shape in shapes)
    x = x.swapaxes(0, 1) if options.get("time_major") else x

    def both(*at):
        outputs, state = getattr(fnn.kernels, kind)(*at, **options)
        total = sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves((outputs, state)))
        return total, (outputs, state)

    f = jax.value_and_grad(both, range(4), has_aux=True)
    (_, values), gradients = jax.jit(f)(x, *weights)
    (_, expected), of_cpu = on_cpu(f, x, *weights)
    close((values, gradients), (expected, of_cpu), tolerance)


def batch_of(case):
    def one(key, spec):
        if jnp.issubdtype(spec.dtype, jnp.integer):
            return jax.random.randint(key, spec.shape, 0, 4, spec.dtype)
        return jax.random.normal(key, spec.shape, spec.dtype)

    leaves, tree = jax.tree.flatten(case.x(5))
    return tree.unflatten([one(jax.random.key(i), spec) for i, spec in enumerate(leaves)])


@pytest.mark.parametrize("name", [*LAYERS, *MODELS])
def test_every_layer_and_model_is_that_of_the_cpu(highest, name):
    """In training, its random draws among it: values, new state and gradients."""
    case = (LAYERS | MODELS)[name]
    x = batch_of(case)

    def f(key, x):
        params, state = case.layer.init(key, x)

        def total(params):
            y, new = case.layer.apply(params, state, x, key=jax.random.key(1), train=True)
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(y)), (y, new)

        return jax.value_and_grad(total, has_aux=True)(params), case.layer.apply(
            params, state, x, key=jax.random.key(2)
        )[0]

    key = jax.random.key(0)
    close(jax.jit(f)(key, x), on_cpu(f, key, x), 1e-4)


RULES = {
    name: getattr(fnn.optim, name)(0.01) for name in ("sgd", "momentum", "adagrad", "rmsprop", "adam", "adamw", "lion")
}


@pytest.mark.parametrize("name", RULES)
def test_rules_are_those_of_the_cpu(name):
    rule = RULES[name]
    params = {"w": jax.random.normal(jax.random.key(0), (30, 7)), "b": jnp.ones(7)}

    def f(params):
        state = rule.init(params)
        for _ in range(3):
            gradient = jax.tree.map(lambda a: jnp.sin(3 * a), params)
            updates, state = rule.update(gradient, state, params)
            params = jax.tree.map(jnp.add, params, updates)
        return params

    close(jax.jit(f)(params), on_cpu(f, params), 1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16], ids=lambda d: d.__name__)
def test_random_bits_are_those_of_the_cpu(dtype):
    def f(key):
        x = jnp.ones((64, 33), dtype)
        return fnn.kernels.dropout(key, x, 0.3), fnn.initializers.he_normal()(key, (30, 20), jnp.float32)

    close(jax.jit(f)(jax.random.key(3)), on_cpu(f, jax.random.key(3)), 1e-6)


def digits():
    data = pytest.importorskip("sklearn.datasets").load_digits()
    return (data.data / 16).astype(np.float32), data.target.astype(np.int32)


NETWORKS = {
    "mlp": (lambda: fnn.serial(fnn.dense(32), fnn.relu, fnn.dense(10)), lambda x: x),
    "cnn": (
        lambda: fnn.serial(fnn.conv(8, 3), fnn.batch_norm(), fnn.relu, fnn.max_pool(2), fnn.flatten(), fnn.dense(10)),
        lambda x: x.reshape(-1, 8, 8, 1),
    ),
    "lstm": (lambda: fnn.serial(fnn.lstm(16), fnn.dropout(0.1), fnn.dense(10)), lambda x: x.reshape(-1, 8, 8)),
}


@pytest.mark.parametrize("compute_dtype", [None, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_run_learns_as_it_does_on_the_cpu(highest, name, compute_dtype):
    make, shape = NETWORKS[name]
    x, y = digits()
    x = shape(x)

    def learn():
        return fnn.fit(
            make(), fnn.optim.adam(3e-3), fnn.tasks.multiclass(10), (x[:1400], y[:1400]), epochs=4, batch_size=64,
            key=jax.random.key(0), validation=(x[1400:], y[1400:]), compute_dtype=compute_dtype,
        )[1]  # fmt: skip

    here = learn()
    fnn.programs.clear()
    with jax.default_device(jax.devices("cpu")[0]):
        there = learn()
    fnn.programs.clear()
    close(np.asarray(here["loss"]), np.asarray(there["loss"]), 2e-2 if compute_dtype else 2e-3)
    assert here["loss"][-1] < 0.9 * here["loss"][0]


def test_the_same_key_gives_the_same_bits(highest):
    x, y = digits()
    make, shape = NETWORKS["mlp"]

    def weights():
        trained, _ = fnn.fit(
            make(), fnn.optim.adam(1e-3), fnn.tasks.multiclass(10), (shape(x), y), epochs=2, key=jax.random.key(0)
        )
        return jax.tree.leaves(trained.params)

    for first, second in zip(weights(), weights(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", NETWORKS)
def test_folds_are_trained_as_one_program(highest, name):
    make, shape = NETWORKS[name]
    x, y = digits()
    found = fnn.selection.cross_validate(
        make(), fnn.optim.adam(3e-3), fnn.tasks.multiclass(10), (shape(x)[:600], y[:600]), folds=3, epochs=8,
        key=jax.random.key(0),
    )  # fmt: skip
    assert np.all(np.isfinite(found.scores["loss"]))
    assert np.mean(found.scores["accuracy"]) > 0.5


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_exported_runs_on_the_card(highest, name, tmp_path):
    make, shape = NETWORKS[name]
    x, y = digits()
    x, model = shape(x)[:200], make()
    trained, _ = fnn.fit(
        model, fnn.optim.adam(1e-3), fnn.tasks.multiclass(10), (x, y[:200]), epochs=1, key=jax.random.key(0)
    )
    fnn.export(model, trained, x, path=tmp_path / "model.fnn")
    outputs = fnn.load_exported(tmp_path / "model.fnn")(x[:7])
    close(outputs, fnn.predict(model, trained, x[:7]), 1e-4)


def test_memory_left_is_the_cards():
    before = placement.available_bytes()
    held = jax.block_until_ready(jnp.zeros(2**26))
    assert before - placement.available_bytes() >= held.nbytes
