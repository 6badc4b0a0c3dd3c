"""Weights of torch modules in fnn's models and back: outputs are equal, and what does not fit is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.interop import from_torch, to_torch

torch = pytest.importorskip("torch")
nn = torch.nn


class Flattened(nn.Module):
    """A torch module by two functions: the modules, and what is done with them."""

    def __init__(self, modules, forward):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self.run = forward

    def forward(self, x):
        return self.run(self, x)


def basic_block(inputs, features, stride):
    """As in torchvision: the body's modules, then the shortcut's."""
    widens = stride > 1 or inputs != features

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + (self.downsample(x) if widens else x))

    modules = {
        "conv1": nn.Conv2d(inputs, features, 3, stride, 1, bias=False), "bn1": nn.BatchNorm2d(features),
        "conv2": nn.Conv2d(features, features, 3, 1, 1, bias=False), "bn2": nn.BatchNorm2d(features),
    }  # fmt: skip
    if widens:
        modules["downsample"] = nn.Sequential(
            nn.Conv2d(inputs, features, 1, stride, bias=False), nn.BatchNorm2d(features)
        )
    return Flattened(modules, forward)


def fnn_block(features, stride, widens):
    def conv(size, stride, padding):
        return fnn.conv(features, size, stride=stride, padding=padding, use_bias=False), fnn.batch_norm()

    body = fnn.serial(*conv(3, stride, 1), fnn.relu, *conv(3, 1, 1))
    return fnn.serial(fnn.residual(body, fnn.serial(*conv(1, stride, 0)) if widens else None), fnn.relu)


def resnet():
    theirs = nn.Sequential(
        nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), basic_block(4, 4, 1), basic_block(4, 8, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip
    mine = fnn.serial(
        fnn.conv(4, 3, use_bias=False), fnn.batch_norm(), fnn.relu, fnn_block(4, 1, False), fnn_block(8, 2, True),
        fnn.global_avg_pool(), fnn.dense(5),
    )  # fmt: skip
    return theirs, mine


def lstm_net(bidirectional, layers):
    lstm = nn.LSTM(3, 4, layers, batch_first=True, bidirectional=bidirectional)
    head = nn.Linear(8 if bidirectional else 4, 2)
    theirs = Flattened({"lstm": lstm, "head": head}, lambda self, x: self.head(self.lstm(x)[0]))
    one = fnn.lstm(4, return_sequences=True)
    one = fnn.bidirectional(one) if bidirectional else one
    return theirs, fnn.serial(fnn.stacked(*[one] * layers, dropout=0.1), fnn.dense(2))


IMAGE, LINE, CUBE = (5, 6, 3), (7, 4), (4, 3, 5, 2)
CASES = {
    "dense": (nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2, bias=False)),
              fnn.serial(fnn.dense(3), fnn.tanh, fnn.dense(2, use_bias=False)), (4,)),
    "conv, one axis": (nn.Conv1d(4, 6, 3, 2, 1, 2), fnn.conv(6, 3, stride=2, padding=1, dilation=2), LINE),
    "conv, two axes": (nn.Conv2d(3, 4, (2, 3)), fnn.conv(4, (2, 3), padding="VALID"), IMAGE),
    "conv, three axes": (nn.Conv3d(2, 4, 2, bias=False), fnn.conv(4, 2, padding="VALID", use_bias=False), CUBE),
    "conv, groups": (nn.Conv2d(3, 6, 3, padding=1, groups=3), fnn.conv(6, 3, groups=3), IMAGE),
    "conv, depthwise": (nn.Conv2d(3, 6, 3, padding=1, groups=3), fnn.depthwise_conv(3, multiplier=2), IMAGE),
    "conv, separable": (nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False), nn.Conv2d(3, 5, 1)),
                        fnn.separable_conv(5, 3), IMAGE),
    "conv, flipped": (nn.Conv2d(3, 4, 3, padding=1), fnn.conv(4, 3, flip=True), IMAGE),
    "transposed, one axis": (nn.ConvTranspose1d(4, 3, 4, 2), fnn.conv_transpose(3, 4, stride=2, padding="VALID"), LINE),
    "transposed": (nn.ConvTranspose2d(3, 4, 3, 2), fnn.conv_transpose(4, 3, stride=2, padding="VALID"), IMAGE),
    "transposed, groups": (nn.ConvTranspose2d(4, 6, 3, 2, 1, groups=2),
                           fnn.conv_transpose(6, 3, stride=2, padding=1, groups=2), (5, 6, 4)),
    "transposed, three axes": (nn.ConvTranspose3d(2, 3, 2), fnn.conv_transpose(3, 2, padding="VALID"), CUBE),
    "batch norm": (nn.BatchNorm2d(3), fnn.batch_norm(), IMAGE),
    "batch norm, plain": (nn.BatchNorm1d(4, affine=False), fnn.batch_norm(use_scale=False, use_bias=False), (4,)),
    "layer norm": (nn.LayerNorm(4), fnn.layer_norm(), (4,)),
    "layer norm, of images": (nn.LayerNorm((3, 5, 6)), fnn.layer_norm(axis=(1, 2, 3)), IMAGE),
    "group norm": (nn.GroupNorm(2, 4), fnn.group_norm(2), (5, 6, 4)),
    "instance norm": (nn.InstanceNorm2d(3, affine=True), fnn.instance_norm(), IMAGE),
    "prelu": (nn.PReLU(3), fnn.prelu(), IMAGE),
    "instance norm, one axis": (nn.InstanceNorm1d(4, affine=True), fnn.instance_norm(), LINE),
    "rms norm": (nn.RMSNorm(4), fnn.rms_norm(eps=float(np.finfo(np.float32).eps)), (4,)),
    "prelu, one slope": (nn.PReLU(), fnn.prelu(per_channel=False), IMAGE),
    "conv, three axes, groups": (nn.Conv3d(2, 4, 2, groups=2), fnn.conv(4, 2, padding="VALID", groups=2), CUBE),
    "transposed, three axes, groups": (nn.ConvTranspose3d(2, 4, 2, 2, groups=2),
                                       fnn.conv_transpose(4, 2, stride=2, padding="VALID", groups=2), CUBE),
    "flattened cube": (nn.Sequential(nn.Conv3d(2, 3, 2), nn.Flatten(), nn.Linear(3 * 3 * 2 * 4, 2)),
                       fnn.serial(fnn.conv(3, 2, padding="VALID"), fnn.flatten(), fnn.dense(2)), CUBE),
    "without arrays": (nn.Sequential(nn.Flatten(), nn.ReLU()), fnn.serial(fnn.flatten(), fnn.relu), (4,)),
    "weight norm": (nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 2)),
                    fnn.weight_norm(fnn.conv(4, 2, padding="VALID")), IMAGE),
    "modules defined by kind": (
        Flattened({"a": nn.Conv2d(3, 4, 1), "b": nn.Conv2d(4, 5, 1), "n": nn.BatchNorm2d(4), "m": nn.BatchNorm2d(5)},
                  lambda self, x: self.m(self.b(self.n(self.a(x))))),
        fnn.serial(fnn.conv(4, 1), fnn.batch_norm(), fnn.conv(5, 1), fnn.batch_norm()), IMAGE),
    "flattened": (
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(), nn.BatchNorm1d(24), nn.ReLU(),
                      nn.Linear(24, 24), nn.Linear(24, 2)),
        fnn.serial(fnn.conv(4, 3), fnn.max_pool(2), fnn.flatten(), fnn.batch_norm(), fnn.relu, fnn.dropout(0.5),
                   fnn.dense(24), fnn.dense(2)), IMAGE),
    "flattened image": (nn.Sequential(nn.Flatten(), nn.Linear(90, 2)), fnn.serial(fnn.flatten(), fnn.dense(2)), IMAGE),
    "flattened line": (nn.Sequential(nn.Conv1d(4, 3, 2), nn.Flatten(), nn.Linear(18, 2)),
                       fnn.serial(fnn.conv(3, 2, padding="VALID"), fnn.flatten(), fnn.dense(2)), LINE),
    "flattened in branches": (
        Flattened({"a": nn.Linear(90, 2), "b": nn.Linear(90, 2)},
                  lambda self, x: self.a(x.flatten(1)) + self.b(x.flatten(1))),
        fnn.serial(fnn.flatten(), fnn.parallel(fnn.dense(2), fnn.dense(2), merge=sum)), IMAGE),
    "one position, around a layer": (
        Flattened({"c": nn.Conv2d(3, 4, (5, 6)), "a": nn.Linear(4, 4), "b": nn.Linear(4, 2)},
                  lambda self, x: self.b((y := self.c(x).flatten(1)) + self.a(y))),
        fnn.serial(fnn.conv(4, (5, 6), padding="VALID"), fnn.flatten(), fnn.residual(fnn.dense(4)), fnn.dense(2)),
        IMAGE),
    "around a layer behind the first": (
        Flattened({"a": nn.Linear(90, 4), "b": nn.Linear(4, 4), "c": nn.Linear(4, 2)},
                  lambda self, x: self.c((y := self.a(x.flatten(1))) + self.b(y))),
        fnn.serial(fnn.flatten(), fnn.dense(4), fnn.residual(fnn.dense(4)), fnn.dense(2)), IMAGE),
    "image from a vector": (
        nn.Sequential(nn.Linear(4, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Unflatten(1, (4, 2, 3)), nn.Conv2d(4, 3, 1)),
        fnn.serial(fnn.dense(24), fnn.batch_norm(), fnn.relu, fnn.reshape(2, 3, 4), fnn.conv(3, 1)), (4,)),
    "recurrent": (*lstm_net(False, 1), LINE[:1] + (3,)),
    "recurrent, stacked": (*lstm_net(False, 2), LINE[:1] + (3,)),
    "recurrent, both directions": (*lstm_net(True, 2), LINE[:1] + (3,)),
    "gru": (Flattened({"gru": nn.GRU(3, 4, batch_first=True)}, lambda self, x: self.gru(x)[0]),
            fnn.gru(4, return_sequences=True), (7, 3)),
    "resnet": (*resnet(), (8, 8, 3)),
}  # fmt: skip
SEQUENCES = {name for name in CASES if "recurrent" in name or name == "gru"}


def randomized(module, seed=0):
    """Every weight and running statistic different from what it starts as."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.dtype.is_floating_point:
                drawn = torch.randn(value.shape, generator=generator) * 0.5
                value.copy_(drawn.abs() + 0.5 if "var" in name else drawn)
    return module.eval()


