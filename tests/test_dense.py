"""Dense, embedding, flatten, reshape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

KEY = jax.random.key(0)


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape)


@pytest.mark.parametrize("shape", [(1, 4), (5, 4), (0, 4), (2, 3, 4), (2, 2, 3, 4)])
def test_dense_is_the_formula(x64, shape):
    layer, x = fnn.dense(3, bias_init=jax.nn.initializers.normal()), draw(*shape)
    params, state = layer.init(KEY, x)
    y, _ = layer.apply(params, state, x)
    expected = np.zeros((*shape[:-1], 3))
    for place in np.ndindex(*shape[:-1]):
        for o in range(3):
            expected[place][o] = sum(x[place][i] * params["kernel"][i, o] for i in range(4)) + params["bias"][o]
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


def test_dense_as_torch():
    torch = pytest.importorskip("torch")
    linear, x = torch.nn.Linear(4, 3), draw(5, 4).astype(np.float32)
    params = {
        "kernel": jnp.asarray(linear.weight.detach().numpy().T),
        "bias": jnp.asarray(linear.bias.detach().numpy()),
    }
    np.testing.assert_allclose(
        fnn.dense(3).apply(params, (), x)[0], linear(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-6
    )


def test_dense_begins_with_the_variance_of_its_input():
    layer, x = fnn.dense(400), jnp.asarray(draw(200, 300), jnp.float32)
    params, state = layer.init(KEY, x)
    assert abs(layer.apply(params, state, x)[0].var() - 1) < 0.05
    assert not params["bias"].any()


def test_dense_without_bias():
    assert set(fnn.dense(3, use_bias=False).init(KEY, jnp.ones((1, 2)))[0]) == {"kernel"}


def test_parameters_are_cast_to_the_input():
    layer = fnn.dense(3)
    params, state = layer.init(KEY, jnp.ones((2, 4)))
    assert layer.apply(params, state, jnp.ones((2, 4), jnp.bfloat16))[0].dtype == jnp.bfloat16
    assert layer.init(KEY, jnp.ones((2, 4), jnp.float16))[0]["kernel"].dtype == jnp.float16


def test_numpy_float64_without_x64_is_float32():
    layer, x = fnn.dense(3), draw(2, 4)
    params, state = layer.init(KEY, x)
    assert params["kernel"].dtype == layer.apply(params, state, x)[0].dtype == jnp.float32


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (fnn.dense(3), jnp.asarray(draw(5, 4), jnp.float32)),
        (fnn.dense(2, use_bias=False), jnp.asarray(draw(2, 3, 4), jnp.float32)),
        (fnn.embedding(7, 3), jnp.array([[1, 2], [6, 0], [1, 1]])),
        (fnn.flatten(), jnp.asarray(draw(2, 3, 4), jnp.float32)),
        (fnn.reshape(2, -1), jnp.asarray(draw(2, 4), jnp.float32)),
    ],
    ids=str,
)
def test_layers_keep_the_protocol(layer, x):
    fnn.testing.check_layer(layer, x, order=2)


def test_embedding_looks_up_and_decodes():
    layer, x = fnn.embedding(5, 3), jnp.array([[0, 4], [2, 2]])
    params, state = layer.init(KEY, x)
    table = params["embedding"]
    np.testing.assert_array_equal(layer.apply(params, state, x)[0], np.asarray(table)[np.asarray(x)])
    vectors = jnp.asarray(draw(2, 4, 3), jnp.float32)
    np.testing.assert_allclose(layer.apply(params, state, vectors)[0], vectors @ table.T, rtol=1e-6)


def test_embedding_gradient_adds_over_repeated_indices():
    layer, x = fnn.embedding(5, 2), jnp.array([1, 1, 3])
    params, state = layer.init(KEY, x)
    slope = jax.grad(lambda p: layer.apply(p, state, x)[0].sum())(params)["embedding"]
    np.testing.assert_array_equal(slope[:, 0], [0, 2, 0, 1, 0])


def test_tied_embedding_sums_both_gradients():
    model = fnn.shared(fnn.embedding(5, 2), lambda tied: fnn.serial(tied, tied))
    x = jnp.array([[1, 3]])
    params, state = model.init(KEY, x)
    table = params["shared"]["embedding"]
    y, slope = jax.value_and_grad(lambda p: model.apply(p, state, x)[0].sum())(params)
    assert y.shape == ()
    expected = jax.grad(lambda table: (table[x] @ table.T).sum())(table)
    np.testing.assert_allclose(slope["shared"]["embedding"], expected, rtol=1e-5)


@pytest.mark.parametrize("index", [-1, 5])
def test_index_out_of_range(index):
    layer, x = fnn.embedding(5, 3), jnp.array([[0, index]])
    params, state = layer.init(KEY, x)
    with pytest.raises(ValueError, match=rf"embedding: expected every index in \[0, 4\], got {index}"):
        layer.apply(params, state, x)
    y = jax.jit(layer.apply)(params, state, x)[0]
    assert jnp.isfinite(y[0, 0]).all()
    assert jnp.isnan(y[0, 1]).all()


def test_flatten_and_reshape():
    x = jnp.arange(24.0).reshape(2, 3, 4)
    assert fnn.flatten().apply((), (), x)[0].shape == (2, 12)
    assert fnn.flatten().apply((), (), jnp.ones((0, 3, 4)))[0].shape == (0, 12)
    assert fnn.flatten().apply((), (), jnp.ones(3))[0].shape == (3, 1)
    y = fnn.reshape(4, -1).apply((), (), x)[0]
    assert y.shape == (2, 4, 3)
    np.testing.assert_array_equal(y.ravel(), x.ravel())
    assert fnn.reshape(4, -1).apply((), (), jnp.ones((0, 12)))[0].shape == (0, 4, 3)
    assert fnn.reshape().apply((), (), jnp.ones((3, 1)))[0].shape == (3,)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: fnn.dense(2.0), TypeError, "dense: expected features to be a Python int, got float 2.0"),
        (lambda: fnn.dense(True), TypeError, "dense: expected features to be a Python int, got bool"),
        (lambda: fnn.dense(0), ValueError, "dense: expected features >= 1, got 0"),
        (lambda: fnn.dense(-3), ValueError, "dense: expected features >= 1, got -3"),
        (lambda: fnn.dense("3"), TypeError, "dense: expected features to be a Python int"),
        (lambda: fnn.embedding(2.5, 3), TypeError, "embedding: expected num_embeddings to be a Python int"),
        (lambda: fnn.embedding(5, 0), ValueError, "embedding: expected features >= 1, got 0"),
        (lambda: fnn.reshape(2.0), TypeError, "reshape: expected every size to be a Python int"),
        (lambda: fnn.reshape(-1, -1), ValueError, "reshape: expected at most one size of -1"),
    ],
)
def test_wrong_arguments(build, error, message):
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize(
    ("layer", "x", "error", "message"),
    [
        (fnn.dense(3), jnp.ones((2, 3), int), TypeError, r"dense: expected x to be floating-point, got int32\[2,3\]"),
        (
            fnn.dense(3),
            jnp.ones(3),
            ValueError,
            r"dense: expected x of shape \(batch, ..., features\), got float32\[3\]",
        ),
        (fnn.dense(3), jnp.ones(()), ValueError, "dense: expected x of shape"),
        (fnn.embedding(5, 3), jnp.ones((2, 3)), TypeError, "embedding: expected integer x.*x.astype"),
        (fnn.embedding(5, 3), jnp.ones((2, 3), bool), TypeError, "embedding: expected integer x, got bool"),
    ],
)
def test_wrong_input_at_init(layer, x, error, message):
    with pytest.raises(error, match=message):
        layer.init(KEY, x)


def test_wrong_input_at_apply():
    params, state = fnn.dense(3).init(KEY, jnp.ones((2, 64)))
    with pytest.raises(ValueError, match=r"dense: expected 64 features, as initialised, got 32 in float32\[8,32\]"):
        fnn.dense(3).apply(params, state, jnp.ones((8, 32)))
    params, state = fnn.embedding(5, 3).init(KEY, jnp.ones((2, 4), int))
    with pytest.raises(ValueError, match="expected integer x, or vectors of 3 features to decode"):
        fnn.embedding(5, 3).apply(params, state, jnp.ones((2, 4)))
    with pytest.raises(ValueError, match="reshape: expected a shape of 5 values per example"):
        fnn.reshape(2, -1).apply((), (), jnp.ones((3, 5)))
    with pytest.raises(ValueError, match="flatten: expected x of shape"):
        fnn.flatten().apply((), (), jnp.ones(()))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_gradients_of_what_every_row_uses_are_summed_in_float32(dtype):
    """One by one in the dtype of the rows, 5000 ones in bfloat16 are 256, or 2048 of two axes."""
    x, words = jnp.ones((50, 100, 3), dtype), jnp.zeros((50, 100), jnp.int32)
    cases = [
        (fnn.dense(2), x, "bias"), (fnn.conv(2, 1), x, "bias"), (fnn.depthwise_conv(1), x, "bias"),
        (fnn.prelu(), -x, "alpha"), (fnn.embedding(1, 2, dtype=dtype), words, "embedding"),
    ]  # fmt: skip
    models = [(layer, layer.init(jax.random.key(0), x)[0], x, name) for layer, x, name in cases]

    @jax.jit
    def gradients(every):
        def total(every):
            outputs = (layer.apply(p, (), x)[0] for p, (layer, _, x, _) in zip(every, models, strict=True))
            return sum(y.astype(jnp.float32).sum() for y in outputs)

        return jax.grad(total)(every)

    for found, (*_, name) in zip(gradients([p for _, p, *_ in models]), models, strict=True):
        assert found[name].dtype == dtype
        np.testing.assert_allclose(np.abs(found[name].astype(float)), 5000, rtol=0.01)
