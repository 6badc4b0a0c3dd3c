"""What layers and losses state of themselves, and that no name decides and no wrapper hides anything."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.selection.members import batched_is_faster

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(7), (6, 4))
SEQUENCE, IMAGE = jnp.ones((2, 5, 3)), jnp.ones((2, 6, 6, 2))


@fnn.constructor
def dense(features):
    """A layer of the user's with the name of ours and a relu inside."""
    inner = fnn.dense(features)
    return fnn.Layer(inner.init, lambda p, s, x, *, key=None, train=False: (jax.nn.relu(inner.apply(p, s, x)[0]), s))


def trained(model, x):
    """Parameters and running statistics that are neither zeros nor ones."""
    draw = np.random.default_rng(3)
    return jax.tree.map(lambda leaf: leaf + jnp.asarray(draw.uniform(0.1, 1, leaf.shape)), model.init(KEY, x))


def norms(model):
    names = []
    fnn.map_layers(lambda layer: names.append(layer.name) or layer, model)
    return sum(name.startswith("batch_norm") for name in names)


def tied(body):
    return fnn.shared(fnn.dense(4), body)


FOLDS = {
    "own layer of that name": (fnn.serial(dense(4), fnn.batch_norm()), X, 1),
    "renamed": (fnn.serial(fnn.dense(4)._replace(name="encoder"), fnn.batch_norm()._replace(name="scaler")), X, 0),
    "axis written out": (fnn.serial(fnn.dense(4), fnn.batch_norm(axis=-1)), X, 0),
    "axis as a tuple": (fnn.serial(fnn.dense(4), fnn.batch_norm(axis=(-1,))), X, 0),
    "renamed serial": (fnn.serial(fnn.dense(4), fnn.batch_norm())._replace(name="stem"), X, 0),
    "beside the shared layer": (tied(lambda use: fnn.serial(use, fnn.dense(4), fnn.batch_norm(), use)), X, 0),
    "after the shared layer": (tied(lambda use: fnn.serial(use, fnn.batch_norm(), use)), X, 1),
    "weights dropped": (fnn.serial(fnn.drop_connect(fnn.dense(4), 0.5), fnn.batch_norm()), X, 0),
    "weights normalized": (fnn.serial(fnn.weight_norm(fnn.dense(4)), fnn.batch_norm()), X, 1),
    "weights bounded": (fnn.serial(fnn.spectral_norm(fnn.dense(4)), fnn.batch_norm()), X, 1),
    "at every step": (fnn.time_distributed(fnn.serial(fnn.dense(4), fnn.batch_norm())), SEQUENCE, 0),
    "over all steps": (fnn.serial(fnn.time_distributed(fnn.dense(4)), fnn.batch_norm()), SEQUENCE, 0),
    "side by side": (fnn.parallel(fnn.dense(4), fnn.batch_norm()), X, 1),
    "with dropout on": (fnn.mc_dropout(fnn.serial(fnn.dense(4), fnn.batch_norm(), fnn.dropout(0.5))), X, 0),
}


@pytest.mark.parametrize("name", FOLDS)
def test_folding_goes_by_what_layers_state_and_keeps_the_outputs(name, x64):
    model, x, left = FOLDS[name]
    x = x.astype(jnp.float64)
    params, state = trained(model, x)
    folded, *arrays = fnn.fold_batch_norm(model, params, state)
    assert norms(folded) == left
    expected, _ = model.apply(params, state, x, key=KEY)
    found, _ = jax.jit(lambda *arrays: folded.apply(*arrays, x, key=KEY))(*arrays)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), found, expected)


def test_an_own_layer_that_states_it_is_folded_into(x64):
    scale = fnn.stateless(
        lambda key, x: {"inner": {"kernel": jnp.ones(x.shape[-1:], x.dtype)}},
        lambda params, x: x * params["inner"]["kernel"][None],
        facts=fnn.Facts(linear=("inner",)),
    )
    model, x = fnn.serial(scale, fnn.batch_norm()), X.astype(jnp.float64)
    params, state = trained(model, x)
    folded, *arrays = fnn.fold_batch_norm(model, params, state)
    assert norms(folded) == 0
    np.testing.assert_allclose(folded.apply(*arrays, x)[0], model.apply(params, state, x)[0], rtol=1e-10)