def output(module, name, x):
    """What torch gives for channels last: its axes change places on the way in and out."""
    first = np.moveaxis(x, -1, 1) if x.ndim > 2 and name not in SEQUENCES else x
    with torch.no_grad():
        y = module(torch.tensor(np.array(first))).numpy()
    return np.moveaxis(y, 1, -1) if y.ndim > 2 and name not in SEQUENCES else y


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_torch_and_weights_come_back(name):
    module, model, shape = CASES[name]
    module = randomized(module)
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    trained = from_torch(module, model, x)
    y = model.apply(trained.params, trained.state, x)[0]
    np.testing.assert_allclose(y, output(module, name, x), rtol=1e-4, atol=1e-5)
    weights = to_torch(trained, model, x, like=module)
    assert list(weights) == list(module.state_dict())
    again = from_torch(weights, model, x)
    jax.tree.map(np.testing.assert_array_equal, again, trained)
    if name not in SEQUENCES:  # whose two biases act as one
        jax.tree.map(np.testing.assert_array_equal, weights, {k: v.numpy() for k, v in module.state_dict().items()})
    module.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in weights.items()})
    np.testing.assert_allclose(y, output(module, name, x), rtol=1e-4, atol=1e-5)


def test_one_weight_in_two_places_is_one_shared_layer():
    """The embedding and the last layer of a language model, tied."""
    parts = {"words": nn.Embedding(9, 4), "lstm": nn.LSTM(4, 4, batch_first=True), "head": nn.Linear(4, 9, bias=False)}
    parts["head"].weight = parts["words"].weight
    module = randomized(Flattened(parts, lambda self, x: self.head(self.lstm(self.words(x))[0])))
    one = fnn.lstm(4, return_sequences=True)
    model = fnn.shared(fnn.embedding(9, 4), lambda tied: fnn.serial(tied, one, tied))
    x = np.array([[1, 8, 3]], np.int32)
    trained = from_torch(module, model, x)
    with torch.no_grad():
        expected = module(torch.tensor(x)).numpy()
    np.testing.assert_allclose(model.apply(*trained, x)[0], expected, rtol=1e-4, atol=1e-5)
    back = to_torch(trained, model, x, module)
    np.testing.assert_array_equal(back["head.weight"], back["words.weight"])
    np.testing.assert_array_equal(back["head.weight"], module.words.weight.detach())


