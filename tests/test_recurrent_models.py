"""Recurrent models: classifier, forecaster, language model, encoder and decoder."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import models

KEY = jax.random.key(0)


def filled(layer, x):
    """Parameters with nothing left at zero, and the state."""
    params, state = jax.jit(layer.init)(KEY, x)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(KEY, len(leaves))
    return tree.unflatten(
        [0.5 * jax.random.normal(k, a.shape, a.dtype) for k, a in zip(keys, leaves, strict=True)]
    ), state


def close(got, want, tolerance):
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.thorough
def test_classifier_and_forecaster_learn():
    x = jax.random.normal(KEY, (64, 6, 1))
    lengths = jax.random.randint(KEY, (64,), 1, 7)
    inside = jnp.arange(6)[None, :, None] < lengths[:, None, None]
    sums = (x * inside.astype(x.dtype)).sum((1, 2))
    for model, targets, task, metric in (
        (
            models.sequence_classifier(2, (8,), cell=fnn.gru, bidirectional=True),
            (sums > 0).astype(jnp.int32),
            fnn.tasks.multiclass(2),
            0.3,
        ),
        (models.forecaster(1, (8, 8), dropout=0.0), sums[:, None], fnn.tasks.regression(), 0.5),
    ):
        run = fnn.trainer(model, fnn.optim.adam(0.02), task, epochs=40, batch_size=32)
        _, history = run(KEY, (fnn.Padded(x, lengths), targets))
        losses = jax.tree.leaves(history["loss"])[0]
        assert float(losses[-1]) < metric * float(losses[0])


@pytest.mark.thorough
def test_language_model_generates_what_it_predicts():
    model, twin = (models.language_model(7, (6, 5), stateful=stateful) for stateful in (False, True))
    prompt = jnp.array([[1, 2, 3], [4, 5, 6]])
    params, state = filled(model, prompt)
    text = models.generate(twin, params, KEY, prompt, 6, temperature=0)
    seen, apply = prompt, jax.jit(model.apply)
    for _ in range(6):
        # What comes after a place does not change what is there: one length for all calls.
        padded = jnp.pad(seen, ((0, 0), (0, 9 - seen.shape[1])))
        following = apply(params, state, padded)[0][:, seen.shape[1] - 1].argmax(-1)
        seen = jnp.concatenate([seen, following[:, None].astype(seen.dtype)], axis=1)
    np.testing.assert_array_equal(text, seen[:, 3:])
    np.testing.assert_array_equal(models.generate(twin, params, KEY, prompt, 6, top_k=1), text)
    draw = functools.partial(models.generate, twin, params, prompt=prompt, steps=6, temperature=2.0)
    np.testing.assert_array_equal(draw(key=KEY), draw(key=KEY))
    assert (np.asarray(draw(key=KEY)) != np.asarray(draw(key=jax.random.key(1)))).any()
    with pytest.raises(ValueError, match="stateful=True"):
        models.generate(model, params, KEY, prompt, 3)
    with pytest.raises(ValueError, match="prompt of integers"):
        models.generate(twin, params, KEY, jnp.zeros((1, 0), int), 3)
    with pytest.raises(ValueError, match="temperature"):
        models.generate(twin, params, KEY, prompt, 3, temperature=-1.0)


@pytest.mark.thorough
def test_sampling_follows_temperature_and_top_k():
    model = models.language_model(4, (3,), stateful=True)
    prompt = jnp.zeros((4000, 1), jnp.int32)
    params, _ = filled(model, prompt[:1])
    logits = models.language_model(4, (3,)).apply(params, ((), ((),), ()), prompt[:1])[0][0, 0]
    drawn = models.generate(model, params, KEY, prompt, 1, temperature=0.7, top_k=3)[:, 0]
    best = np.sort(np.asarray(logits))[-3:].min()
    wanted = jax.nn.softmax(jnp.where(logits >= best, logits / 0.7, -jnp.inf))
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 4000, wanted, atol=0.03)


@pytest.mark.thorough
def test_encoder_decoder_feeds_back_its_own_outputs():
    model = models.encoder_decoder(6, outputs=1, steps=4)
    source, lengths = jax.random.normal(KEY, (3, 5, 2)), jnp.array([5, 2, 1])
    params, state = filled(model, (source, jnp.ones((3, 4, 1))))
    padded = fnn.Padded(source, lengths)
    apply = jax.jit(model.apply)
    y, _ = apply(params, state, padded)
    shown = jnp.concatenate([jnp.zeros((3, 1, 1)), y[:, :-1]], axis=1)
    close(apply(params, state, (padded, shown))[0], y, 1e-5)
    gradient = jax.jit(jax.grad(lambda p: (model.apply(p, state, (padded, shown))[0] ** 2).sum()))(params)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))

    words = models.encoder_decoder(
        6,
        5,
        steps=4,
        source=fnn.embedding(8, 3),
        target=fnn.embedding(5, 3),
        feedback=lambda y: jnp.argmax(y, -1),
        start=2,
    )
    source = jnp.array([[1, 2, 7]])
    params, state = filled(words, (source, jnp.array([[2, 0, 0, 0]])))
    y, _ = jax.jit(words.apply)(params, state, source)
    shown = jnp.concatenate([jnp.array([[2]]), y.argmax(-1)[:, :-1]], axis=1)
    close(jax.jit(words.apply)(params, state, (source, shown))[0], y, 1e-5)


BUILD = {"recurrent": lambda sizes: models.sequence_classifier(3, sizes), "mlp": lambda sizes: models.mlp(sizes, 3)}


@pytest.mark.parametrize("build", BUILD.values(), ids=BUILD)
def test_sizes_are_read_once_and_in_their_order(build):
    x = jnp.ones((1, 2, 4))
    expected = jax.eval_shape(build((8, 5)).init, KEY, x)
    for sizes in (iter([8, 5]), map(int, "85"), {"a": 8, "b": 5}.values(), np.array([8, 5])):
        assert jax.eval_shape(build(sizes).init, KEY, x) == expected
    for sizes in ({8, 5}, frozenset({8}), {8: 1}):
        with pytest.raises(TypeError, match=r"expected (hidden|features) to be a sequence.* got .*8.*; write a tuple"):
            build(sizes)


def test_misuse():
    with pytest.raises(TypeError, match=r"write \(64,\)"):
        models.language_model(5, 64)
    with pytest.raises(TypeError, match=r"sequence of one or more sizes, got \(\)"):
        models.forecaster(1, ())
    with pytest.raises(ValueError, match="the pair"):
        models.encoder_decoder(3, 1, steps=2).init(KEY, jnp.ones((1, 2, 1)))
    stateful = models.encoder_decoder(3, 1, steps=2, source=fnn.batch_norm())
    with pytest.raises(ValueError, match="source layer without state"):
        stateful.init(KEY, (jnp.ones((1, 2, 1)), jnp.ones((1, 2, 1))))


def test_sampling_from_logits_of_16_bits_prefers_no_symbol():
    """Noise drawn in bfloat16 has a few hundred values, and the first symbol wins a tie."""
    flat = fnn.Layer(
        lambda key, x: ((), {"steps": jnp.zeros(())}),
        lambda params, state, x, *, key=None, train=False: (jnp.zeros((*x.shape, 1000), jnp.bfloat16), state),
    )
    drawn = models.generate(flat, (), KEY, jnp.zeros((500, 1), jnp.int32), 1)
    assert 450 < drawn.mean() < 550  # 499.5, give or take 13; 126 in bfloat16


def test_a_layer_in_the_place_of_its_constructor_is_named():
    with pytest.raises(
        TypeError, match=r"forecaster: expected cell to be a function features -> layer, got Layer lstm"
    ):
        models.forecaster(1, cell=fnn.lstm(3))
    with pytest.raises(TypeError, match=r"mlp: expected norm to be a function \(\) -> layer, got Layer layer_norm"):
        models.mlp((4,), 1, norm=fnn.layer_norm())


def test_symbols_that_are_drawn_fit_their_dtype():
    """A prompt of small integers says nothing of a vocabulary that is larger than they count."""
    last = fnn.Layer(
        lambda key, x: ((), {"steps": jnp.zeros(())}),
        lambda params, state, x, *, key=None, train=False: (
            jnp.broadcast_to(jnp.arange(200.0), (*x.shape, 200)),
            state,
        ),
    )
    for dtype, written in (("int8", "int32"), ("uint8", "uint8"), ("int16", "int16")):
        text = models.generate(last, (), KEY, jnp.ones((1, 1), dtype), 2, temperature=0)
        assert text.dtype == written
        assert text.tolist() == [[199, 199]]


def test_a_text_is_not_continued_from_a_symbol_outside_the_vocabulary():
    model = models.language_model(4, (3,), stateful=True)
    params, _ = filled(model, jnp.zeros((2, 1), jnp.int32))
    with pytest.raises(
        ValueError, match="logits after row 1 of the prompt are NaN; expected symbols of the vocabulary"
    ):
        models.generate(model, params, KEY, jnp.array([[3], [4]]), 1)
