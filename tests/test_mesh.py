"""Training steps over a mesh: the batch stays split, and one device or two give the same numbers."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import fnn
from fnn.kernels import placement
from fnn.kernels.recurrence.core import recur

KEY = jax.random.key(0)
IMAGES, SEQUENCES = (4, 8, 8, 3), (4, 6, 3)
MODELS = {
    "lstm": (fnn.serial(fnn.lstm(4), fnn.dense(2)), SEQUENCES),
    "gru, both directions": (fnn.serial(fnn.bidirectional(fnn.gru(4)), fnn.dense(2)), SEQUENCES),
    "rnn": (fnn.serial(fnn.rnn(4), fnn.dense(2)), SEQUENCES),
    "cnn": (
        fnn.serial(
            fnn.conv(20, 3), fnn.batch_norm(), fnn.relu, fnn.max_pool(2), fnn.depthwise_conv(3), fnn.dropout(0.1),
            fnn.conv_transpose(4, 3, stride=2), fnn.global_avg_pool(), fnn.dense(2),
        ),
        IMAGES,
    ),
}  # fmt: skip


@pytest.mark.devices(2)
@pytest.mark.parametrize("name", MODELS)
def test_no_device_computes_the_rows_of_another(name):
    model, shape = MODELS[name]
    mesh = fnn.devices.data_mesh(jax.devices()[:2])
    step = fnn.train_step(model, fnn.optim.sgd(0.1), fnn.tasks.multiclass(2))
    batch = jnp.zeros(shape), jnp.zeros(shape[0], jnp.int32)
    train_state = jax.device_put(step.init(KEY, batch[0]), NamedSharding(mesh, PartitionSpec()))
    batch = jax.device_put(batch, NamedSharding(mesh, PartitionSpec(mesh.axis_names[0])))
    program = jax.jit(step.update).lower(train_state, KEY, batch).compile().as_text()
    assert "all-reduce" in program
    assert not re.findall(r" (?:all-gather|all-to-all|collective-permute)(?:-start)?\(", program)


@pytest.mark.parametrize("layer", [fnn.lstm(3), fnn.gru(3), fnn.rnn(3)], ids=["lstm", "gru", "rnn"])
def test_recurrent_products_of_one_device(monkeypatch, layer):
    """On several devices steps and batch are not merged; on one they are."""
    x = jax.random.normal(KEY, (2, 7, 5))
    params, state = layer.init(KEY, x)

    def values():
        recur.clear_cache()
        return jax.value_and_grad(lambda p: (layer.apply(p, state, x)[0] ** 2).sum())(params)

    monkeypatch.setattr(placement, "devices", lambda platform=None: 2)
    several = values()
    monkeypatch.setattr(placement, "devices", lambda platform=None: 1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), several, values())