def test_embeddings_and_half_precision():
    module = randomized(nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2)).bfloat16())
    model, x = fnn.serial(fnn.embedding(9, 4, dtype=jnp.bfloat16), fnn.dense(2)), np.array([[1, 8, 3]], np.int32)
    trained = from_torch(module.state_dict(), model, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(trained)} == {jnp.dtype("bfloat16")}
    with torch.no_grad():
        expected = module(torch.tensor(x)).float().numpy()
    np.testing.assert_allclose(model.apply(*trained, x)[0].astype(np.float32), expected, rtol=2e-2, atol=2e-2)


BAD = {
    "another size": (nn.Linear(4, 3), fnn.dense(5), (4,),
                     r"dense\(5\): kernel is float32\[4,5\], in the module of torch float32\[3,4\]; dense\(5\): bias"),
    "a bias more": (nn.Linear(4, 3), fnn.dense(3, use_bias=False), (4,), r"bias float32\[3\] has no place in dense\(3"),
    "a bias less": (nn.Linear(4, 3, bias=False), fnn.dense(3), (4,), r"bias is float32\[3\], in .* not there"),
    "a layer less": (nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3)), fnn.dense(3), (4,),
                     r"the model has 1 dense layers and embeddings, torch 2; .*: 1 \(weight float32\[3,3\]"),
    "a layer more": (nn.Sequential(nn.Conv2d(3, 4, 1)), fnn.serial(fnn.conv(4, 1), fnn.batch_norm()), IMAGE,
                     r"the model has 1 batch norms, torch 0; .*: layer 1, batch_norm\(\)"),
    "another eps": (nn.LayerNorm(4, eps=1e-3), fnn.layer_norm(), (4,),
                    r"adds eps=1e-05 to the variance, .* adds 0.001; write eps=0.001"),
    "lengths of the inputs": (nn.utils.parametrizations.weight_norm(nn.Linear(3, 3), dim=1),
                              fnn.weight_norm(fnn.dense(3)), (3,), r"kernel_scale is .*float32\[1,3\]"),
    "lengths of the inputs, transposed": (
        nn.utils.parametrizations.weight_norm(nn.ConvTranspose2d(3, 3, 2)),
        fnn.weight_norm(fnn.conv_transpose(3, 2, padding="VALID")), IMAGE, r"kernel_scale is .*float32\[3,1,1,1\]"),
    "a flattened image around a layer": (
        nn.Sequential(nn.Linear(90, 90), nn.Linear(90, 2)),
        fnn.serial(fnn.flatten(), fnn.residual(fnn.dense(90)), fnn.dense(2)), IMAGE,
        "dense.*flattened before branches"),
    "a flattened image around the last layer": (
        nn.Linear(90, 90), fnn.serial(fnn.flatten(), fnn.residual(fnn.dense(90))), IMAGE, "flattened before branches"),
    "a flattened image beside features": (
        nn.Sequential(nn.Linear(90, 3), nn.Linear(93, 2)),
        fnn.serial(fnn.flatten(), fnn.parallel(fnn.dense(3), fnn.relu, merge=fnn.concatenate), fnn.dense(2)), IMAGE,
        "flattened before branches"),
    "a part of a flattened image": (
        nn.Linear(9, 2), fnn.serial(fnn.flatten(), lambda x: x[:, :9], fnn.dense(2)), IMAGE, "or a selection"),
    "state of its own": (nn.Linear(4, 3), fnn.serial(fnn.spectral_norm(fnn.dense(3))), (4,),
                         r"layer 0, spectral_norm.*: its state layer, u stand in no other library"),
    "spectral norm": (nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3))), fnn.dense(3), (4,),
                      r"0 has a spectral norm, .* write torch.nn.utils.parametrize.remove_parametrizations"),
    "spectral norm, old": (nn.utils.spectral_norm(nn.Linear(4, 3)), fnn.spectral_norm(fnn.dense(3)), (4,),
                           r"the module has a spectral norm, .* torch.nn.utils.remove_spectral_norm"),
}  # fmt: skip


