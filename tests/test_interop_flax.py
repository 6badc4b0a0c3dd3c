"""Weights of flax modules, linen and nnx, in fnn's models and back: outputs are equal, what does not fit is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.interop import from_flax, to_flax

nn = pytest.importorskip("flax.linen")
nnx = pytest.importorskip("flax.nnx")
KEY = jax.random.key(0)
IMAGE, LINE = (6, 5, 3), (7, 4)


class Block(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x):
        y = nn.Conv(self.features, (3, 3), use_bias=False)(x)
        y = nn.relu(nn.BatchNorm(use_running_average=True)(y))
        y = nn.BatchNorm(use_running_average=True)(nn.Conv(self.features, (3, 3), use_bias=False)(y))
        if x.shape != y.shape:
            x = nn.BatchNorm(use_running_average=True)(nn.Conv(self.features, (1, 1), use_bias=False)(x))
        return nn.relu(x + y)


class Network(nn.Module):
    """Called in an order that neither the alphabet nor its numbers tell: the stem comes first and is named last."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.BatchNorm(use_running_average=True, name="stem_norm")(nn.Conv(3, (3, 3), name="stem")(x)))
        for features in (3, 4):
            x = Block(features)(x)
        x = x.reshape(x.shape[0], -1)
        return nn.Dense(2)(nn.relu(nn.Dense(7)(x)))


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.WeightNorm(nn.Conv(4, (2, 2)))(x)
        return nn.WeightNorm(nn.Dense(3))(x.reshape(x.shape[0], -1))


class Pair(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4, use_bias=False, name="a")(nn.Dense(4, use_bias=False, name="b")(x))


def block(features, widens):
    def conv(size):
        return fnn.conv(features, size, use_bias=False), fnn.batch_norm()

    shortcut = fnn.serial(*conv(1)) if widens else None
    return fnn.serial(fnn.residual(fnn.serial(*conv(3), fnn.relu, *conv(3)), shortcut), fnn.relu)


NETWORK = fnn.serial(
    fnn.conv(3, 3), fnn.batch_norm(), fnn.relu, block(3, False), block(4, True),
    fnn.flatten(), fnn.dense(7), fnn.relu, fnn.dense(2),
)  # fmt: skip

CASES = {
    "dense": (nn.Dense(3), fnn.dense(3), (4,)),
    "conv, one axis": (nn.Conv(6, (3,), strides=2, padding="VALID"), fnn.conv(6, 3, stride=2, padding="VALID"), LINE),
    "conv, groups": (nn.Conv(6, (3, 2), feature_group_count=3), fnn.conv(6, (3, 2), groups=3), IMAGE),
    "conv, three axes": (nn.Conv(4, (2, 2, 2), use_bias=False), fnn.conv(4, 2, use_bias=False), (4, 3, 5, 2)),
    "transposed": (nn.ConvTranspose(4, (3, 2), (2, 2), "VALID"),
                   fnn.conv_transpose(4, (3, 2), stride=2, padding="VALID"), IMAGE),
    "transposed, one axis": (nn.ConvTranspose(3, (3,), (2,), "VALID"),
                             fnn.conv_transpose(3, 3, stride=2, padding="VALID"), LINE),
    "transposed, three axes": (nn.ConvTranspose(3, (2, 2, 2), (2, 2, 2), "VALID"),
                               fnn.conv_transpose(3, 2, stride=2, padding="VALID"), (4, 3, 5, 2)),
    "depthwise": (nn.Conv(6, (3, 3), feature_group_count=3), fnn.depthwise_conv(3, multiplier=2), IMAGE),
    "rms norm": (nn.RMSNorm(), fnn.rms_norm(eps=1e-6), (4,)),
    "rnn": (nn.RNN(nn.SimpleCell(4)), fnn.rnn(4, return_sequences=True), (5, 3)),
    "batch norm": (nn.BatchNorm(use_running_average=True), fnn.batch_norm(), IMAGE),
    "layer norm": (nn.LayerNorm(), fnn.layer_norm(eps=1e-6), (4,)),
    "group norm": (nn.GroupNorm(2), fnn.group_norm(2, eps=1e-6), (6, 5, 4)),
    "instance norm": (nn.InstanceNorm(), fnn.instance_norm(eps=1e-6), IMAGE),
    "prelu": (nn.PReLU(), fnn.prelu(per_channel=False), IMAGE),
    "many of a kind": (nn.Sequential([nn.Dense(5 + n % 2) for n in range(12)]),
                       fnn.serial(*[fnn.dense(5 + n % 2) for n in range(12)]), (4,)),
    "lstm": (nn.Sequential([nn.RNN(nn.OptimizedLSTMCell(4)), nn.Dense(2)]),
             fnn.serial(fnn.lstm(4, return_sequences=True), fnn.dense(2)), (5, 3)),
    "gru": (nn.RNN(nn.GRUCell(4)), fnn.gru(4, return_sequences=True), (5, 3)),
    "dense general": (nn.DenseGeneral(3), fnn.dense(3), (4,)),
    "weight norm, around": (nn.Sequential([nn.WeightNorm(nn.Dense(4)), nn.relu, nn.Dense(3)]),
                            fnn.serial(fnn.weight_norm(fnn.dense(4)), fnn.relu, fnn.dense(3)), (4,)),
    "weight norm, beside": (Normed(), fnn.serial(fnn.weight_norm(fnn.conv(4, 2)), fnn.flatten(),
                                                 fnn.weight_norm(fnn.dense(3))), IMAGE),
    "network": (Network(), NETWORK, IMAGE),
}  # fmt: skip


