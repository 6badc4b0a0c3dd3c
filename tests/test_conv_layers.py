"""Convolution and pooling layers, folding of batch norm, convolutional models, and what they compile to."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.layers.folding import fold_batch_norm
from fnn.models import convolutional as models


def built(layer, shape, dtype=jnp.float32):
    x = jax.random.normal(jax.random.key(1), shape, dtype)
    params, state = jax.jit(layer.init)(jax.random.key(0), x)
    return x, params, state


@pytest.mark.thorough
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_rank_comes_from_the_data(rank):
    spatial = (6, 5, 4)[:rank]
    for layer, features in [
        (fnn.conv(4, 3), 4),
        (fnn.conv_transpose(4, 3), 4),
        (fnn.depthwise_conv(3, multiplier=2), 6),
        (fnn.separable_conv(4, 3), 4),
        (fnn.max_pool(3, 1, "SAME"), 3),
        (fnn.avg_pool(3, 1, "SAME"), 3),
        (fnn.lp_pool(3, 2, 1, "SAME"), 3),
        (fnn.adaptive_avg_pool(spatial), 3),
    ]:
        x = jnp.ones((2, *spatial, 3))
        y, _ = jax.jit(lambda x, layer=layer: layer.apply(*layer.init(jax.random.key(0), x), x))(x)
        assert y.shape == (2, *spatial, features)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_parameters_and_dtypes(dtype):
    layer = fnn.conv(6, (3, 2), groups=3, kernel_init=fnn.initializers.ones)
    x, params, state = built(layer, (2, 5, 5, 9), dtype)
    assert jax.tree.map(lambda p: (p.shape, p.dtype), params) == {
        "kernel": ((3, 2, 3, 6), dtype),
        "bias": ((6,), dtype),
    }
    y, _ = layer.apply(params, state, x)
    assert y.dtype == dtype
    moved, _ = layer.apply({**params, "bias": params["bias"] + 1}, state, x)
    np.testing.assert_allclose((moved - y).astype(jnp.float32), 1, atol=0.1)
    wide, _ = layer.apply(jax.tree.map(lambda p: p.astype(jnp.float32), params), state, x)
    assert wide.dtype == dtype


def test_separable_is_depthwise_then_pointwise():
    layer = fnn.separable_conv(5, 3, multiplier=2, stride=2)
    x, params, state = built(layer, (2, 6, 6, 3))
    middle = fnn.kernels.conv(x, params["depthwise"]["kernel"], stride=2, groups=3)
    y = middle @ params["pointwise"]["kernel"][0, 0] + params["pointwise"]["bias"].reshape(1, 1, 1, 5)
    np.testing.assert_allclose(layer.apply(params, state, x)[0], y, atol=1e-5)


def test_stride_of_a_pool_is_its_window():
    x = jnp.arange(12.0).reshape(1, 12, 1)
    assert fnn.max_pool(3).apply((), (), x)[0].ravel().tolist() == [2, 5, 8, 11]
    assert fnn.max_pool(3, 1).apply((), (), x)[0].shape == (1, 10, 1)
    assert repr(fnn.max_pool(3, stride=2)) == "max_pool(3, stride=2)"


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (lambda: fnn.conv(4, 3, groups=2), (2, 5, 5, 3), "divisible by groups=2"),
        (lambda: fnn.conv(4, 3, groups=2), (2, 4, 5, 5), r"moveaxis\(x, 1, -1\)"),
        (lambda: fnn.conv(3, 3, groups=2), (2, 5, 5, 4), "features divisible by groups=2"),
        (lambda: fnn.conv(3, 3), (2, 5), r"x\[..., None\]"),
        (lambda: fnn.conv(3, (3, 3)), (2, 5, 1), "one per spatial axis"),
        (lambda: fnn.serial(fnn.conv(3, 3), fnn.max_pool(9)), (2, 5, 5, 1), "layer 1, max_pool"),
    ],
)
def test_misuse(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer().init(jax.random.key(0), jnp.ones(shape))


def test_channels_other_than_initialised():
    layer = fnn.conv(4, 3)
    _, params, state = built(layer, (2, 28, 28, 3))
    with pytest.raises(ValueError, match=r"expected 3 channels.*moveaxis\(x, 1, -1\)"):
        layer.apply(params, state, jnp.ones((2, 3, 28, 28)))


@pytest.mark.thorough
def test_folding_keeps_the_outputs(x64):
    norm = fnn.batch_norm
    model = fnn.serial(
        *(fnn.conv(6, 3), norm(eps=1e-3), fnn.relu),
        fnn.residual(fnn.serial(fnn.conv(6, 3, use_bias=False), norm(use_scale=False), fnn.relu)),
        *(fnn.depthwise_conv(3), norm(), fnn.separable_conv(4, 3), norm(), fnn.conv_transpose(5, 3, stride=2), norm()),
        *(fnn.max_pool(2), norm(), fnn.global_avg_pool(), fnn.dense(3), norm(), fnn.relu, norm()),
    )
    x, params, state = built(model, (8, 6, 6, 2), jnp.float64)
    for _ in range(2):
        state = jax.jit(lambda p, s, x: model.apply(p, s, x, train=True)[1])(params, state, x)
    rng = np.random.default_rng(3)
    params = jax.tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape), params)
    folded, new_params, new_state = fold_batch_norm(model, params, state)
    expected, _ = jax.jit(model.apply)(params, state, x)
    np.testing.assert_allclose(jax.jit(folded.apply)(new_params, new_state, x)[0], expected, rtol=1e-10)
    # Only the two norms that follow no linear layer remain, and no bias was added where there was one.
    names = []
    fnn.map_layers(lambda layer: names.append(layer.name) or layer, folded)
    assert [n.split("(")[0] for n in names].count("batch_norm") == 2
    assert names.count("bias") == 1


def test_folding_leaves_other_axes_and_models_without_norm():
    model = fnn.serial(fnn.conv(4, 3), fnn.batch_norm(axis=1))
    x, params, state = built(model, (2, 4, 4, 1))
    folded, *_ = fold_batch_norm(model, params, state)
    assert repr(folded) == repr(model)


@pytest.mark.parametrize(
    ("model", "shape", "size"),
    [
        (models.lenet5, (2, 28, 28, 1), 61_706),
        (models.small_cnn, (2, 28, 28, 1), 75_498),
        (models.vgg, (2, 16, 16, 3), None),
        (models.resnet, (2, 32, 32, 3), 11_173_962),
    ],
)
def test_models_have_the_shapes_and_sizes_they_say(model, shape, size):
    x = jnp.ones(shape)
    params, state = jax.eval_shape(model(10).init, jax.random.key(0), x)
    y, _ = jax.eval_shape(lambda p, s: model(10).apply(p, s, x, train=True, key=jax.random.key(0)), params, state)
    assert y.shape == (2, 10)
    assert size is None or sum(p.size for p in jax.tree.leaves(params)) == size


def scanned_step(model, shape):
    """A training step of `model` inside a scan, compiled, as text."""
    x = jnp.ones((3, *shape))
    params, state = model.init(jax.random.key(0), x[0])

    def loss(params, state, x):
        y, state = model.apply(params, state, x, train=True, key=jax.random.key(0))
        return jnp.sum(y**2), state

    def step(carry, x):
        (_, state), gradient = jax.value_and_grad(loss, has_aux=True)(*carry, x)
        return (jax.tree.map(lambda p, g: p - 0.1 * g, carry[0], gradient), state), None

    return jax.jit(lambda carry, x: jax.lax.scan(step, carry, x)[0]).lower((params, state), x).compile().as_text()


def test_no_slow_convolution_and_no_scatter_in_a_loop():
    """XLA runs a convolution of any other layout, or with a dilated input, as a scalar loop inside a while."""
    model = fnn.serial(
        *(fnn.conv(18, 3), fnn.batch_norm(), fnn.relu, fnn.max_pool(2)),
        *(fnn.conv(20, 3, stride=2), fnn.max_pool(3, 2), fnn.relu, fnn.conv_transpose(18, 3, stride=2)),
        *(fnn.avg_pool(2), fnn.conv(20, 3, groups=2), fnn.depthwise_conv(3), fnn.global_max_pool()),
    )
    text = scanned_step(model, (2, 16, 16, 1))
    convolutions = [line for line in text.splitlines() if "dim_labels=" in line and " convolution(" in line]
    assert len(convolutions) > 4  # on one device the gradients of kernels are products
    assert {re.search(r"dim_labels=(\S+?)(,|$)", line)[1] for line in convolutions} == {"b01f_01io->b01f"}
    assert not any("lhs_dilate" in line or "rhs_reversal" in line for line in convolutions)
    # A CPU program has the loops that stand for a select-and-scatter; its name remains in what they came from.
    assert "select_and_scatter" not in text


def test_the_check_itself_finds_a_slow_convolution_and_a_scatter():
    def apply(params, x):
        y = jax.lax.conv_general_dilated(x, params, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")

    text = scanned_step(fnn.stateless(lambda key, x: jnp.ones((3, 3, 1, 18)), apply), (2, 8, 8, 1))
    assert set(re.findall(r"dim_labels=([^\s,]+)", text)) != {"b01f_01io->b01f"}
    assert "select_and_scatter" in text
