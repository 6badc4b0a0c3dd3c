"""Models in operations of JAX alone."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from every_layer import LAYERS, MODELS

import fnn


@pytest.mark.parametrize("name", ["conv, groups", "conv_transpose", "lstm", "spectral_norm", "resnet", "small_cnn"])
def test_a_model_keeps_its_outputs_and_has_no_operation_of_fnns(name):
    case = (LAYERS | MODELS)[name]
    x = np.random.default_rng(0).normal(size=(2, *case.shape)).astype(case.dtype)
    shapes = jax.eval_shape(case.layer.init, jax.random.key(0), x)
    trained = jax.tree.map(lambda a: jnp.full(a.shape, 0.3, a.dtype), shapes)

    def forward(x):
        return case.layer.apply(*trained, x)[0]

    plain = fnn.interop.plain(forward, x)
    assert "fnn_" not in str(jax.make_jaxpr(plain)(x))
    np.testing.assert_allclose(jax.jit(plain)(x), jax.jit(forward)(x), rtol=1e-5, atol=1e-5)


def test_sizes_stay_open():
    model, (rows,) = fnn.serial(fnn.conv(4, 3), fnn.max_pool(2)), jax.export.symbolic_shape("rows")
    params, state = model.init(jax.random.key(0), jnp.ones((1, 4, 4, 2)))
    like = jax.ShapeDtypeStruct((rows, 4, 4, 2), jnp.float32)
    plain = fnn.interop.plain(lambda x: model.apply(params, state, x)[0], like)
    assert jax.export.export(jax.jit(plain))(like).out_avals[0].shape == (rows, 2, 2, 4)
