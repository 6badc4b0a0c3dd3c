"""A batch of no examples: nothing comes out, its mean is 0, and so is every gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

K = fnn.kernels


def empty_and_its_gradients(function, *arrays):
    def total(*arrays):
        return jnp.sum(function(*arrays))

    gradients = jax.jit(jax.grad(total, tuple(range(len(arrays)))))(*arrays)
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)
    return function(*arrays)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2}, {"groups": 2}, {"groups": 4, "stride": 2}, {"padding": "REFLECT"}, {"input_dilation": 2}],
    ids=str,
)
def test_convolutions(rank, options):
    x, w = jnp.ones((0, *(4,) * rank, 4)), jnp.ones((*(3,) * rank, 4 // options.get("groups", 1), 8))
    y = empty_and_its_gradients(lambda x, w: K.conv(x, w, **options), x, w)
    assert y.shape[0] == 0
    assert y.shape[-1] == 8
    if "padding" not in options and "input_dilation" not in options:
        assert empty_and_its_gradients(lambda x, w: K.conv_transpose(x, w, **options), x, w).shape[0] == 0


def test_members_of_a_vmap_may_have_empty_batches():
    x, w = jnp.ones((3, 0, 4, 4)), jnp.ones((3, 3, 2, 4))
    assert jax.vmap(lambda x, w: K.conv(x, w, groups=2))(x, w).shape == (3, 0, 4, 4)
    assert jax.vmap(jax.grad(lambda w, x: jnp.sum(K.conv(x, w, groups=2))))(w, x).shape == w.shape


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: K.max_pool(x, 2, stride=1),
        lambda x: K.avg_pool(x, 3, padding="SAME", count_include_pad=False),
        lambda x: K.lp_pool(x, 2),
        lambda x: K.adaptive_max_pool(x, 3),
        lambda x: K.adaptive_avg_pool(x, 3),
        K.global_max_pool,
        K.global_avg_pool,
    ],
)
def test_pools(pool):
    assert empty_and_its_gradients(pool, jnp.ones((0, 4, 5, 2))).shape[0] == 0


LAYERS = {
    "layer_norm": fnn.layer_norm(),
    "rms_norm": fnn.rms_norm(),
    "group_norm": fnn.group_norm(2),
    "instance_norm": fnn.instance_norm(),
    "batch_norm": fnn.batch_norm(),
    "lstm": fnn.lstm(3),
    "lstm, peephole": fnn.lstm(3, peephole=True),
    "gru": fnn.gru(3, return_sequences=True),
    "rnn": fnn.bidirectional(fnn.rnn(3)),
    "dense": fnn.dense(3),
    "conv": fnn.conv(3, 3, padding="CIRCULAR"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    layer = LAYERS[name]
    params, state = layer.init(jax.random.key(0), jnp.ones((2, 5, 4)))
    x = jnp.ones((0, 5, 4))
    assert layer.apply(params, state, x)[0].shape[0] == 0
    gradients = jax.grad(lambda p: jnp.sum(layer.apply(p, state, x)[0]))(params)
    for gradient in jax.tree.leaves(gradients):
        np.testing.assert_array_equal(gradient, 0)


LOSSES = {
    "mse": fnn.losses.mse,
    "huber_loss": fnn.losses.huber_loss,
    "sigmoid_binary_cross_entropy": fnn.losses.sigmoid_binary_cross_entropy,
    "softmax_cross_entropy": fnn.losses.softmax_cross_entropy,
    "kl_divergence": fnn.losses.kl_divergence,
    "dice_loss": fnn.losses.dice_loss,
    "cosine_distance": fnn.losses.cosine_distance,
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    loss, outputs = LOSSES[name], jnp.ones((0, 4))
    assert loss(outputs, outputs).shape[0] == 0
    mean = empty_and_its_gradients(lambda x: loss(x, outputs, reduction="mean"), outputs)
    assert not mean.any()


def test_a_penalty_on_nothing_is_0():
    layer, x = fnn.activity_penalty(1.0, 1.0), jnp.ones((0, 3))
    assert layer.apply((), layer.init(jax.random.key(0), x)[1], x, train=True)[1]["penalty"].value == 0