CONV, LSTM = fnn.conv(2, 3), fnn.lstm(3, return_sequences=True)
WRAPPED = [
    lambda layer: layer._replace(name="stem"),
    lambda layer: fnn.serial(layer, fnn.relu),
    lambda layer: fnn.parallel(fnn.relu, layer),
    lambda layer: fnn.residual(layer),
    lambda layer: fnn.shared(layer, lambda use: fnn.serial(use, fnn.relu)),
    lambda layer: fnn.shared(fnn.dense(2), lambda use: fnn.serial(use, layer)),
    lambda layer: fnn.drop_connect(layer, 0.5),
    lambda layer: fnn.weight_norm(layer),
    lambda layer: fnn.spectral_norm(layer),
    lambda layer: fnn.spectral_norm(fnn.weight_norm(layer)),
    lambda layer: fnn.time_distributed(layer),
    lambda layer: fnn.bidirectional(layer),
    lambda layer: fnn.stacked(layer, layer, dropout=0.5),
    lambda layer: fnn.mc_dropout(fnn.serial(layer)),
    lambda layer: fnn.map_layers(lambda each: each, fnn.shared(layer, lambda use: fnn.serial(use, fnn.relu))),
    lambda layer: fnn.models.encoder_decoder(3, 1, steps=2, source=layer),
]


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize("layer", [CONV, LSTM], ids=["conv", "lstm"])
def test_no_wrapper_hides_that_a_layer_convolves_or_recurs(wrap, layer):
    assert not batched_is_faster(wrap(layer), jnp.zeros((2, 3)))


def test_a_name_makes_no_convolution_and_no_recurrence():
    for name in ("convex()", "conv(3, 3)", "lstm(4)"):
        assert batched_is_faster(fnn.dense(3)._replace(name=name), jnp.zeros((2, 3)))


def test_a_layer_is_made_of_two_functions():
    layer = fnn.Layer(fnn.dense(2).init, fnn.dense(2).apply)
    assert layer.facts == fnn.Facts()
    assert (layer.parts, layer.rebuild) == ((), None)


