"""cuDNN's LSTM, on a CPU: JAX's reference in the place of its call, as opaque to derivatives and `vmap` as that is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn

import fnn
from fnn.kernels import placement
from fnn.kernels.recurrence import cudnn

BATCH, TIME, FEATURES, HIDDEN = 3, 5, 2, 4
LENGTHS = np.array([5, 2, 0])


def opaque(name, f):
    """`f` under its name in a program, without derivatives."""

    def refuse(*_):
        raise TypeError(f"{name} is differentiated")

    call = jax.custom_vjp(f)
    call.defvjp(refuse, refuse)

    def named(*args):
        return call(*args)

    named.__name__ = name
    return jax.jit(named)


def reference(options, lengths):
    features, hidden, layers, dropout, bidirectional, _ = options

    def run(x, h, c, weights):
        unpacked = rnn.unpack_lstm_weights(weights, features, hidden, layers, bidirectional)
        return rnn.lstm_ref(x, h, c, *unpacked, lengths, features, hidden, layers, dropout, bidirectional)

    return run


def forward(x, h, c, weights, lengths, *options):
    values = opaque("cudnn_forward", lambda n, *at: reference(options, n)(*at))(lengths, x, h, c, weights)
    return values, (x, h, c, weights, lengths, values[0], jnp.full(7, 42, jnp.float32))


def backward(*args):
    *options, (*at, lengths, outputs, kept), cotangents = args

    def back(lengths, at, cotangents):
        return jax.vjp(reference(options, lengths), *at)[1](cotangents)

    return *opaque("cudnn_backward", back)(lengths, at, cotangents), jnp.zeros_like(lengths)


@pytest.fixture
def on(monkeypatch):
    """`on(platform)`: JAX has cuDNN for it, or for none."""
    monkeypatch.setattr(rnn, "lstm_fwd", forward)
    monkeypatch.setattr(rnn, "lstm_bwd", backward)
    return lambda platform: monkeypatch.setattr(placement, "cudnn", lambda: platform)


def drawn(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def arguments(batch=BATCH, time=TIME, features=FEATURES, hidden=HIDDEN):
    """x, kernel, recurrent kernel, bias, h and c."""
    columns, state = 4 * hidden, (batch, hidden)
    return drawn((batch, time, features), (features, columns), (hidden, columns), (columns,), state, state)


def run(x, kernel, recurrent_kernel, bias, h, c, **how):
    return fnn.kernels.lstm(x, kernel, recurrent_kernel, bias, fnn.kernels.LSTMState(h, c), **how)


def loss(*args, **how):
    return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(run(*args, **how)))


def program(f, *args):
    return jax.jit(lambda *args: f(*args)).lower(*args).as_text()


def program_and_values(f, *args):
    """What is left of a program when it is compiled, and what it computes."""
    compiled = jax.jit(lambda *args: f(*args)).lower(*args).compile()
    return compiled.as_text(), compiled(*args)


def close(a, b, tolerance=2e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), a, b)


@pytest.mark.parametrize("sizes", [(1, 1), (3, 2), (2, 5)])
def test_weights_are_packed_in_jaxs_layout(sizes):
    features, hidden = sizes
    kernel, recurrent_kernel, bias = drawn((features, 4 * hidden), (hidden, 4 * hidden), (4 * hidden,))
    packed = cudnn.pack((kernel, bias, recurrent_kernel))
    assert packed.shape == (rnn.get_num_params_in_lstm(features, hidden, 1, False),)
    of_input, of_state, first_bias, second_bias = rnn.unpack_lstm_weights(packed, features, hidden, 1, False)
    expected = kernel.T, recurrent_kernel.T, bias, jnp.zeros_like(bias)
    jax.tree.map(np.testing.assert_array_equal, (of_input[0], of_state[0], first_bias[0], second_bias[0]), expected)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (4, 7, 3, 5), (2, 3, 6, 1)])
def test_gates_and_states_are_those_of_jaxs_reference(sizes):
    x, kernel, recurrent_kernel, bias, h, c = arguments(*sizes)
    lengths = jnp.arange(sizes[0], dtype=jnp.int32) % sizes[1] + 1
    options = (*sizes[2:], 1, 0.0, False, None)
    y, h_n, c_n = reference(options, lengths)(x, h[None], c[None], cudnn.pack((kernel, bias, recurrent_kernel)))
    outputs, state = run(x, kernel, recurrent_kernel, bias, h, c, lengths=lengths)
    close((outputs, state.h, state.c), (y, h_n[0], c_n[0]), tolerance=1e-6)


HOW = {
    "all steps": {},
    "lengths": {"lengths": LENGTHS},
    "reverse": {"reverse": True},
    "lengths in reverse": {"lengths": LENGTHS, "reverse": True},
    "time first": {"lengths": LENGTHS, "time_major": True},
    "last output": {"lengths": LENGTHS, "return_sequences": False},
}


QUICK = ("lengths in reverse",)


@pytest.mark.parametrize("how", [how if how in QUICK else pytest.param(how, marks=pytest.mark.thorough) for how in HOW])
def test_values_and_gradients_are_those_of_the_core(on, how):
    at = arguments()
    if "time_major" in HOW[how]:
        at[0] = at[0].swapaxes(0, 1)

    def both(*at):
        f = functools.partial(loss, **HOW[how])
        return run(*at, **HOW[how]), jax.grad(f, range(6))(*at)

    on(None)
    expected = jax.jit(both)(*at)
    on("cpu")
    text, values = program_and_values(both, *at)
    assert "cudnn_forward" in text
    assert "cudnn_backward" in text
    close(values, expected)


TRANSFORMED = {  # and whether the program contains cuDNN's value, and its reverse pass
    "gradient of the kernel": (lambda f, at: jax.grad(f, 1)(*at), True, True),
    "gradient under checkpoint": (lambda f, at: jax.grad(jax.checkpoint(f), 2)(*at), True, True),
    "value and gradient in a scan": (
        lambda f, at: jax.lax.scan(lambda b, _: (jax.grad(f, 3)(*at[:3], b, *at[4:]), f(*at)), at[3], None, 2),
        True,
        True,
    ),
    "jvp": (lambda f, at: jax.jvp(f, at, at), True, False),
    "linearized": (lambda f, at: jax.linearize(f, *at)[1](*at), True, False),
    "vmap": (lambda f, at: jax.vmap(f)(*many(at)), False, False),
    "vmap of some": (lambda f, at: jax.vmap(f, (None, 0, *[None] * 4))(at[0], many(at)[1], *at[2:]), False, False),
    "vmap of the gradient": (lambda f, at: jax.vmap(jax.grad(f, (0, 1)))(*many(at)), False, False),
    "many cotangents": (lambda f, at: jax.jacrev(lambda b: run(*at[:3], b, *at[4:])[1].c)(at[3]), False, False),
    "many tangents": (lambda f, at: jax.jacfwd(lambda b: run(*at[:3], b, *at[4:])[1].c)(at[3]), False, False),
    "forward over reverse": (lambda f, at: jax.jvp(jax.grad(f, range(6)), at, at)[1], None, None),
    "reverse over reverse": (lambda f, at: jax.grad(of_gradient(f, at))(at[2]), None, None),
    "hessian": (lambda f, at: jax.hessian(lambda b: f(*at[:3], b, *at[4:]))(at[3]), None, None),
}


def of_gradient(f, at):
    return lambda recurrent: jnp.sum(jax.grad(f, 2)(*at[:2], recurrent, *at[3:]) ** 2)


def many(tree):
    return jax.tree.map(lambda a: jnp.stack([a, 2 * a]), tree)


@pytest.mark.thorough
@pytest.mark.parametrize("name", TRANSFORMED)
def test_every_transformation_is_that_of_the_core(on, name):
    transform, value, reverse = TRANSFORMED[name]
    at = tuple(arguments())

    def f(*at):  # anew each time: JAX remembers what it traced
        return loss(*at, lengths=LENGTHS, reverse=True)

    on(None)
    expected = jax.jit(lambda *at: transform(lambda *at: f(*at), at))(*at)
    on("cpu")
    text, values = program_and_values(lambda *at: transform(lambda *at: f(*at), at), *at)
    if value is not None:
        assert ("cudnn_forward" in text, "cudnn_backward" in text) == (value, reverse)
    close(values, expected, tolerance=2e-4)


def test_what_stands_in_padding_reaches_nothing(on):
    on("cpu")
    x, *weights = arguments()
    padding = np.arange(TIME)[None, :, None] >= LENGTHS[:, None, None]
    f = jax.jit(jax.value_and_grad(lambda *at: loss(*at, lengths=LENGTHS), range(6)))
    close(f(jnp.where(padding, jnp.nan, x), *weights), f(x, *weights), tolerance=0)


def layer_loss(layer, dtype=jnp.float32):
    def f(x, *_):
        params, state = layer.init(jax.random.key(0), x)
        return jnp.sum(layer.apply(params, state, x.astype(dtype))[0])

    return f


def in_precision(*at):
    with jax.default_matmul_precision("bfloat16"):
        return loss(*at)


GAPS = np.array([[True, False, True, True, True]] * BATCH)
TO_THE_CORE = {
    "bfloat16": lambda x, *at: loss(x.astype(jnp.bfloat16), *at),
    "a mask, which may have gaps": functools.partial(loss, mask=GAPS),
    "unroll": functools.partial(loss, unroll=2),
    "segments": functools.partial(loss, remat=2),
    "products in bfloat16": in_precision,
    "no example": lambda x, kernel, recurrent, bias, h, c: loss(x[:0], kernel, recurrent, bias, h[:0], c[:0]),
    "peepholes": layer_loss(fnn.lstm(4, peephole=True)),
    "a projection": layer_loss(fnn.lstm(4, projection=2)),
    "gru": layer_loss(fnn.gru(4)),
    "rnn": layer_loss(fnn.rnn(4)),
}


@pytest.mark.parametrize("name", TO_THE_CORE)
def test_what_cudnn_does_not_take_is_the_core_and_nothing_else(on, name):
    on(None)
    expected = program(TO_THE_CORE[name], *arguments())
    on("cpu")
    assert program(TO_THE_CORE[name], *arguments()) == expected


def test_float64_is_the_cores(on, x64):
    on("cpu")
    text = program(loss, *[a.astype(jnp.float64) for a in arguments()])
    assert "cudnn" not in text
    assert "f64" in text


@pytest.mark.parametrize(("limit", "value"), [("LONGEST", TIME - 1), ("MOST", BATCH * TIME * HIDDEN - 1)])
def test_sizes_over_cudnns_limits_are_the_cores(on, monkeypatch, limit, value):
    on("cpu")
    assert "cudnn_forward" in program(loss, *arguments())
    monkeypatch.setattr(cudnn, limit, value)
    assert "cudnn" not in program(loss, *arguments())


@pytest.mark.thorough
def test_a_layer_in_both_directions_takes_padded_sequences(on):
    layer = fnn.bidirectional(fnn.lstm(HIDDEN, return_sequences=True))
    x = fnn.Padded(arguments()[0], jnp.asarray(LENGTHS))
    params, state = layer.init(jax.random.key(0), x)
    f = jax.value_and_grad(lambda params: jnp.sum(jnp.sin(layer.apply(params, state, x)[0].values)))
    on(None)
    expected = jax.jit(lambda params: f(params))(params)
    on("cpu")
    text, values = program_and_values(f, params)
    assert "cudnn_backward" in text
    close(values, expected)


def test_a_program_lowered_for_another_platform_is_the_cores(on):
    at = arguments()
    f = jax.value_and_grad(loss, range(6))
    on(None)
    expected = jax.jit(lambda *at: f(*at))(*at)
    on("cuda")
    text, values = program_and_values(f, *at)
    assert "cudnn_forward" not in text
    close(values, expected, tolerance=1e-6)


@pytest.mark.parametrize("shape", [(BATCH, TIME, FEATURES), ("b", TIME, FEATURES)], ids=["of this batch", "of any"])
def test_programs_for_cuda_are_exported_without_the_card(monkeypatch, shape):
    """Also where JAX says that it computes on a GPU, and its plugin has no LSTM."""
    shape = jax.export.symbolic_shape(", ".join(map(str, shape)))
    kernel, recurrent_kernel = arguments()[1:3]

    def f(x):
        return fnn.kernels.lstm(x, kernel, recurrent_kernel)[0]

    for platform in ("cpu", "gpu"):
        monkeypatch.setattr(placement, "platform", lambda platform=platform: platform)
        x = jax.ShapeDtypeStruct(shape, jnp.float32)
        text = jax.export.export(jax.jit(lambda x: f(x)), platforms=("cuda", "cpu"))(x).mlir_module()
        assert "dnn_rnn" not in text


def test_a_batch_of_any_size_is_the_cores(on):
    on("cpu")
    (batch,) = jax.export.symbolic_shape("b")
    _, *weights, _, _ = arguments()
    x = jax.ShapeDtypeStruct((batch, TIME, FEATURES), jnp.float32)
    exported = jax.export.export(jax.jit(lambda x: fnn.kernels.lstm(x, *weights)[0]))(x)
    assert "cudnn_forward" not in exported.mlir_module()


@pytest.mark.parametrize(
    ("platform", "devices", "offered", "found"),
    [("gpu", 1, True, "cuda"), ("gpu", 2, True, None), ("gpu", 1, False, None), ("cpu", 1, True, None)],
)
def test_cudnn_is_for_one_nvidia_gpu_whose_plugin_has_it(monkeypatch, platform, devices, offered, found):
    monkeypatch.setattr(placement, "platform", lambda: platform)
    monkeypatch.setattr(placement, "devices", lambda: devices)
    monkeypatch.setattr(placement, "_offers_cudnn", lambda: offered)
    assert placement.cudnn() == found


def test_a_machine_without_the_card_offers_no_cudnn():
    assert not placement._offers_cudnn.__wrapped__()
