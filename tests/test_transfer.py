"""Parts that stay as they are, other heads, and beginning where another model ended."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from every_layer import LAYERS

import fnn

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype(np.float32)
Y = np.arange(8, dtype=np.int32) % 3
BODY = (fnn.conv(4, 3), fnn.batch_norm(), fnn.relu, fnn.dropout(0.5), fnn.global_avg_pool())
OLD = fnn.serial(*BODY, fnn.dense(10))
TRAINED = fnn.Trained(
    *jax.tree.map(lambda a: jnp.asarray(0.1 + np.abs(np.random.default_rng(1).normal(size=a.shape)), a.dtype),
                  jax.eval_shape(OLD.init, KEY, X))
)  # fmt: skip


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("name", ["batch_norm", "conv", "lstm", "weight_norm", "dropout", "spectral_norm", "stacked"])
def test_a_frozen_layer_computes_in_training_what_it_does_at_inference(name):
    case = LAYERS[name]
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, *case.shape)), case.dtype)
    params, state = case.layer.init(KEY, x)
    layer = fnn.frozen(case.layer)
    mine, kept = layer.init(KEY, x)
    assert jax.tree.leaves(mine) == []
    same(tuple(kept), (params, state))
    expected = case.layer.apply(params, state, x)[0]
    for options in ({}, {"train": True}, {"train": True, "key": KEY}):
        y, after = layer.apply(mine, kept, x, **options)
        same(y, expected)
        same(after, kept)


def test_gradients_pass_through_a_frozen_layer():
    layer, x = fnn.frozen(fnn.dense(2)), jnp.ones((1, 3))
    params, state = layer.init(KEY, x)
    passed = jax.grad(lambda x: layer.apply(params, state, x, train=True)[0].sum())(x)
    np.testing.assert_allclose(passed[0], state.params["kernel"].sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize("optimizer", [fnn.optim.adamw(1e-1, weight_decay=0.5), fnn.optim.sgd(0.1, momentum=0.9)])
def test_nothing_moves_what_is_frozen(optimizer):
    """Neither weight decay, nor momentum, nor a penalty, nor the statistics of the batches."""
    model = fnn.serial(*map(fnn.frozen, BODY), fnn.dense(3))
    found = fnn.transfer(KEY, model, X, TRAINED)
    step = fnn.train_step(model, optimizer, fnn.tasks.multiclass(3), penalty=fnn.optim.l2(0.1))
    train_state = step.init(KEY, X, found.start)
    for number in range(2):
        train_state, _ = jax.jit(step.update)(train_state, jax.random.key(number), (X, Y))
    same(train_state.state, found.start.state)
    assert not np.array_equal(train_state.params[5]["kernel"], found.start.params[5]["kernel"])
    assert not jax.tree.leaves(train_state.params[:5])


def test_a_frozen_layer_computes_in_bfloat16_and_stays_in_float32():
    model = fnn.serial(*map(fnn.frozen, BODY), fnn.dense(3))
    start = fnn.transfer(KEY, model, X, TRAINED).start
    step = fnn.train_step(model, fnn.optim.sgd(0.1), fnn.tasks.multiclass(3), compute_dtype=jnp.bfloat16)
    train_state, loss = jax.jit(step.update)(step.init(KEY, X, start), KEY, (X, Y))
    same(train_state.state, start.state)
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (start, X))
    outputs = model.apply(*half[0], half[1])[0].astype(jnp.float32)
    np.testing.assert_allclose(loss, fnn.tasks.multiclass(3).loss(outputs, Y).mean(), rtol=1e-2)


def test_another_head_and_what_is_new_is_named():
    model = fnn.serial(*map(fnn.frozen, BODY), fnn.dense(3), fnn.prelu())
    found = fnn.transfer(KEY, model, X, TRAINED)
    assert found.fresh == (
        "layer 5, dense(3): bias float32[3], was float32[10]",
        "layer 5, dense(3): kernel float32[4,3], was float32[4,10]",
        "layer 6, prelu(): alpha float32[3]",
    )
    assert found.left == ()
    by_shape = fnn.transfer(KEY, model, X.shape, TRAINED)
    same(by_shape.start, found.start)
    same(found.start.state[0].params, TRAINED.params[0])
    same(found.start.state[1], fnn.Frozen(TRAINED.params[1], TRAINED.state[1]))


def test_what_was_frozen_goes_on_unfrozen_and_the_other_way_round():
    freezing = fnn.serial(fnn.frozen(fnn.serial(*BODY)), fnn.dense(3))
    nested = fnn.serial(fnn.serial(*BODY), fnn.dense(3))
    start = fnn.Trained(*nested.init(KEY, X))
    there = fnn.transfer(KEY, freezing, X, start)
    back = fnn.transfer(jax.random.key(1), nested, X, there.start)
    assert there[1:] == back[1:] == ((), ())
    same(back.start, start)
    same(freezing.apply(*there.start, X)[0], nested.apply(*start, X)[0])


def test_what_stays_behind_is_named_and_nothing_in_common_is_an_error():
    found = fnn.transfer(KEY, fnn.serial(*BODY), X, TRAINED)
    assert found.left == ("params.5.bias float32[10]", "params.5.kernel float32[4,10]")
    with pytest.raises(
        ValueError, match=r"transfer: no array .* the first is layer 0, conv\(7, 3\): bias float32\[7\], was"
    ):
        fnn.transfer(KEY, fnn.serial(fnn.conv(7, 3)), X, TRAINED)


def test_to_begin_with_another_model_as_it_is_says_what_to_write():
    model = fnn.serial(*map(fnn.frozen, BODY), fnn.dense(3))
    step = fnn.train_step(model, fnn.optim.sgd(0.1), fnn.tasks.multiclass(3))
    with pytest.raises(ValueError, match=r"start: layer 5, dense\(3\): kernel .*fnn.transfer\(key, model"):
        step.init(KEY, X, TRAINED)


def test_rates_by_layer():
    """The body ten times slower than the head, the stem not at all."""
    model = fnn.serial(fnn.frozen(BODY[0]), *BODY[1:], fnn.dense(3))
    start = fnn.transfer(KEY, model, X, TRAINED).start
    rates = {"body": fnn.optim.sgd(0.01), "head": fnn.optim.sgd(0.1)}
    optimizer = fnn.optim.partition(rates, fnn.optim.by_path(lambda path: "head" if path.startswith("5/") else "body"))
    step = fnn.train_step(model, optimizer, fnn.tasks.multiclass(3))
    plain = fnn.train_step(model, fnn.optim.sgd(0.1), fnn.tasks.multiclass(3))
    moved, reference = (jax.jit(s.update)(s.init(KEY, X, start), KEY, (X, Y))[0].params for s in (step, plain))

    def steps(params, place, name):
        return params[place][name] - start.params[place][name]

    np.testing.assert_array_equal(steps(moved, 5, "kernel"), steps(reference, 5, "kernel"))
    np.testing.assert_allclose(steps(moved, 1, "scale") * 10, steps(reference, 1, "scale"), rtol=1e-2, atol=1e-6)


def test_a_frozen_model_is_saved_exported_and_rebuilt(tmp_path):
    pytest.importorskip("safetensors")
    model = fnn.serial(fnn.frozen(fnn.serial(*BODY)), fnn.dense(3))
    trained = fnn.Trained(*model.init(KEY, X))
    fnn.save(tmp_path / "m", trained, model=model)
    same(fnn.load(tmp_path / "m", like=(model, X)), trained)
    names = []
    again = fnn.map_layers(lambda layer: names.append(layer.name) or layer, model)
    assert names[0] == "conv(4, 3)"
    same(again.apply(*trained, X)[0], model.apply(*trained, X)[0])
    pytest.importorskip("flatbuffers")
    program = jax.export.export(jax.jit(model.apply))(*trained, X)
    same(jax.export.deserialize(program.serialize()).call(*trained, X), jax.jit(model.apply)(*trained, X))


def test_a_frozen_softmax_still_ends_in_probabilities():
    with pytest.raises(ValueError, match="the model ends in softmax"):
        fnn.tasks.check_pairing(fnn.frozen(fnn.serial(fnn.dense(3), fnn.softmax)), fnn.tasks.multiclass(3))