def test_a_spectral_norm_that_is_taken_away_leaves_what_it_computed():
    module = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3))
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    expected = module.eval()(torch.from_numpy(x)).detach().numpy()
    nn.utils.parametrize.remove_parametrizations(module, "weight")
    computed = fnn.dense(3).apply(*from_torch(module, fnn.dense(3), x), x)[0]
    np.testing.assert_allclose(computed, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_named(name):
    module, model, shape, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        from_torch(module, model, (2, *shape))


@pytest.mark.parametrize(
    ("module", "model", "said"),
    [
        (nn.Conv2d(3, 4, 3, 2, 1), fnn.conv(4, 3, stride=2), 'outputs differ by up to .*is not "SAME"'),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), fnn.conv(4, 1), "outputs differ"),
        (nn.Conv2d(3, 4, 3), fnn.conv(4, 3), r"shape \(2, 6, 6, 4\), there \(2, 4, 4, 4\)"),
    ],
)
def test_outputs_that_differ_although_all_weights_fit_are_warned_of(module, model, said):
    with pytest.warns(RuntimeWarning, match=rf"every weight has its place, but .*{said}"):
        from_torch(randomized(module).train(), model, (2, 6, 6, 3))
    assert module.training
    from_torch(module.state_dict(), model, (2, 6, 6, 3))  # of weights alone nothing can be said