DRAWS = {
    "shared layer": (fnn.shared(fnn.serial(fnn.dense(4), fnn.dropout(0.5)), lambda use: fnn.serial(use, use)), X),
    "in the body": (tied(lambda use: fnn.serial(use, fnn.dropout(0.5), use)), X),
    "beside a running mean": (tied(lambda use: fnn.serial(use, fnn.dropout(0.5), fnn.batch_norm())), X),
    "dropped weights": (fnn.drop_connect(fnn.dense(4), 0.5), X),
    "dropped weights, normalized": (fnn.weight_norm(fnn.drop_connect(fnn.dense(4), 0.5)), X),
    "dropped weights, bounded": (fnn.spectral_norm(fnn.drop_connect(fnn.dense(4), 0.5)), X),
    "bounded weights, dropped": (fnn.drop_connect(fnn.spectral_norm(fnn.dense(4)), 0.5), X),
    "recurrent dropout": (fnn.lstm(4, recurrent_dropout=0.5), SEQUENCE),
    "recurrent dropout, stateful": (fnn.lstm(4, recurrent_dropout=0.5, stateful=True), SEQUENCE),
    "recurrent dropout, weights normalized": (fnn.weight_norm(fnn.gru(4, zoneout=0.5)), SEQUENCE),
    "both directions": (fnn.bidirectional(fnn.rnn(4, recurrent_dropout=0.5)), SEQUENCE),
    "at every step": (fnn.time_distributed(fnn.serial(fnn.dense(4), fnn.dropout(0.5))), SEQUENCE),
    "of the source": (fnn.models.encoder_decoder(4, 3, steps=2, source=fnn.dropout(0.5)), SEQUENCE),
    "of the target": (fnn.models.encoder_decoder(4, 3, steps=4, target=fnn.dropout(0.5), start=1.0), SEQUENCE),
    "twice": (fnn.mc_dropout(fnn.serial(fnn.dense(4), fnn.dropout(0.5))), X),
    "own layer without state": (
        fnn.Layer(
            lambda key, x: ((), ()),
            lambda p, s, x, *, key=None, train=False: (x + jax.random.normal(key, x.shape) if train else x, s),
        ),
        X,
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", DRAWS)
def test_dropout_is_on_at_inference_whatever_stands_around_it(name):
    model, x = DRAWS[name]
    given = (x, jnp.ones((2, 4, 3))) if "of the" in name else x
    params, state = model.init(KEY, given)
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    sampled = fnn.mc_dropout(model)
    draw = jax.jit(jax.vmap(lambda key: sampled.apply(params, state, x, key=key)))
    outputs, states = draw(jax.random.split(KEY, 8))
    assert (outputs.std(axis=0) > 1e-4).any()
    if "stateful" not in name:
        jax.tree.map(lambda many, one: np.testing.assert_array_equal(many[0], one), states, state)
    again = fnn.map_layers(lambda layer: layer, sampled)
    once, rebuilt = (jax.jit(each.apply)(params, state, x, key=KEY)[0] for each in (sampled, again))
    np.testing.assert_array_equal(once, rebuilt)


def test_in_training_a_model_with_dropout_on_trains_as_it_is():
    model = fnn.serial(fnn.spectral_norm(fnn.drop_connect(fnn.dense(4), 0.5)), fnn.batch_norm(), fnn.dropout(0.5))
    params, state = model.init(KEY, X)
    ours = fnn.mc_dropout(model).apply(params, state, X, key=KEY, train=True)
    jax.tree.map(np.testing.assert_array_equal, ours, model.apply(params, state, X, key=KEY, train=True))


def test_dropout_hidden_beside_state_is_an_error():
    inner = fnn.serial(fnn.dense(4), fnn.dropout(0.5), fnn.batch_norm())
    hidden = fnn.Layer(inner.init, inner.apply, "hidden", parts=(inner,))
    with pytest.raises(ValueError, match="hidden keeps state and hides a layer that draws"):
        fnn.mc_dropout(hidden).apply(*hidden.init(KEY, X), X, key=KEY)


def test_a_shared_layer_hidden_in_the_body_computes_and_says_why_it_cannot_be_rebuilt():
    def hide(layer):
        return fnn.Layer(layer.init, layer.apply)

    model = tied(lambda use: fnn.serial(hide(use), use))
    params, state = model.init(KEY, X)
    kernel, bias = params["shared"]["kernel"], params["shared"]["bias"]
    np.testing.assert_allclose(
        model.apply(params, state, X)[0], (X @ kernel + bias[None]) @ kernel + bias[None], rtol=1e-5
    )
    with pytest.raises(ValueError, match=r"shared: .*dense\(4\) is hidden in a layer"):
        fnn.mc_dropout(model).apply(params, state, X, key=KEY)
    whole = tied(hide)
    assert fnn.map_layers(lambda layer: layer, whole) is whole


def own_loss(outputs, targets):
    return fnn.losses.softmax_cross_entropy(outputs, targets)


def sigmoid_margin(probabilities, targets):
    return (probabilities - targets) ** 2


def stating(kind):
    def loss(outputs, targets):
        return outputs

    loss.takes = kind
    return loss


L = fnn.losses
PAIRINGS = [
    (fnn.softmax, L.softmax_cross_entropy, True),
    (jax.nn.softmax, L.poly_loss_cross_entropy, True),
    (jax.nn.sigmoid, L.sigmoid_focal_loss, True),
    (functools.partial(fnn.softmax, axis=-1), L.softmax_cross_entropy_with_integer_labels, True),
    (fnn.as_layer(fnn.softmax)._replace(name="last"), L.softmax_cross_entropy, True),
    (fnn.time_distributed(fnn.softmax), L.ctc_loss, True),
    (fnn.shared(fnn.as_layer(fnn.sigmoid), lambda use: fnn.serial(fnn.dense(3), use)), fnn.tasks.multilabel(3), True),
    (tied(lambda use: fnn.serial(use, fnn.softmax)), fnn.tasks.multiclass(4), True),
    (fnn.mc_dropout(fnn.serial(fnn.dropout(0.5), fnn.softmax)), fnn.tasks.multiclass(4), True),
    (fnn.softmax, functools.partial(L.softmax_cross_entropy, reduction="none"), True),
    (fnn.softmax, stating("logits"), True),
    (fnn.log_softmax, L.cross_entropy, "end it in fnn.softmax"),
    (fnn.softmax, L.kl_divergence, "end it in fnn.log_softmax"),
    (fnn.sigmoid, stating("log_probabilities"), "end it in fnn.log_sigmoid"),
    (fnn.softmax, L.cross_entropy, False),
    (fnn.log_softmax, L.categorical_negative_log_likelihood, False),
    (fnn.residual(fnn.softmax), L.softmax_cross_entropy, False),
    (fnn.parallel(fnn.softmax), L.softmax_cross_entropy, False),
    (fnn.dense(3)._replace(name="softmax"), L.softmax_cross_entropy, False),
    (fnn.sigmoid, sigmoid_margin, False),
    (fnn.softmax, own_loss, False),
    (fnn.sigmoid, fnn.tasks.regression(), False),
]


@pytest.mark.parametrize(("last", "loss", "refused"), PAIRINGS)
def test_pairing_goes_by_what_the_model_ends_in_and_what_the_loss_takes(last, loss, refused):
    model = fnn.serial(fnn.dense(3), last)
    if not refused:
        fnn.tasks.check_pairing(model, fnn.tasks.as_task(loss))
        return
    message = "remove the last layer" if refused is True else refused
    with pytest.raises(ValueError, match=f"the model ends in .*{message}"):
        fnn.train_step(model, fnn.optim.sgd(0.1), loss)


class OwnState(NamedTuple):
    penalty: Any
    inner: Any


def test_a_penalty_joins_the_loss_through_any_state_and_no_name_makes_one():
    layer = fnn.activity_penalty(l1=1.0)

    def inside(wrap, unwrap):
        return fnn.Layer(
            lambda key, x: ((), wrap(layer.init(key, x)[1])),
            lambda p, s, x, **options: (x, wrap(layer.apply(p, unwrap(s), x, **options)[1])),
        )

    zero = jnp.zeros(())
    named = fnn.Layer(lambda key, x: ((), {"penalty": zero}), lambda p, s, x, **_: (x, {"penalty": 5 + zero}))
    tuples = inside(lambda s: OwnState(7 + zero, s), lambda s: s.inner)
    beside = fnn.shared(fnn.relu, lambda use: fnn.serial(use, layer))
    for last, expected in ((layer, 4.0), (tuples, 4.0), (named, 0.0), (beside, 4.0)):
        step = fnn.train_step(last, fnn.optim.sgd(0.1), lambda outputs, targets: jnp.zeros(outputs.shape[0]))
        x = jnp.ones((2, 4))
        assert step.update(step.init(KEY, x), KEY, (x, x))[1] == expected


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (tied(lambda use: fnn.serial(use, fnn.relu, use, fnn.dense(2))), X),
        (fnn.serial(fnn.weight_norm(fnn.dense(3)), fnn.drop_connect(fnn.dense(2), 0.5)), X),
        (fnn.bidirectional(fnn.gru(3)), SEQUENCE),
        (fnn.time_distributed(fnn.serial(fnn.dense(2), fnn.relu)), SEQUENCE),
    ],
)
def test_a_summary_counts_every_parameter_once(model, x):
    leaves = jax.tree.leaves(jax.eval_shape(model.init, KEY, x)[0])
    assert fnn.summary(model, x).parameters == sum(leaf.size for leaf in leaves)
