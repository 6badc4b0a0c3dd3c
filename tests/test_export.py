"""Programs for any batch, length and image size, for every platform, from a CPU."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_layer import LAYERS, MODELS

import fnn

CASES = LAYERS | MODELS
EVERYWHERE = ("cpu", "cuda", "tpu")


def symbols(case):
    """Shapes of any batch of examples whose free axes have any length."""
    names = [f"n{axis}" for axis in case.free]
    least = [f"{name} >= {case.least}" for name in names]
    batch, *sizes = jax.export.symbolic_shape(", ".join(["b", *names]), constraints=least)
    return case.x(batch, sizes)


def drawn(shapes, seed=0):
    """Arrays of these shapes; whole numbers for integers, so that they are indices of anything."""
    rng = np.random.default_rng(seed)

    def one(a):
        if jnp.issubdtype(a.dtype, jnp.integer):
            return jnp.asarray(rng.integers(0, 10, a.shape), a.dtype)
        return jnp.asarray(rng.normal(size=a.shape), a.dtype)

    return jax.tree.map(one, shapes)


def inference(case):
    return lambda params, state, x: case.layer.apply(params, state, x, key=jax.random.key(1))[0]


def gradients(case):
    """Of every parameter and of floating-point input, in training."""

    def total(params, state, x):
        y, state = case.layer.apply(params, state, x, key=jax.random.key(1), train=True)
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(y)), state

    return jax.grad(total, (0, 2) if case.dtype == "float32" else 0, has_aux=True)


def exported(f, case, platforms=EVERYWHERE):
    x = symbols(case)
    params, state = jax.eval_shape(case.layer.init, jax.random.key(0), x)
    return jax.export.export(jax.jit(f(case)), platforms=platforms)(params, state, x)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def arrays(case, batch, more):
    """Parameters, state and a batch of examples with `more` on every free axis."""
    x = case.x(batch, [case.shape[axis] + more for axis in case.free])
    params, state = jax.eval_shape(case.layer.init, jax.random.key(0), x)
    return drawn(params), jax.tree.map(jnp.abs, drawn(state)), drawn(x)  # variances are not negative


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_what_comes_back_from_a_file_is_right_at_every_size(name):
    """Two sizes of every layer, one of its variants and of every model."""
    pytest.importorskip("flatbuffers")
    program = jax.export.deserialize(exported(inference, CASES[name]).serialize())
    assert program.platforms == EVERYWHERE
    for batch, more in ((2, 0), (3, 1))[name in MODELS or "," in name :]:
        at = arrays(CASES[name], batch, more)
        jax.tree.map(close, program.call(*at), jax.jit(inference(CASES[name]))(*at))


LOOKED_AT = {
    "conv",
    "conv, strides",
    "conv, groups",
    "conv_transpose",
    "depthwise_conv",
    "max_pool, overlapping",
    "lstm",
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_exported_for_every_size(name):
    """What each asks of the sizes shows while it is exported; the numbers of some."""
    program = exported(gradients, CASES[name])
    if name in LOOKED_AT:
        at = arrays(CASES[name], 3, 1)
        jax.tree.map(close, program.call(*at), jax.jit(gradients(CASES[name]))(*at))


@pytest.mark.parametrize(
    ("layer", "size", "message"),
    [
        (fnn.max_pool(3), "n", r"a window of 3 does not fit on every size n padded by \(0, 0\).*\[\"n >= 3\"\]"),
        (fnn.conv(4, 5, padding="VALID"), "n", r"conv: a window of 5 .*constraints=\[\"n >= 5\"\]"),
        (fnn.conv(4, 2, stride=3), "n", "SAME padding of a window of 2 at stride 3 differs between sizes n"),
        (fnn.avg_pool(3, padding=4), "n", "every window to see some input"),
        (fnn.adaptive_avg_pool(2), "n", "adaptive_avg_pool: expected spatial sizes that are numbers.*global_avg_pool"),
        (fnn.adaptive_max_pool(2), "n", "adaptive_max_pool: expected spatial sizes that are numbers.*global_max_pool"),
    ],
)
def test_what_cannot_be_done_at_every_size_says_so(layer, size, message):
    (n,) = jax.export.symbolic_shape(size)
    x = jax.ShapeDtypeStruct((2, n, 3), jnp.float32)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda x: layer.apply(*layer.init(jax.random.key(0), x), x)[0], x)


def test_a_dense_layer_after_flatten_needs_the_size_of_the_images():
    model = fnn.serial(fnn.flatten(), fnn.dense(4))
    params, state = model.init(jax.random.key(0), jnp.ones((2, 5, 5, 3)))
    h, w = jax.export.symbolic_shape("h, w")
    x = jax.ShapeDtypeStruct((2, h, w, 3), jnp.float32)
    for f in (lambda x: model.apply(params, state, x), lambda x: model.init(jax.random.key(0), x)):
        with pytest.raises(ValueError, match=r"dense: expected a number of features, got 3\*h\*w.*global_avg_pool"):
            jax.eval_shape(f, x)


def test_lengths_of_any_batch_and_time():
    pytest.importorskip("flatbuffers")
    layer = fnn.bidirectional(fnn.lstm(3, return_sequences=True))
    params, state = layer.init(jax.random.key(0), jnp.ones((1, 4, 2)))
    batch, time = jax.export.symbolic_shape("b, t")
    x = fnn.Padded(jax.ShapeDtypeStruct((batch, time, 2), jnp.float32), jax.ShapeDtypeStruct((batch,), jnp.int32))
    program = jax.export.export(jax.jit(lambda x: layer.apply(params, state, x)[0]), platforms=EVERYWHERE)(x)
    at = fnn.Padded(drawn(jax.ShapeDtypeStruct((3, 5, 2), jnp.float32)), jnp.array([5, 2, 0], jnp.int32))
    jax.tree.map(close, jax.export.deserialize(program.serialize()).call(at), layer.apply(params, state, at)[0])


@pytest.mark.parametrize("name", ["lenet5", "sequence_classifier"])
def test_a_training_step_is_exported_for_every_batch(name):
    x = symbols(MODELS[name])
    step = fnn.train_step(MODELS[name].layer, fnn.optim.adam(1e-3), fnn.tasks.multiclass(3))
    state = jax.eval_shape(step.init, jax.random.key(0), x)
    update = jax.jit(lambda state, *batch: step.update(state, jax.random.key(1), batch))
    program = jax.export.export(update, platforms=EVERYWHERE)(state, x, jax.ShapeDtypeStruct(x.shape[:1], jnp.int32))
    assert all(isinstance(size, int) for aval in program.out_avals for size in aval.shape)


def test_text_and_sequences_are_written_from_any_beginning():
    batch, time = jax.export.symbolic_shape("b, t")
    model, prompt = fnn.models.language_model(10, (3,), stateful=True), jax.ShapeDtypeStruct((batch, time), jnp.int32)
    params, _ = jax.eval_shape(model.init, jax.random.key(0), prompt)
    write = jax.jit(lambda params, prompt: fnn.models.generate(model, params, jax.random.key(1), prompt, 4, top_k=3))
    assert jax.export.export(write, platforms=EVERYWHERE)(params, prompt).out_avals[0].shape == (batch, 4)
    case, source = MODELS["encoder_decoder"], jax.ShapeDtypeStruct((batch, time, 3), jnp.float32)
    params, _ = jax.eval_shape(case.layer.init, jax.random.key(0), case.x(batch, [time]))
    read = jax.jit(lambda params, source: case.layer.apply(params, (), source)[0])
    assert jax.export.export(read, platforms=EVERYWHERE)(params, source).out_avals[0].shape == (batch, 3, 2)


@pytest.mark.parametrize(("stride", "groups"), [(2, 1), (3, 2)])
def test_the_gradient_of_a_strided_convolution_is_that_of_every_size(stride, groups):
    """Its padding depends on the size, which is not known."""
    layer = fnn.conv(2 * groups, 3, stride=stride, groups=groups)
    (length,) = jax.export.symbolic_shape("length", constraints=["length >= 4"])
    params, state = layer.init(jax.random.key(0), jnp.ones((1, 9, 2)))
    gradient = jax.jit(jax.grad(lambda x: (layer.apply(params, state, x)[0] ** 2).sum()))
    program = jax.export.export(gradient)(jax.ShapeDtypeStruct((1, length, 2), jnp.float32))
    for size in (6, 9):
        x = jnp.asarray(np.random.default_rng(size).normal(size=(1, size, 2)), jnp.float32)
        close(program.call(x), gradient(x))