def randomized(tree, seed=0):
    """No weight and no running statistic as it starts; the names sorted, as any optimizer leaves them."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(0.5 + 0.3 * np.abs(rng.normal(size=a.shape)), a.dtype), tree)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_linen_and_weights_come_back(name):
    module, model, shape = CASES[name]
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    variables = randomized(jax.eval_shape(module.init, KEY, x))
    told = {"module": module} if name in ("network", "layer norm", "weight norm, beside") else {}
    trained = from_flax(variables, model, x, **told)
    close(model.apply(*trained, x)[0], module.apply(variables, x))
    again = to_flax(trained, model, x, variables, **told)
    assert jax.tree.structure(again) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, again, variables)


class Trains(nn.Module):
    """A module that is told whether it is trained, and is so unless it is told."""

    @nn.compact
    def __call__(self, x, train=True):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(4, name="second")(x))
        return nn.Dense(4, name="first")(nn.Dropout(0.5, deterministic=not train)(x))


def test_a_module_that_trains_unless_told_is_looked_at_at_inference():
    module, x = Trains(), np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    model = fnn.serial(fnn.dense(4), fnn.batch_norm(), fnn.dense(4))
    variables = randomized(jax.eval_shape(lambda x: module.init(KEY, x, train=False), x))
    trained = from_flax(variables, model, x, module=module)
    close(model.apply(*trained, x)[0], module.apply(variables, x, train=False))


def test_names_as_init_gives_them_are_in_order_and_sorted_ones_are_doubted():
    weights = np.random.default_rng(0).normal(size=(2, 4, 4)).astype(np.float32)
    params = {"b": {"kernel": weights[0]}, "a": {"kernel": weights[1]}}
    module = Pair()
    model, x = fnn.serial(*[fnn.dense(4, use_bias=False)] * 2), np.ones((1, 4), np.float32)
    expected = module.apply({"params": params}, x)
    close(model.apply(*from_flax({"params": params}, model, x), x)[0], expected)
    by_name = {"params": dict(sorted(params.items()))}
    close(model.apply(*from_flax(by_name, model, x, module=module), x)[0], expected)
    with pytest.warns(RuntimeWarning, match=r"a and b have the same shapes, .* Give module="):
        from_flax(by_name, model, x)


def test_parameters_alone_are_taken():
    params = {"b": {"kernel": jnp.ones((4, 3))}, "a": {"kernel": jnp.ones((3, 2))}}
    model = fnn.serial(fnn.dense(3, use_bias=False), fnn.dense(2, use_bias=False))
    trained = from_flax(params, model, (1, 4))
    jax.tree.map(np.testing.assert_array_equal, to_flax(trained, model, (1, 4), params), params)


class Other(nnx.Module):
    def __init__(self, rngs):
        self.z = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(120, 6, rngs=rngs), nnx.LayerNorm(6, rngs=rngs)])
        self.a = nnx.Linear(6, 2, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.z(x))).reshape(x.shape[0], -1)
        return self.a(self.layers[1](self.layers[0](x)))


OTHER = fnn.serial(
    fnn.conv(4, 3), fnn.batch_norm(), fnn.relu, fnn.flatten(), fnn.dense(6), fnn.layer_norm(eps=1e-6), fnn.dense(2)
)


def test_outputs_are_those_of_nnx_and_weights_come_back():
    module, x = Other(nnx.Rngs(0)), np.random.default_rng(0).normal(size=(2, *IMAGE)).astype(np.float32)
    state = nnx.state(module, (nnx.Param, nnx.BatchStat))
    nnx.update(module, randomized(state))
    trained = from_flax(module, OTHER, x)
    close(OTHER.apply(*trained, x)[0], module(x))
    fresh = Other(nnx.Rngs(1))
    state = nnx.state(fresh, (nnx.Param, nnx.BatchStat))
    nnx.replace_by_pure_dict(state, to_flax(trained, OTHER, x, fresh))
    nnx.update(fresh, state)
    close(fresh(x), module(x))


def test_a_cell_of_nnx_is_taken():
    module, x = nnx.RNN(nnx.LSTMCell(3, 4, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1)), jnp.ones((2, 5, 3))
    layer = fnn.lstm(4, return_sequences=True)
    close(layer.apply(*from_flax(module, layer, x), x)[0], module(x))


def test_a_norm_that_adds_something_else_is_named():
    x = jnp.ones((2, *IMAGE))
    model = fnn.serial(*OTHER.parts[:5], fnn.layer_norm(), *OTHER.parts[6:])
    with pytest.raises(
        ValueError, match=r"layer 5, layer_norm\(\) adds eps=1e-05 .* layers/1 of flax adds 1e-06; write eps"
    ):
        from_flax(Other(nnx.Rngs(0)), model, x)
    variables = nn.LayerNorm().init(KEY, x)
    with pytest.warns(
        RuntimeWarning, match=r"unless told otherwise, 1e-06; write eps=1e-06 in the layer, or give the module"
    ):
        from_flax(variables, fnn.layer_norm(), x)
    with pytest.raises(ValueError, match=r"adds 1e-06"):
        from_flax(variables, fnn.layer_norm(), x, module=nn.LayerNorm())


def test_outputs_that_differ_although_all_weights_fit_are_warned_of():
    module, x = Other(nnx.Rngs(0)), np.ones((2, *IMAGE), np.float32)
    model = fnn.serial(*OTHER.parts[:2], *OTHER.parts[3:])
    with pytest.warns(RuntimeWarning, match="every weight has its place, but the outputs differ"):
        from_flax(module, model, x)
    conv = nn.Conv(2, (3, 3), padding="VALID")
    variables = conv.init(KEY, x)
    with pytest.warns(RuntimeWarning, match=r"shape \(2, 6, 5, 2\), there \(2, 4, 3, 2\)"):
        from_flax(variables, fnn.conv(2, 3), x, module=conv)


def test_what_does_not_fit_is_named():
    variables = {"params": {"Conv_0": {"kernel": np.ones((3, 3, 2, 4)), "bias": np.ones(4)}}}
    with pytest.raises(ValueError, match=r"layer 0, conv\(4, 3\): kernel is float32\[3,3,3,4\], in Conv_0 of flax"):
        from_flax(variables, fnn.serial(fnn.conv(4, 3)), (1, *IMAGE))
    with pytest.raises(ValueError, match=r"the model has 1 dense layers and embeddings, flax 0"):
        from_flax(variables, fnn.serial(fnn.dense(4)), (1, *IMAGE))
    with pytest.raises(TypeError, match="expected linen's variables or an nnx module"):
        from_flax(np.ones(3), fnn.dense(4), (1, 3))


DENSE = {"kernel": np.ones((3, 4)), "bias": np.ones(4)}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"params": np.ones(3)}, r"expected 'params' to be a tree of arrays by their names, got float64\[3\]"),
        ({"params": None}, "expected 'params' to be a tree of arrays by their names, got None"),
        ({"params": {"Dense_0": DENSE}, "batch_stats": [1]}, r"expected 'batch_stats' to be a tree .*, got \[1\]"),
        ({"params": [DENSE]}, r"expected 'params' to be a tree of arrays by their names, got \(dict\)"),
        ({"params": {"Dense_0": [DENSE]}}, "expected Dense_0 to be an array or a tree of arrays by their names"),
        ({"Dense_0": DENSE | {"bias": None}}, "expected Dense_0/bias to be an array or a tree .*, got None"),
        ({"Dense_0": DENSE | {"bias": "none"}}, "expected Dense_0/bias to be an array or a tree .*, got 'none'"),
        ({"Dense_0": DENSE, 1: DENSE}, "expected dict keys of one type"),
    ],
)
def test_what_is_no_tree_of_arrays_is_named(variables, message):
    with pytest.raises(TypeError, match=f"^from_flax: {message}"):
        from_flax(variables, fnn.dense(4), (1, 3))
    trained = fnn.Trained(*fnn.dense(4).init(jax.random.key(0), np.ones((1, 3), np.float32)))
    with pytest.raises(TypeError, match=f"^to_flax: {message}"):
        to_flax(trained, fnn.dense(4), (1, 3), variables)


def test_numbers_may_be_names():
    trained = from_flax({"params": {0: DENSE}}, fnn.dense(4), (1, 3))
    np.testing.assert_array_equal(trained.params["kernel"], DENSE["kernel"])


def test_a_module_or_model_that_is_none_is_named():
    pytest.importorskip("flax.linen")
    for module in (fnn.dense(4), "Dense"):
        with pytest.raises(TypeError, match="from_flax: expected module to be a linen module"):
            from_flax({"params": DENSE}, fnn.dense(4), (1, 3), module=module)
    with pytest.raises(TypeError, match="from_flax: expected model to be a layer"):
        from_flax({"params": DENSE}, (1, 3), fnn.dense(4))