def test_a_module_keeps_the_modes_of_its_parts():
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Sequential(nn.Linear(3, 2))).train()
    module[1].eval()
    modes = [part.training for part in module.modules()]
    from_torch(module, fnn.serial(fnn.dense(3), fnn.batch_norm(), fnn.dense(2)), (2, 4))
    assert [part.training for part in module.modules()] == modes


RECURRENT = {"lstm": (nn.LSTM, fnn.lstm), "gru": (nn.GRU, fnn.gru), "rnn": (nn.RNN, fnn.rnn)}


@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_module_with_time_first_is_compared_as_it_is(name, recwarn):
    theirs, mine = RECURRENT[name]
    module = randomized(theirs(3, 4))
    from_torch(module, mine(4, return_sequences=True), (2, 5, 3))
    assert not [one for one in recwarn if one.category is RuntimeWarning]


def test_time_first_inside_a_module_is_named():
    inner = Flattened({"lstm": nn.LSTM(3, 4)}, lambda self, x: self.lstm(x)[0])
    with pytest.warns(RuntimeWarning, match=r"outputs differ .* batch_first, which is False in lstm"):
        from_torch(randomized(inner), fnn.lstm(4, return_sequences=True), (2, 5, 3))


def test_weights_in_half_precision_come_back_as_torch_can_read_them():
    module, model = nn.Linear(3, 2).to(torch.bfloat16), fnn.dense(2)
    trained = fnn.Trained({"kernel": jnp.ones((3, 2), jnp.bfloat16), "bias": jnp.ones(2, jnp.bfloat16)}, ())
    weights = to_torch(trained, model, (2, 3), module)
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    assert module.weight.dtype == torch.bfloat16
    half = trained._replace(params=jax.tree.map(lambda a: a.astype(jnp.float16), trained.params))
    assert {array.dtype for array in to_torch(half, model, (2, 3), module).values()} == {np.dtype(np.float16)}


