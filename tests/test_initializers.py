"""Initializers: the numbers of `jax.nn.initializers`, their variances, and why equal weights never separate."""

import re

import jax
import jax.nn.initializers as theirs
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

I = fnn.initializers
KEY = jax.random.key(3)
COMMON = [name for name in I.__all__ if hasattr(theirs, name) and name not in ("zeros", "ones")]
ARGUMENTS = {"variance_scaling": (0.7, "fan_avg", "truncated_normal"), "constant": (2.5,)}
DTYPES = [jnp.float32, jnp.bfloat16, jnp.float16]


@pytest.mark.thorough
@pytest.mark.parametrize("name", COMMON)
@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (3, 3, 4, 8)])
def test_same_key_same_numbers_as_jax(name, shape):
    if name == "delta_orthogonal" and len(shape) == 2:
        shape = (3, *shape) if shape[0] <= shape[1] else (3, *shape[::-1])
    arguments = ARGUMENTS.get(name, ())
    mine = getattr(I, name)(*arguments)(KEY, shape, jnp.float32)
    expected = getattr(theirs, name)(*arguments)(KEY, shape, jnp.float32)
    np.testing.assert_allclose(mine, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*COMMON, "zeros", "ones"])
def test_dtype_is_kept(name, dtype):
    made = getattr(I, name)
    make = made if name in ("zeros", "ones") else made(*ARGUMENTS.get(name, ()))
    drawn = make(KEY, (3, 4, 8), dtype)
    assert drawn.dtype == dtype
    assert np.isfinite(np.asarray(drawn, np.float32)).all()


@pytest.mark.thorough
def test_float64(x64):
    for name in COMMON:
        drawn = getattr(I, name)(*ARGUMENTS.get(name, ()))(KEY, (3, 4, 8), jnp.float64)
        expected = getattr(theirs, name)(*ARGUMENTS.get(name, ()))(KEY, (3, 4, 8), jnp.float64)
        assert drawn.dtype == jnp.float64
        np.testing.assert_allclose(drawn, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "variance"),
    [
        (I.glorot_uniform(), 2 / (9 * 60 + 9 * 40)),
        (I.glorot_normal(), 2 / (9 * 60 + 9 * 40)),
        (I.he_normal(), 2 / (9 * 60)),
        (I.he_uniform(), 2 / (9 * 60)),
        (I.lecun_normal(), 1 / (9 * 60)),
        (I.lecun_uniform(), 1 / (9 * 60)),
        (I.variance_scaling(3.0, "fan_out", "normal"), 3 / (9 * 40)),
        (I.variance_scaling(1.0, "fan_geo_avg", "uniform"), 1 / (9 * np.sqrt(60 * 40))),
    ],
)
def test_variance_of_a_convolution_kernel(make, variance):
    drawn = np.asarray(make(KEY, (3, 3, 60, 40), jnp.float32))
    np.testing.assert_allclose(drawn.var(), variance, rtol=0.04)
    assert abs(drawn.mean()) < 4 * np.sqrt(variance / drawn.size)


def test_orthogonal_and_per_gate():
    for shape in ((6, 4), (4, 6), (2, 3, 4)):
        w = np.asarray(I.orthogonal(2.0)(KEY, shape, jnp.float32)).reshape(-1, shape[-1])
        gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
        np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)
    u = np.asarray(I.per_gate(I.orthogonal(), 4)(KEY, (5, 20), jnp.float32)).reshape(5, 4, 5)
    for gate in range(4):
        np.testing.assert_allclose(u[:, gate].T @ u[:, gate], np.eye(5), atol=1e-5)
    assert not np.allclose(u[:, 0], u[:, 1])
    variance = np.var(np.asarray(I.per_gate(I.glorot_uniform(), 4)(KEY, (200, 800), jnp.float32)))
    np.testing.assert_allclose(variance, 2 / 400, rtol=0.02)


def test_gains():
    torch = pytest.importorskip("torch")
    for name in ("sigmoid", "tanh", "relu", "selu"):
        np.testing.assert_allclose(I.gain(name), torch.nn.init.calculate_gain(name))
    np.testing.assert_allclose(I.gain(fnn.leaky_relu, 0.2), torch.nn.init.calculate_gain("leaky_relu", 0.2))
    assert I.gain("identity") == 1
    for name in ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        for function in (getattr(fnn, name, getattr(fnn.activations, name)), getattr(jax.nn, name)):
            assert I.gain(function) == I.gain(name)

    def relu(x):
        return 3 * x

    with pytest.raises(ValueError, match=r"expected activation to be one of .*relu"):
        I.gain(relu)
    with pytest.raises(ValueError, match="expected activation to be one of"):
        I.gain("mish")


