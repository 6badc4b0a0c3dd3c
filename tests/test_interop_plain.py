"""Models in operations of JAX alone."""

import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from every_layer import LAYERS, MODELS

import fnn
from fnn.kernels.convolution import plain
from fnn.kernels.convolution.products import plain_form, products

NAMES = (
    "conv, groups", "conv_transpose", "layer_norm", "batch_norm", "max_pool, overlapping", "lstm", "gru",
    "spectral_norm", "resnet", "small_cnn",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_model_keeps_its_outputs_and_has_no_operation_of_fnns(name):
    case = (LAYERS | MODELS)[name]
    x = np.random.default_rng(0).normal(size=(2, *case.shape)).astype(case.dtype)
    shapes = jax.eval_shape(case.layer.init, jax.random.key(0), x)
    trained = jax.tree.map(lambda a: jnp.full(a.shape, 0.3, a.dtype), shapes)

    def forward(x):
        return case.layer.apply(*trained, x)[0]

    plain = fnn.interop.plain(forward, x)
    program = str(jax.make_jaxpr(plain)(x))
    assert "fnn_" not in program
    assert "platform" not in program
    assert "mantissa_bits=0" not in program  # the power of two of a scale, which no reader has
    assert {*re.findall(r"rhs_spec=\(([\d, ]+)\)", program)} <= {"3, 2, 0, 1"}
    np.testing.assert_allclose(jax.jit(plain)(x), jax.jit(forward)(x), rtol=1e-5, atol=1e-5)


def test_the_bodies_of_loops_and_branches_are_rewritten_too():
    conv, x = fnn.conv(2, 3), jnp.ones((1, 4, 4, 2))
    params, state = conv.init(jax.random.key(0), x)

    def one(x):
        return conv.apply(params, state, x)[0]

    def forward(x):
        x, _ = jax.lax.scan(lambda x, _: (one(x), None), x, length=2)
        return jax.lax.cond(x.sum() > 0, one, lambda x: x, x)

    plain = fnn.interop.plain(forward, x)
    assert "fnn_" not in str(jax.make_jaxpr(plain)(x))
    np.testing.assert_allclose(plain(x), forward(x), rtol=1e-5, atol=1e-6)


def test_sizes_stay_open():
    model, (rows,) = fnn.serial(fnn.conv(4, 3), fnn.max_pool(2)), jax.export.symbolic_shape("rows")
    params, state = model.init(jax.random.key(0), jnp.ones((1, 4, 4, 2)))
    like = jax.ShapeDtypeStruct((rows, 4, 4, 2), jnp.float32)
    plain = fnn.interop.plain(lambda x: model.apply(params, state, x)[0], like)
    assert jax.export.export(jax.jit(plain))(like).out_avals[0].shape == (rows, 2, 2, 4)


def test_a_primitive_is_known_by_what_it_is_and_not_by_its_name():
    mine = type("Primitive", (), {"name": "fnn_convolve"})()
    assert plain_form(mine) is None
    assert plain_form(products().convolve_p) is plain.convolve
