"""Weights of recurrent layers go to torch and flax and come back; outputs are equal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.interop.recurrent import recurrent_from_flax, recurrent_from_torch, recurrent_to_flax, recurrent_to_torch

KEY = jax.random.key(0)
LAYERS = {
    "LSTM": (fnn.lstm, {}),
    "GRU": (fnn.gru, {}),
    "RNN": (fnn.rnn, {}),
    "RNN relu": (fnn.rnn, {"activation": "relu"}),
    "LSTM projected": (fnn.lstm, {"projection": 3}),
}


def filled(layer, x):
    """Parameters with nothing left at zero."""
    params, state = layer.init(KEY, x)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(KEY, len(leaves))
    return tree.unflatten(
        [0.4 * jax.random.normal(k, a.shape, a.dtype) for k, a in zip(keys, leaves, strict=True)]
    ), state


def torch_module(torch, name, features, inputs, **options):
    kind, _, variant = name.partition(" ")
    extra = {"relu": {"nonlinearity": "relu"}, "projected": {"proj_size": 3}}.get(variant, {})
    return getattr(torch.nn, kind)(inputs, features, batch_first=True, **extra, **options)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("both", [False, True])
def test_torch_both_ways(name, depth, both):
    torch = pytest.importorskip("torch")
    build, options = LAYERS[name]
    one = build(5, return_sequences=True, **options)
    one = fnn.bidirectional(one) if both else one
    layer = one if depth == 1 else fnn.stacked(*[one] * depth)
    x = jax.random.normal(KEY, (2, 6, 4))
    module = torch_module(torch, name, 5, 4, num_layers=depth, bidirectional=both)

    params = recurrent_from_torch(module.state_dict())
    _, state = layer.init(KEY, x)
    expected = module(torch.tensor(np.asarray(x)))[0].detach().numpy()
    np.testing.assert_allclose(layer.apply(params, state, x)[0], expected, rtol=1e-5, atol=1e-6)

    params, _ = filled(layer, x)
    arrays = recurrent_to_torch(params, bidirectional=both)
    module.load_state_dict({k: torch.tensor(np.array(v)) for k, v in arrays.items()})
    expected = module(torch.tensor(np.asarray(x)))[0].detach().numpy()
    np.testing.assert_allclose(layer.apply(params, state, x)[0], expected, rtol=1e-5, atol=1e-6)
    for mine, back in zip(jax.tree.leaves(params), jax.tree.leaves(recurrent_from_torch(arrays)), strict=True):
        np.testing.assert_allclose(mine, back, rtol=1e-6)


def test_torch_takes_weights_in_half_precision():
    torch = pytest.importorskip("torch")
    params, _ = fnn.gru(5).init(KEY, jnp.ones((2, 6, 4), jnp.bfloat16))
    arrays = recurrent_to_torch(jax.tree.map(lambda a: a.astype(jnp.bfloat16), params))
    torch_module(torch, "GRU", 5, 4).load_state_dict({k: torch.tensor(v) for k, v in arrays.items()})


def test_torch_padded_sequences():
    torch = pytest.importorskip("torch")
    x, lengths = jax.random.normal(KEY, (3, 6, 4)), np.array([6, 1, 4])
    module = torch.nn.LSTM(4, 5, batch_first=True, bidirectional=True)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.tensor(np.asarray(x)), torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(module(packed)[0], batch_first=True)
    layer = fnn.bidirectional(fnn.lstm(5, return_sequences=True))
    padded = fnn.Padded(x, jnp.asarray(lengths))
    y, _ = layer.apply(recurrent_from_torch(module.state_dict()), layer.init(KEY, padded)[1], padded)
    np.testing.assert_allclose(y.values, expected.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_torch_gradients():
    torch = pytest.importorskip("torch")
    x = jax.random.normal(KEY, (3, 7, 4))
    module = torch.nn.GRU(4, 5, batch_first=True)
    module(torch.tensor(np.asarray(x)))[0].square().sum().backward()
    layer = fnn.gru(5, return_sequences=True)
    params = recurrent_from_torch(module.state_dict())
    gradients = jax.grad(lambda p: (layer.apply(p, (), x)[0] ** 2).sum())(params)
    expected = {name: value.grad.numpy() for name, value in module.named_parameters()}
    np.testing.assert_allclose(gradients["kernel"].T, expected["weight_ih_l0"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradients["recurrent_kernel"].T, expected["weight_hh_l0"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradients["bias"], expected["bias_ih_l0"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradients["recurrent_bias"], expected["bias_hh_l0"][10:], rtol=1e-4, atol=1e-5)


def test_torch_stack_with_dropout():
    layer = fnn.stacked(fnn.gru(4, return_sequences=True), fnn.gru(4), dropout=0.1)
    params, _ = layer.init(KEY, jnp.ones((1, 2, 3)))
    back = recurrent_from_torch(recurrent_to_torch(params), dropout=True)
    assert jax.tree.structure(back) == jax.tree.structure(params)


@pytest.mark.parametrize(
    ("cell", "build"),
    [("LSTMCell", fnn.lstm), ("OptimizedLSTMCell", fnn.lstm), ("GRUCell", fnn.gru), ("SimpleCell", fnn.rnn)],
)
def test_flax_linen_both_ways(cell, build):
    linen = pytest.importorskip("flax.linen")
    layer, x = build(5, return_sequences=True), jax.random.normal(KEY, (2, 6, 4))
    theirs = linen.RNN(getattr(linen, cell)(5))
    variables = theirs.init(KEY, x)["params"]["cell"]
    expected = theirs.apply({"params": {"cell": variables}}, x)
    np.testing.assert_allclose(layer.apply(recurrent_from_flax(variables), (), x)[0], expected, rtol=1e-5, atol=1e-6)
    params, _ = filled(layer, x)
    expected = theirs.apply({"params": {"cell": recurrent_to_flax(params)}}, x)
    np.testing.assert_allclose(layer.apply(params, (), x)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("cell", "build"),
    [("LSTMCell", fnn.lstm), ("OptimizedLSTMCell", fnn.lstm), ("GRUCell", fnn.gru), ("SimpleCell", fnn.rnn)],
)
def test_flax_nnx(cell, build):
    nnx = pytest.importorskip("flax.nnx")
    theirs, x = getattr(nnx, cell)(4, 5, rngs=nnx.Rngs(0)), jax.random.normal(KEY, (2, 6, 4))
    expected = nnx.RNN(theirs)(x)
    params = recurrent_from_flax(nnx.to_pure_dict(nnx.state(theirs, nnx.Param)))
    layer = build(5, return_sequences=True)
    np.testing.assert_allclose(layer.apply(params, (), x)[0], expected, rtol=1e-5, atol=1e-6)


def test_what_the_others_do_not_have():
    x = jnp.ones((1, 1, 3))
    for layer in (
        fnn.lstm(4, peephole=True),
        fnn.lstm(4, coupled=True),
        fnn.gru(4, reset="before"),
        fnn.lstm(4, layer_norm=True),
    ):
        params, _ = layer.init(KEY, x)
        with pytest.raises(ValueError, match="plain lstm"):
            recurrent_to_torch(params)
        with pytest.raises(ValueError, match="plain lstm"):
            recurrent_to_flax(params)
    with pytest.raises(ValueError, match="weight_ih_l0"):
        recurrent_from_torch({"kernel": np.ones(2)})
    with pytest.raises(ValueError, match="LSTMCell"):
        recurrent_from_flax({"kernel": {}})
    params, _ = fnn.bidirectional(fnn.lstm(4)).init(KEY, x)
    with pytest.raises(ValueError, match="bidirectional=True"):
        recurrent_to_torch((params, params))


GATE = {"kernel": np.ones((3, 4)), "bias": np.zeros(4)}


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        (np.ones(3), TypeError, r"expected params to be the gates of a cell by their names, got float64\[3\]"),
        ({"i": np.ones((3, 4)), "h": GATE}, ValueError, "SimpleCell, a kernel in each gate, got the names h, i"),
        ({"i": {"bias": np.ones(4)}, "h": GATE}, ValueError, "SimpleCell, a kernel in each gate, got the names h, i"),
        ({1: GATE, "h": GATE}, ValueError, "SimpleCell, a kernel in each gate, got the names 1, h"),
    ],
)
def test_what_is_no_cell_of_flax_is_named(params, error, message):
    with pytest.raises(error, match=f"^recurrent_from_flax: .*{message}"):
        recurrent_from_flax(params)


@pytest.mark.parametrize("params", [{"kernel": np.ones((3, 4)), "bias": np.zeros(4)}, {}, {1: np.ones(3)}], ids=str)
def test_what_is_no_recurrent_layer_is_named(params):
    for where, call in (("recurrent_to_torch", recurrent_to_torch), ("recurrent_to_flax", recurrent_to_flax)):
        with pytest.raises(ValueError, match=f"^{where}: expected a plain lstm, gru .*, got "):
            call(params)
    with pytest.raises(ValueError, match=r"^recurrent_to_flax: expected a plain lstm, .*, got float64\[3\]"):
        recurrent_to_flax(np.ones(3))
    with pytest.raises(
        TypeError, match=r"^recurrent_to_torch: expected params to be the parameters .*, got float64\[3\]"
    ):
        recurrent_to_torch(np.ones(3))
