"""Recurrent layers, their variants and combinations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recurrence_references as reference

import fnn
from fnn.testing import check_layer

KEY = jax.random.key(0)
VARIANTS = [
    {"peephole": True},
    {"coupled": True},
    {"projection": 3},
    {"layer_norm": True},
    {"peephole": True, "coupled": True, "projection": 3, "layer_norm": True},
]


def filled(layer, x):
    """Parameters with nothing left at zero, and the state."""
    params, state = layer.init(KEY, x)
    leaves, tree = jax.tree.flatten(params)
    drawn = [
        0.5 * jax.random.normal(k, a.shape, a.dtype)
        for k, a in zip(jax.random.split(KEY, len(leaves)), leaves, strict=True)
    ]
    return tree.unflatten(drawn), state


def close(got, want, tolerance=1e-10):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "layer",
    [
        fnn.lstm(3),
        fnn.gru(3, reset="before", return_sequences=True),
        pytest.param(
            fnn.lstm(3, peephole=True, coupled=True, projection=2, layer_norm=True, recurrent_dropout=0.3, zoneout=0.2),
            marks=pytest.mark.thorough,
        ),
        fnn.bidirectional(fnn.rnn(3, return_sequences=True, reverse=True)),
        fnn.stacked(fnn.gru(3, return_sequences=True), fnn.rnn(2), dropout=0.3, variational=True),
        fnn.time_distributed(fnn.dense(2)),
    ],
    ids=repr,
)
def test_layers_conform(layer):
    check_layer(layer, jax.random.normal(KEY, (2, 4, 2)), order=1)


def test_padded_input_conforms():
    padded = fnn.Padded(jax.random.normal(KEY, (3, 4, 2)), jnp.array([4, 0, 2]))
    layer = fnn.stacked(fnn.bidirectional(fnn.lstm(2, return_sequences=True)), fnn.gru(2, zoneout=0.1))
    params, state = layer.init(KEY, padded)
    y, _ = layer.apply(params, state, padded)
    short = fnn.Padded(padded.values[2:, :2], jnp.array([2]))
    close(y[2:], layer.apply(params, state, short)[0], 1e-6)


@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "+".join(options))
@pytest.mark.parametrize("reverse", [False, True])
def test_variants_are_those_of_the_equations(options, reverse):
    x, lengths = jax.random.normal(KEY, (3, 6, 2), jnp.float64), np.array([6, 0, 3])
    layer = fnn.lstm(4, return_sequences=True, stateful=True, reverse=reverse, **options)
    params, state = filled(layer, x)
    y, state = layer.apply(params, state, fnn.Padded(x, jnp.asarray(lengths)))
    arrays = {name: np.asarray(value) for name, value in params.items()}
    carry = (np.zeros((3, options.get("projection", 4))), np.zeros((3, 4)))
    counts = np.arange(6) < lengths[:, None]
    outputs, final = reference.run(
        functools.partial(reference.variant_lstm_step, params=arrays), np.asarray(x), carry, counts, reverse
    )
    close((y.values, tuple(state["carry"])), (outputs, final))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "build",
    [
        fnn.lstm,
        fnn.gru,
        functools.partial(fnn.gru, reset="before"),
        fnn.rnn,
        functools.partial(fnn.rnn, activation="relu"),
    ],
)
def test_noise_of_rate_zero_is_no_noise(build):
    """The generic scan says what the core says."""
    x = jax.random.normal(KEY, (2, 5, 3), jnp.float64)
    layer = build(4, return_sequences=True)
    params, state = filled(layer, x)
    noisy = build(4, return_sequences=True, recurrent_dropout=0.0, zoneout=0.0)
    expected = layer.apply(params, state, x)[0]
    close(noisy.apply(params, state, x)[0], expected)
    close(noisy.apply(params, state, x, key=KEY, train=True)[0], expected)


@pytest.mark.usefixtures("x64")
def test_zoneout_keeps_the_state_and_its_mean_at_inference():
    x = jax.random.normal(KEY, (2, 5, 3), jnp.float64)
    frozen = fnn.gru(4, zoneout=1.0)
    params, state = filled(frozen, x)
    assert not np.asarray(frozen.apply(params, state, x, key=KEY, train=True)[0]).any()
    half, one = fnn.gru(4, zoneout=0.5), x[:, :1]
    mean = half.apply(params, state, one)[0]
    close(mean, 0.5 * fnn.gru(4).apply(params, state, one)[0])
    draws = jax.vmap(lambda key: half.apply(params, state, one, key=key, train=True)[0])(jax.random.split(KEY, 4000))
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.03)


def test_recurrent_dropout_uses_one_mask_for_all_steps():
    """With the identity as recurrent kernel and no input, a dropped unit is gone and a kept one grows by 1/(1-p)."""
    layer = fnn.rnn(64, activation="relu", return_sequences=True, recurrent_dropout=0.5)
    x = jnp.zeros((1, 4, 1)).at[:, 0].set(1.0)
    params = {"kernel": jnp.ones((1, 64)), "recurrent_kernel": jnp.eye(64), "bias": jnp.zeros(64)}
    y, _ = layer.apply(params, (), x, key=KEY, train=True)
    kept = np.asarray(y[0, 1] > 0)
    assert 10 < kept.sum() < 54
    np.testing.assert_allclose(y[0, 3], np.where(kept, 8.0, 0.0))
    np.testing.assert_allclose(layer.apply(params, (), x)[0][0, 3], 1.0)


def test_initial_parameters():
    params, _ = fnn.lstm(8, forget_bias=2.0).init(KEY, jnp.ones((1, 1, 3)))
    np.testing.assert_array_equal(params["bias"], np.repeat([0.0, 2.0, 0.0, 0.0], 8))
    for gate in np.split(np.asarray(params["recurrent_kernel"]), 4, axis=1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(8), atol=1e-5)
    coupled, _ = fnn.lstm(8, coupled=True).init(KEY, jnp.ones((1, 1, 3)))
    np.testing.assert_array_equal(coupled["bias"], np.repeat([-1.0, 0.0, 0.0], 8))


@pytest.mark.thorough
@pytest.mark.parametrize("build", [fnn.lstm, fnn.gru, fnn.rnn, functools.partial(fnn.lstm, zoneout=0.1)])
def test_stateful_continues_and_cuts_the_gradient(build):
    x = jax.random.normal(KEY, (2, 6, 3))
    layer, whole = build(4, stateful=True, return_sequences=True), build(4, return_sequences=True)
    params, state = layer.init(KEY, x)
    first, middle = layer.apply(params, state, x[:, :2])
    second, _ = layer.apply(params, middle, x[:, 2:])
    close(jnp.concatenate([first, second], axis=1), whole.apply(params, (), x)[0], 1e-6)

    def through(params):
        return layer.apply(params, layer.apply(params, state, x[:, :2])[1], x[:, 2:])[0].sum()

    cut = jax.grad(lambda params: layer.apply(params, middle, x[:, 2:])[0].sum())(params)
    close(jax.grad(through)(params), cut, 1e-6)
    with pytest.raises(ValueError, match="expected 2 rows, as initialised, got 1"):
        layer.apply(params, state, x[:1])


@pytest.mark.parametrize("build", [fnn.lstm, fnn.gru])
def test_bidirectional_is_its_two_directions(build):
    x, lengths = jax.random.normal(KEY, (3, 5, 2)), jnp.array([5, 2, 0])
    padded = fnn.Padded(x, lengths)
    layer = fnn.bidirectional(build(4, return_sequences=True))
    params, state = layer.init(KEY, padded)
    y, _ = layer.apply(params, state, padded)
    forward, _ = build(4, return_sequences=True).apply(params[0], (), padded)
    backward, _ = build(4, return_sequences=True, reverse=True).apply(params[1], (), padded)
    close(y.values, jnp.concatenate([forward.values, backward.values], axis=-1), 1e-6)
    last, _ = fnn.bidirectional(build(4), merge=sum).apply(params, state, padded)
    ends = [build(4, reverse=r).apply(params[r], (), padded)[0] for r in (False, True)]
    close(last, ends[0] + ends[1], 1e-6)
    close(ends[1][0], backward.values[0, 0], 1e-6)


def test_stacked_is_composition_and_drops_between():
    x = jax.random.normal(KEY, (2, 5, 3))
    layers = [fnn.lstm(4, return_sequences=True), fnn.gru(3, return_sequences=True), fnn.rnn(2)]
    stack = fnn.stacked(*layers)
    params, state = stack.init(KEY, x)
    y = x
    for layer, p in zip(layers, params, strict=True):
        y, _ = layer.apply(p, (), y)
    close(stack.apply(params, state, x)[0], y, 1e-6)

    params, state = fnn.stacked(*layers, dropout=0.5).init(KEY, x)
    dropped = jax.jit(  # a rate of 1 that is traced drops everything
        lambda rate: fnn.stacked(*layers, dropout=rate).apply(params, state, x, key=KEY, train=True)[0]
    )(1.0)
    zeros = jnp.zeros((2, 5, 3))
    close(dropped, layers[2].apply(params[4], (), zeros)[0], 1e-6)


BY_STEP = {
    "dense": fnn.dense(2), "embedding": fnn.embedding(4, 2), "dropout": fnn.dropout(0.5),
    "layer_norm": fnn.layer_norm(), "rms_norm": fnn.rms_norm(), "prelu": fnn.prelu(), "rrelu": fnn.rrelu(),
    "relu": fnn.relu, "tanh": jax.nn.tanh, "leaky_relu": functools.partial(fnn.leaky_relu, negative_slope=0.3),
    "noise": fnn.gaussian_noise(0.1),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_STEP)
@pytest.mark.parametrize("train", [False, True])
def test_layers_that_compute_every_step_alone_take_padded_sequences(name, train):
    layer, lengths = fnn.as_layer(BY_STEP[name]), jnp.array([4, 2])
    values = jnp.ones((2, 4), jnp.int32) if name == "embedding" else jax.random.normal(KEY, (2, 4, 3))
    steps = jnp.arange(4)[None] < lengths[:, None]
    real = steps.reshape(2, 4, *(1,) * (values.ndim - 2))
    noisy = jnp.where(real, values, 77 if name == "embedding" else jnp.nan)
    params, state = layer.init(KEY, fnn.Padded(noisy, lengths))
    jax.tree.map(np.testing.assert_array_equal, params, layer.init(KEY, values)[0])
    zeroed = jnp.where(real, values, 0)
    expected, _ = layer.apply(params, state, zeroed, key=KEY, train=train)

    def total(params, x):
        y, _ = layer.apply(params, state, x, key=KEY, train=train)
        return jnp.where(steps[..., None], y if x is zeroed else y.values, 0).sum(), y

    (_, y), slopes = jax.value_and_grad(total, has_aux=True)(params, fnn.Padded(noisy, lengths))
    np.testing.assert_array_equal(y.lengths, lengths)
    np.testing.assert_array_equal(y.values, expected)
    jax.tree.map(np.testing.assert_array_equal, slopes, jax.grad(total, has_aux=True)(params, zeroed)[0])


@pytest.mark.parametrize("layer", [fnn.dense(2), fnn.layer_norm(), fnn.prelu(), fnn.softmax, fnn.dropout(0.5)])
def test_padded_numbers_without_features_are_refused(layer):
    x, layer = fnn.Padded(jnp.ones((2, 4)), jnp.array([4, 2])), fnn.as_layer(layer)
    with pytest.raises(ValueError, match=r"\(batch, time, features\).*values\[..., None\]"):
        layer.init(KEY, x)
    with pytest.raises(ValueError, match=r"\(batch, time, features\).*values\[..., None\]"):
        layer.apply((), (), x)


def test_padded_sequences_are_added_and_joined_by_their_values():
    x = fnn.Padded(jax.random.normal(KEY, (2, 4, 3)), jnp.array([4, 2]))
    around, beside = fnn.residual(fnn.tanh), fnn.parallel(fnn.tanh, fnn.relu, merge=fnn.concatenate)
    values = jnp.where(jnp.array([[1, 1, 1, 1], [1, 1, 0, 0]])[..., None] == 1, x.values, 0)
    y = around.apply(((), ()), (), x)[0]
    np.testing.assert_array_equal(y.lengths, x.lengths)
    np.testing.assert_array_equal(y.values, x.values + jnp.tanh(values))
    joined = beside.apply(((), ()), (), x)[0]
    np.testing.assert_array_equal(joined.values, jnp.concatenate([jnp.tanh(values), jax.nn.relu(values)], -1))
    for wrong in (lambda: x + x, lambda: sum((x, x)), lambda: 2 * x, lambda: x * 2):
        with pytest.raises(TypeError, match=r"fnn\.Padded: expected arithmetic of arrays"):
            wrong()


def test_numbers_of_padded_words_are_looked_at_before_they_are_cast():
    table = fnn.embedding(5, 2)
    with pytest.raises(ValueError, match="embedding"):
        table.apply(table.init(KEY, jnp.zeros((1, 2), jnp.int32))[0], (), fnn.Padded(np.array([[2**32 + 1, 0]]), [2]))


def test_time_distributed_keeps_state_and_lengths():
    x = fnn.Padded(jax.random.normal(KEY, (2, 3, 4)), jnp.array([3, 1]))
    layer = fnn.time_distributed(fnn.batch_norm())
    params, state = layer.init(KEY, x)
    y, new = layer.apply(params, state, x, train=True)
    seen = x.values.at[1, 1:].set(0).reshape(6, 4)  # 0 in the padding, whatever stood there
    expected, expected_state = fnn.batch_norm().apply(params, state, seen, train=True)
    close((y.values, new), (expected.reshape(2, 3, 4), expected_state), 1e-6)
    assert y.lengths is x.lengths


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fnn.lstm(0), ValueError, "features >= 1"),
        (lambda: fnn.gru(2.5), TypeError, "Python int"),
        (lambda: fnn.lstm(3, zoneout=1.5), ValueError, "zoneout in"),
        (lambda: fnn.rnn(3, activation="elu"), ValueError, "activation"),
        (lambda: fnn.gru(3, reset="between"), ValueError, "reset"),
        (lambda: fnn.stacked(), ValueError, "at least one"),
        (lambda: fnn.lstm(3).init(KEY, jnp.ones((2, 5))), ValueError, r"\(batch, time, features\), got float32\[2,5\]"),
        (lambda: fnn.lstm(3).init(KEY, jnp.ones((2, 5, 1), int)), TypeError, "floating"),
        (
            lambda: fnn.stacked(fnn.lstm(3), fnn.lstm(3)).init(KEY, jnp.ones((2, 5, 1))),
            ValueError,
            "layer 1, .*return_sequences=True",
        ),
        (lambda: fnn.time_distributed(fnn.relu).init(KEY, jnp.ones(2)), ValueError, r"\(batch, time, ...\)"),
        (
            lambda: fnn.lstm(3).apply(fnn.lstm(3).init(KEY, jnp.ones((2, 5, 1)))[0], (), jnp.ones((2, 5, 2))),
            ValueError,
            "expected 1 features",
        ),
        (
            lambda: fnn.lstm(3, zoneout=0.1).apply(
                fnn.lstm(3).init(KEY, jnp.ones((2, 5, 1)))[0], (), jnp.ones((2, 5, 1)), train=True
            ),
            ValueError,
            "random key",
        ),
    ],
)
def test_misuse(call, error, message):
    with pytest.raises(error, match=message):
        call()


PADDED = {
    **{"lstm, " + "+".join(options): fnn.lstm(4, **options) for options in VARIANTS},
    "lstm": fnn.lstm(4),
    "lstm, noisy": fnn.lstm(4, recurrent_dropout=0.3, zoneout=0.2, projection=3),
    "lstm, in segments": fnn.lstm(4, peephole=True, remat=2),
    "gru, noisy": fnn.gru(4, zoneout=0.2, return_sequences=True),
    "rnn, noisy": fnn.rnn(4, recurrent_dropout=0.2),
    "bidirectional": fnn.bidirectional(fnn.lstm(4, projection=3, return_sequences=True)),
    "stacked": fnn.stacked(
        fnn.gru(4, recurrent_dropout=0.1, return_sequences=True), fnn.lstm(4, peephole=True), dropout=0.1
    ),
    "time_distributed": fnn.serial(fnn.time_distributed(fnn.dense(3)), fnn.lstm(4, coupled=True)),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", PADDED)
def test_nan_and_infinite_padding_reach_no_gradient(name):
    layer, lengths = PADDED[name], jnp.array([5, 0, 2])
    counts = (np.arange(5) < np.asarray(lengths)[:, None])[..., None]
    zeros = jnp.where(counts, jax.random.normal(KEY, (3, 5, 2)), 0)
    filled = jnp.where(counts, zeros, jnp.array([[[jnp.nan, jnp.inf]]]))
    params, state = layer.init(KEY, fnn.Padded(zeros, lengths))

    def loss(params, values, key):
        y = layer.apply(params, state, fnn.Padded(values, lengths), key=key, train=True)[0]
        return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(y) if leaf.dtype == jnp.float32)

    both = jax.jit(jax.vmap(jax.value_and_grad(loss, (0, 1)), (None, 0, None)))(params, jnp.stack([zeros, filled]), KEY)
    for leaf in jax.tree.leaves(both):
        assert np.isfinite(leaf).all()
        np.testing.assert_allclose(leaf[1], leaf[0], rtol=1e-6, atol=1e-7)