def test_several_outputs_are_not_compared():
    heads = Flattened({"a": nn.Linear(4, 2), "b": nn.Linear(4, 3)}, lambda self, x: (self.a(x), self.b(x)))
    trained = from_torch(randomized(heads), fnn.parallel(fnn.dense(2), fnn.dense(3)), (2, 4))
    np.testing.assert_array_equal(trained.params[1]["kernel"], heads.b.weight.detach().numpy().T)


def test_what_fnn_has_no_place_for_stays_as_it_is():
    module = nn.BatchNorm1d(4, momentum=None)
    module(torch.ones(2, 4))
    norm, x = fnn.batch_norm(), np.ones((2, 4), np.float32)
    assert to_torch(from_torch(module, norm, x), norm, x, module)["num_batches_tracked"] == 1


WEIGHT = {"weight": np.ones((3, 4))}


@pytest.mark.parametrize(
    "given",
    [[np.ones(3)], np.ones(3), WEIGHT | {"bias": None}, {0: np.ones(3)}, {"layer": WEIGHT}, torch.nn.Linear],
    ids=["list", "array", "none in it", "number", "nested", "class"],
)
def test_what_is_no_state_dict_is_named(given):
    model, x = fnn.dense(3), (1, 4)
    trained = fnn.Trained(*model.init(jax.random.key(0), np.ones(x, np.float32)))
    for where, call in (
        ("from_torch", lambda: from_torch(given, model, x)),
        ("to_torch", lambda: to_torch(trained, model, x, given)),
        ("recurrent_from_torch", lambda: fnn.interop.recurrent_from_torch(given)),
    ):
        with pytest.raises(TypeError, match=rf"^{where}: expected a module or its state_dict\(\), got "):
            call()


def test_a_recurrent_module_without_half_of_its_matrices_is_named():
    half = {"weight_ih_l0": np.ones((16, 3)), "bias_ih_l0": np.ones(16)}
    message = r"expected matrices weight_ih_l0 and weight_hh_l0, got weight_ih_l0 float64\[16,3\], bias_ih_l0 float64"
    with pytest.raises(ValueError, match=f"^from_torch: {message}"):
        from_torch(half, fnn.lstm(4), (1, 2, 3))
    with pytest.raises(ValueError, match=f"^recurrent_from_torch: {message}"):
        fnn.interop.recurrent_from_torch(half)
    with pytest.raises(ValueError, match="recurrent_from_torch: expected matrices"):
        fnn.interop.recurrent_from_torch(half | {"weight_hh_l0": np.ones(16)})


def test_weights_on_their_way_back_are_arrays_also_where_they_are_one_number():
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    model = fnn.serial(fnn.dense(2), fnn.batch_norm())
    trained = fnn.Trained(*model.init(jax.random.key(0), np.ones((4, 3), np.float32)))
    weights = fnn.interop.to_torch(trained, model, (4, 3), module)
    assert "1.num_batches_tracked" in weights
    assert {type(array) for array in weights.values()} == {np.ndarray}
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
