"""Layers around a layer: weight norm, spectral norm, DropConnect."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

import fnn

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).standard_normal((5, 4)), jnp.float32)


def image_filter(features=3):
    """A layer whose kernel has four axes, as that of a convolution."""
    return fnn.stateless(
        lambda key, x: {"kernel": jax.random.normal(key, (2, 2, x.shape[-1], features), x.dtype)},
        lambda params, x: jnp.einsum("nhwc,hwcf->nf", x, params["kernel"]),
    )


@given(seed=st.integers(0, 99), shape=st.sampled_from([(4, 3), (2, 2, 3, 5)]))
def test_weight_norm_is_the_formula(x64, seed, shape):
    rng = np.random.default_rng(seed)
    v, g = rng.standard_normal(shape), rng.standard_normal(shape[-1])
    expected = np.stack([g[o] * v[..., o] / np.sqrt((v[..., o] ** 2).sum()) for o in range(shape[-1])], -1)
    np.testing.assert_allclose(fnn.kernels.weight_norm(v, g), expected, rtol=1e-12)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_directions_of_tiny_and_huge_kernels(size):
    v = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
    g, pull = jnp.ones(3), jnp.asarray(np.random.default_rng(1).normal(size=(4, 3)), jnp.float32)

    def both(v):
        w, back = jax.vjp(lambda v: fnn.kernels.weight_norm(v, g), v)
        return w, back(pull)[0]

    (w, slope), (scaled_w, scaled_slope) = both(v), both(v * size)
    np.testing.assert_allclose(scaled_w, w, rtol=1e-6)
    np.testing.assert_allclose(scaled_slope * size, slope, rtol=1e-5, atol=1e-6)
    spectral = fnn.kernels.spectral_norm(v, jnp.ones(3), steps=3)[0]
    np.testing.assert_allclose(fnn.kernels.spectral_norm(v * size, jnp.ones(3), steps=3)[0], spectral, rtol=1e-5)


def test_a_kernel_that_is_nan_is_not_taken_for_one_of_zeros():
    kernel = jnp.array([[3.0, jnp.nan], [4.0, 1.0]])
    expected = [[0.6, jnp.nan], [0.8, jnp.nan]]
    np.testing.assert_allclose(fnn.kernels.weight_norm(kernel, jnp.ones(2)), expected, rtol=1e-6)
    w, u = fnn.kernels.spectral_norm(kernel, jnp.ones(2))
    assert np.isnan(w).all()
    assert np.isnan(u).all()


def test_weight_norm_begins_as_the_layer_it_wraps():
    for layer, x in ((fnn.dense(3), X), (image_filter(), jnp.ones((2, 2, 2, 3)))):
        wrapped = fnn.weight_norm(layer)
        expected = layer.apply(*layer.init(KEY, x), x)[0]
        np.testing.assert_allclose(wrapped.apply(*wrapped.init(KEY, x), x)[0], expected, rtol=1e-5, atol=1e-6)


def test_weight_norm_as_torch():
    torch = pytest.importorskip("torch")
    linear = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 3))
    with torch.no_grad():
        linear.parametrizations.weight.original0.mul_(2.0)
    params = {
        "kernel": jnp.asarray(linear.parametrizations.weight.original1.detach().numpy().T),
        "kernel_scale": jnp.asarray(linear.parametrizations.weight.original0.detach().numpy()[:, 0]),
        "bias": jnp.asarray(linear.bias.detach().numpy()),
    }
    y, _ = fnn.weight_norm(fnn.dense(3)).apply(params, (), X)
    np.testing.assert_allclose(y, linear(torch.tensor(np.asarray(X))).detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", [np.zeros((3, 2)), np.array([[1e-30, 0.0], [0.0, 0.0], [0.0, 0.0]])])
def test_zero_columns_stay_finite(kernel):
    kernel = jnp.asarray(kernel, jnp.float32)
    w, slope = jax.value_and_grad(lambda v: fnn.kernels.weight_norm(v, jnp.ones(2)).sum())(kernel)
    assert jnp.isfinite(w)
    assert jnp.isfinite(slope).all()
    assert jnp.isfinite(fnn.kernels.spectral_norm(kernel, jnp.ones(2))[0]).all()
    assert jnp.isfinite(jax.grad(lambda w: fnn.kernels.spectral_norm(w, jnp.ones(2))[0].sum())(kernel)).all()


@given(seed=st.integers(0, 99), shape=st.sampled_from([(4, 3), (2, 2, 3, 5)]))
def test_spectral_norm_is_the_largest_singular_value(x64, seed, shape):
    rng = np.random.default_rng(seed)
    w, u = rng.standard_normal(shape), rng.standard_normal(shape[-1])
    sigma = np.linalg.svd(w.reshape(-1, shape[-1]))[1][0]
    found, u = fnn.kernels.spectral_norm(w, u, steps=3000)
    np.testing.assert_allclose(found, w / sigma, rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(u), 1, rtol=1e-6)


def test_spectral_norm_gradient_holds_the_vectors_fixed(x64):
    w = jnp.asarray(np.random.default_rng(0).standard_normal((4, 3)))
    _, u = fnn.kernels.spectral_norm(w, jnp.ones(3), steps=500)
    fnn.testing.check_gradients(lambda w: fnn.kernels.spectral_norm(w, u, steps=0)[0], w, order=1)


def test_spectral_norm_layer_converges_and_keeps_its_vector_at_inference():
    layer = fnn.spectral_norm(fnn.dense(3, use_bias=False))
    params, state = layer.init(KEY, X)
    state = jax.lax.fori_loop(0, 100, lambda _, state: layer.apply(params, state, X, train=True)[1], state)
    y, same = layer.apply(params, state, X)
    sigma = np.linalg.norm(params["kernel"], 2)
    np.testing.assert_allclose(y, X @ params["kernel"] / sigma, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(same["u"], state["u"])


def test_drop_connect_drops_weights():
    layer = fnn.drop_connect(fnn.dense(50, use_bias=False), 0.5)
    params, state = layer.init(KEY, X)
    eye = jnp.eye(4)
    weights, _ = layer.apply(params, state, eye, key=jax.random.key(1), train=True)
    kept = weights != 0
    assert 0.3 < kept.mean() < 0.7
    np.testing.assert_allclose(weights, jnp.where(kept, 2 * params["kernel"], 0), rtol=1e-6)
    np.testing.assert_array_equal(layer.apply(params, state, eye)[0], params["kernel"])


@pytest.mark.thorough
@pytest.mark.parametrize(
    "layer",
    [
        fnn.weight_norm(fnn.dense(3)),
        fnn.drop_connect(fnn.dense(3), 0.5),
        fnn.spectral_norm(fnn.dense(3), steps=200),
        fnn.weight_norm(fnn.drop_connect(fnn.dense(3), 0.5)),
    ],
    ids=str,
)
def test_wrappers_keep_the_protocol(layer):
    fnn.testing.check_layer(layer, X)


@pytest.mark.parametrize("wrap", [fnn.weight_norm, fnn.spectral_norm, lambda layer: fnn.drop_connect(layer, 0.5)])
def test_layers_without_the_parameter_are_refused(wrap):
    with pytest.raises(
        ValueError, match=r"expected a layer with a parameter 'kernel', got layer_norm\(\) with 'scale'"
    ):
        wrap(fnn.layer_norm()).init(KEY, X)
    with pytest.raises(ValueError, match="wrap the layer that has it"):
        wrap(fnn.serial(fnn.dense(3))).init(KEY, X)


def test_drop_connect_needs_a_key_and_a_rate():
    layer = fnn.drop_connect(fnn.dense(3), 0.5)
    with pytest.raises(ValueError, match="drop_connect: train=True needs a random key"):
        layer.apply(*layer.init(KEY, X), X, train=True)
    with pytest.raises(ValueError, match=r"drop_connect: expected rate in \[0, 1\], got -0.1"):
        fnn.drop_connect(fnn.dense(3), -0.1)
