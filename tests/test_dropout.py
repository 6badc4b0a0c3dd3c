"""The dropout family: rates, scale, keys, edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import fnn

KEY = jax.random.key(0)
FOUR = ("float32", "bfloat16", "float16", "float64")
FAMILY = (
    fnn.dropout(0.5),
    fnn.dropout(0.3, broadcast_dims=(0, -1)),
    fnn.spatial_dropout(0.5),
    fnn.variational_dropout(0.5),
    fnn.alpha_dropout(0.3),
    fnn.gaussian_noise(0.5),
)


def train(layer, x, key=KEY):
    return layer.apply((), (), x, key=key, train=True)[0]


@pytest.mark.parametrize("rate", [0.0, 1e-4, 0.1, 0.5, 0.9, 1.0])
def test_the_fraction_dropped(rate):
    draws = 200_000
    dropped = 1 - fnn.kernels.keep_mask(KEY, (draws,), rate).mean(dtype=jnp.float32)
    assert abs(dropped - rate) <= 4 * np.sqrt(rate * (1 - rate) / draws) + 2**-17


@pytest.mark.parametrize("shape", [(), (1,), (7,), (0, 3), (3, 5), (2, 3, 4)])
def test_masks_of_any_shape(shape):
    assert fnn.kernels.keep_mask(KEY, shape, 0.5).shape == shape


def test_draws_that_share_a_word_are_independent():
    mask = np.asarray(fnn.kernels.keep_mask(KEY, (100_000, 2), 0.3), np.float64)
    assert abs(np.corrcoef(mask.T)[0, 1]) < 0.02
    assert abs(np.corrcoef(mask[:-1, 1], mask[1:, 0])[0, 1]) < 0.02


@pytest.mark.parametrize("dtype", FOUR)
def test_kept_values_are_scaled(x64, dtype):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((50, 7)), dtype)
    y = train(fnn.dropout(0.3), x)
    assert y.dtype == x.dtype
    wide = np.asarray(x, np.float64)
    expected = np.where(np.asarray(y) != 0, wide / (1 - 0.3), 0)
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=float(jnp.finfo(dtype).eps))
    assert 0.55 < np.mean(np.asarray(y) != 0) < 0.85


def test_expectation_is_the_input():
    x = jnp.asarray(np.random.default_rng(0).standard_normal(5), jnp.float32)
    draws = jax.vmap(lambda key: train(fnn.dropout(0.4), x, key))(jax.random.split(KEY, 20_000))
    np.testing.assert_allclose(draws.mean(0), x, atol=0.05)


@pytest.mark.parametrize("kernel", [fnn.kernels.dropout, fnn.kernels.alpha_dropout])
@pytest.mark.parametrize("traced", [True, False])
def test_rates_zero_and_one_are_exact(kernel, traced):
    x = jnp.array([1.5, -2.0, 1e4, 0.0])
    call = jax.jit(kernel) if traced else kernel
    np.testing.assert_array_equal(call(KEY, x, 0.0), x)
    np.testing.assert_array_equal(call(KEY, x, 1.0), jnp.zeros(4))
    for rate, slope in ((0.0, 1.0), (1.0, 0.0)):
        found = jax.grad(lambda x, p: kernel(KEY, x, p).sum(), (0, 1))(x, rate)
        np.testing.assert_array_equal(found[0], jnp.full(4, slope))
        assert jnp.isfinite(found[1])


def test_dropped_values_need_not_be_finite():
    y, slope = jax.value_and_grad(lambda x: fnn.kernels.dropout(KEY, x, 1.0).sum())(jnp.array([jnp.inf, jnp.nan]))
    assert y == 0
    assert not slope.any()


def test_rates_are_mapped():
    x, rates = jnp.ones(1000), jnp.array([0.0, 0.3, 1.0])
    together = jax.vmap(lambda rate: train(fnn.dropout(rate), x))(rates)
    for rate, y in zip(rates, together, strict=True):
        np.testing.assert_array_equal(y, fnn.kernels.dropout(KEY, x, float(rate)))


@pytest.mark.parametrize("layer", FAMILY, ids=str)
def test_inference_is_the_identity_without_a_key(layer):
    x = jnp.ones((2, 3, 4))
    assert layer.apply((), (), x)[0] is x


@pytest.mark.thorough
@pytest.mark.parametrize("layer", FAMILY, ids=str)
def test_layers_keep_the_protocol(layer):
    fnn.testing.check_layer(layer, jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 4)), jnp.float32))


def test_same_key_same_mask_however_it_is_called():
    x, keys = jnp.ones((3, 5)), jax.random.split(KEY, 3)
    loop = jnp.stack([train(fnn.dropout(0.5), row, key) for row, key in zip(x, keys, strict=True)])
    np.testing.assert_array_equal(jax.vmap(lambda x, key: train(fnn.dropout(0.5), x, key))(x, keys), loop)
    np.testing.assert_array_equal(jax.jit(lambda x: train(fnn.dropout(0.5), x))(x), train(fnn.dropout(0.5), x))
    assert (train(fnn.dropout(0.5), x, keys[0]) != train(fnn.dropout(0.5), x, keys[1])).any()


def test_two_layers_in_one_model_draw_different_masks():
    x, half = jnp.ones((4, 64)), fnn.dropout(0.5)

    def draw(model):
        return model.apply(*model.init(KEY, x), x, key=KEY, train=True)[0]

    first, second = draw(fnn.parallel(half, half))
    assert (first != second).any()
    kept = draw(fnn.serial(half, half)) != 0
    # With one mask for both, half would be kept; with two, a quarter.
    assert 0.1 < kept.mean() < 0.4


def test_spatial_dropout_drops_whole_channels():
    y = train(fnn.spatial_dropout(0.5), jnp.ones((20, 3, 3, 8)))
    np.testing.assert_array_equal(y, jnp.broadcast_to(y[:, :1, :1], y.shape))
    assert set(y[:, 0, 0].ravel().tolist()) == {0.0, 2.0}


def test_variational_dropout_keeps_one_mask_over_time():
    y = train(fnn.variational_dropout(0.5), jnp.ones((20, 6, 2, 4)))
    np.testing.assert_array_equal(y, jnp.broadcast_to(y[:, :1], y.shape))
    assert (y[:, 0, 0] != y[:, 0, 1]).any()


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.7])
def test_alpha_dropout_keeps_mean_and_variance(rate):
    x = jax.random.normal(jax.random.key(1), (300_000,))
    y = fnn.kernels.alpha_dropout(KEY, x, rate)
    assert abs(y.mean()) < 0.02
    assert abs(y.std() - 1) < 0.02
    # The dropped take what SELU tends to at minus infinity, moved as all others are.
    floor = -1.0507009873554805 * 1.6732632423543772
    a = ((1 - rate) + floor**2 * rate * (1 - rate)) ** -0.5
    dropped = jnp.isclose(y, a * floor * (1 - rate), atol=1e-5)
    assert abs(dropped.mean(dtype=jnp.float32) - rate) < 0.01
    np.testing.assert_allclose(y[~dropped], (a * x - a * rate * floor)[~dropped], atol=1e-4)


def test_gaussian_noise():
    y = train(fnn.gaussian_noise(0.5), jnp.full(100_000, 3.0))
    assert abs(y.mean() - 3) < 0.02
    assert abs(y.std() - 0.5) < 0.01
    np.testing.assert_array_equal(train(fnn.gaussian_noise(0.0), jnp.ones(3)), jnp.ones(3))


def test_mc_dropout_draws_at_inference_and_keeps_running_statistics():
    model = fnn.serial(fnn.dense(32), fnn.batch_norm(), fnn.residual(fnn.dropout(0.5)), fnn.dense(2))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 3)), jnp.float32)
    params, state = model.init(KEY, x)
    sampled = fnn.mc_dropout(model)
    y, same = jax.vmap(lambda key: sampled.apply(params, state, x, key=key))(jax.random.split(KEY, 2000))
    assert (y.std(0) > 0).all()
    assert (same[1]["mean"] == state[1]["mean"][None]).all()
    np.testing.assert_allclose(y.mean(0), model.apply(params, state, x)[0], atol=0.15)
    np.testing.assert_array_equal(
        sampled.apply(params, state, x, key=KEY, train=True)[0], model.apply(params, state, x, key=KEY, train=True)[0]
    )
    with pytest.raises(ValueError, match="dropout: train=True needs a random key"):
        sampled.apply(params, state, x)


@pytest.mark.parametrize("build", [fnn.dropout, fnn.spatial_dropout, fnn.variational_dropout, fnn.alpha_dropout])
@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_rates_outside_the_unit_interval(build, rate):
    with pytest.raises(ValueError, match=rf"{build.__name__}: expected rate in \[0, 1\], got {rate}"):
        build(rate)


def test_negative_noise():
    with pytest.raises(ValueError, match="gaussian_noise: expected stddev in"):
        fnn.gaussian_noise(-1.0)


@pytest.mark.parametrize("layer", FAMILY, ids=str)
def test_training_needs_a_key_and_floating_point(layer):
    name = layer.name.split("(")[0]
    with pytest.raises(ValueError, match=rf"{name}: train=True needs a random key; write key=jax.random.key\(0\)"):
        layer.apply((), (), jnp.ones((2, 3, 4)), train=True)
    with pytest.raises(TypeError, match=f"{name}: expected x to be floating-point, got int32"):
        layer.init(KEY, jnp.ones((2, 3, 4), int))


def test_wrong_ranks():
    for layer in (fnn.spatial_dropout(0.5), fnn.variational_dropout(0.5)):
        with pytest.raises(ValueError, match="expected x of shape"):
            train(layer, jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="dropout: expected broadcast_dims to be axes of x"):
        train(fnn.dropout(0.5, broadcast_dims=(2,)), jnp.ones((2, 3)))


@pytest.mark.devices(2)
def test_masks_do_not_depend_on_the_number_of_devices():
    mesh = jax.make_mesh((2,), ("data",))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 6)), jnp.float32)
    sharded = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    for layer in (fnn.dropout(0.5), fnn.alpha_dropout(0.5)):
        found = jax.jit(lambda x, layer=layer: train(layer, x))(sharded)
        np.testing.assert_allclose(found, train(layer, x), rtol=1e-6)


@pytest.mark.parametrize("sequence", [list, np.array])
def test_axes_and_shapes_of_the_kernels_may_be_any_sequence(sequence):
    key, x = jax.random.key(0), jnp.ones((2, 3, 4))
    expected = fnn.kernels.dropout(key, x, 0.5, broadcast_dims=(0, -1))
    np.testing.assert_array_equal(fnn.kernels.dropout(key, x, 0.5, broadcast_dims=sequence([0, -1])), expected)
    np.testing.assert_array_equal(
        fnn.kernels.keep_mask(key, sequence([2, 3]), 0.5), fnn.kernels.keep_mask(key, (2, 3), 0.5)
    )