def test_equal_weights_never_separate():
    """Hidden units that start alike stay alike, however long the network learns; random ones do not."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 3)).astype(np.float32)
    y = (x[:, 0] * x[:, 1]).astype(np.float32)
    for make, alike in ((I.constant(0.3), True), (I.glorot_uniform(), False)):
        model = fnn.serial(fnn.dense(4, kernel_init=make), fnn.tanh, fnn.dense(1, kernel_init=make))
        run = fnn.trainer(model, fnn.optim.sgd(0.1), fnn.tasks.regression(), epochs=50, batch_size=8)
        trained, _ = run(KEY, (x, y))
        kernel = np.asarray(trained.params[0]["kernel"])
        assert np.abs(kernel - 0.3).max() > 0.01
        assert np.allclose(kernel, kernel[:, :1], atol=1e-6) == alike


def test_traced_scale_and_vmap():
    draw = jax.jit(lambda s: I.variance_scaling(s, "fan_in", "normal")(KEY, (4, 3), jnp.float32))
    np.testing.assert_allclose(draw(4.0), 2 * draw(1.0), rtol=1e-6)
    keys = jax.random.split(KEY, 3)
    many = jax.vmap(lambda k: I.he_normal()(k, (4, 3), jnp.float32))(keys)
    np.testing.assert_allclose(many[1], I.he_normal()(keys[1], (4, 3), jnp.float32), rtol=1e-6)


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda: I.glorot_uniform()(KEY, (3,), jnp.float32), r"\(\.\.\., in, out\)"),
        (lambda: I.orthogonal()(KEY, (3,), jnp.float32), r"\(\.\.\., in, out\)"),
        (lambda: I.he_normal(in_axis=3)(KEY, (3, 4)), "expected in_axis to name distinct axes .* rank 2, got 3"),
        (lambda: I.he_normal(out_axis="a")(KEY, (3, 4)), "expected out_axis to be a Python int, got str 'a'"),
        (lambda: I.he_normal(batch_axis=(0, -3))(KEY, (3, 4, 5)), r"expected batch_axis to name distinct .* \(0, -3\)"),
        (lambda: I.he_normal(in_axis=-1)(KEY, (3, 4)), "expected in_axis, out_axis, batch_axis to name distinct axes"),
        (lambda: I.orthogonal(column_axis=2)(KEY, (3, 4)), "expected column_axis to name .* rank 2, got 2"),
        (lambda: I.orthogonal(column_axis=(0,))(KEY, (3, 4)), "expected column_axis to be a Python int"),
        (lambda: I.variance_scaling(1.0, "fan", "normal"), "mode to be one of"),
        (lambda: I.variance_scaling(1.0, "fan_in", "cauchy"), "distribution to be one of"),
        (lambda: I.variance_scaling(-1.0, "fan_in", "normal"), "scale in"),
        (lambda: I.identity()(KEY, (3,), jnp.float32), "shape of a matrix"),
        (lambda: I.delta_orthogonal()(KEY, (3, 4, 2), jnp.float32), "no more input than output"),
        (lambda: I.per_gate(I.orthogonal(), 4)(KEY, (3, 10), jnp.float32), "4 equal gates"),
        (lambda: I.per_gate(I.orthogonal(), 0), "gates >= 1"),
        (lambda: I.per_gate(None, 4), "initializer to be a function .*, got None"),
        (lambda: I.constant(None), "numeric value"),
        (lambda: I.identity("1"), "numeric gain"),
        (lambda: I.orthogonal(None), "numeric scale"),
        (lambda: I.normal(-1.0), r"stddev in \[0"),
        (lambda: I.uniform(-1, 1), r"scale in \[0"),
        (lambda: I.truncated_normal(1.0, lower=2.0, upper=-2.0), "lower <= upper"),
    ],
)
def test_misuse(misuse, message):
    with pytest.raises((ValueError, TypeError), match=message):
        misuse()


def test_orthogonal_members_are_factorized_one_after_another_on_a_cpu():
    """A batch given to LAPACK at once waits for threads that may all be waiting: a program that never ends."""

    def member(key):
        return I.orthogonal()(key, (5, 3)), I.orthogonal()(key, (3, 5))

    keys = jax.random.split(KEY, 6).reshape(2, 3)
    many = jax.jit(jax.vmap(jax.vmap(member)))
    calls = [line for line in many.lower(keys).as_text().splitlines() if "lapack" in line]
    assert calls
    assert all(re.search(r"\(tensor<5x3xf32>", line) for line in calls), calls
    for found, place in ((many(keys), (1, 2)), (jax.vmap(member)(keys[1]), (2,))):
        for one, alone in zip(found, member(keys[1, 2]), strict=True):
            np.testing.assert_allclose(one[place], alone, rtol=1e-5, atol=1e-6)
