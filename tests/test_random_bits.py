"""Bits in one pass over memory are those of `jax.random`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import initializers, kernels, random_bits
from fnn.random_bits import in_one_pass

KEY = jax.random.key(11)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.uint16, jnp.uint32])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (0, 2), (2, 3, 4)])
def test_bits_are_those_of_jax(dtype, shape):
    np.testing.assert_array_equal(jax.random.bits(in_one_pass(KEY), shape, dtype), jax.random.bits(KEY, shape, dtype))


@pytest.mark.parametrize(
    "draw",
    [
        lambda key: jax.random.normal(key, (33,)),
        lambda key: jax.random.truncated_normal(key, -2, 2, (33,)),
        lambda key: jax.random.uniform(key, (5, 7), jnp.bfloat16),
        lambda key: jax.random.key_data(jax.random.split(key, 3)),
        lambda key: jax.random.key_data(jax.random.fold_in(key, 9)),
    ],
)
def test_draws_are_those_of_jax_also_of_many_keys(draw):
    np.testing.assert_array_equal(draw(in_one_pass(KEY)), draw(KEY))
    keys = jax.random.split(KEY, 4)
    alone = np.stack([draw(key) for key in keys])
    np.testing.assert_array_equal(jax.jit(jax.vmap(lambda key: draw(in_one_pass(key))))(keys), alone)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_new_keys_are_those_of_jax_known_and_traced(count):
    expected = jax.random.key_data(jax.random.split(KEY, count))
    np.testing.assert_array_equal(jax.random.key_data(random_bits.split(KEY, count)), expected)
    np.testing.assert_array_equal(
        jax.jit(lambda key: jax.random.key_data(random_bits.split(key, count)))(KEY), expected
    )


@pytest.mark.parametrize("number", [0, 5, 2**32 - 1, np.int64(9), np.uint32(4), jnp.asarray(6)])
def test_a_number_is_folded_in_as_jax_does(number):
    expected = jax.random.key_data(jax.random.fold_in(KEY, number))
    np.testing.assert_array_equal(jax.random.key_data(random_bits.fold_in(KEY, number)), expected)


@pytest.mark.parametrize("number", [-1, 2**32, np.int64(2**32 + 5)])
def test_a_number_that_32_bits_do_not_hold_is_refused_as_by_jax(number):
    def outcome(fold_in):
        try:
            return jax.random.key_data(fold_in(KEY, number)).tolist()
        except Exception as error:
            return type(error)

    assert outcome(random_bits.fold_in) == outcome(jax.random.fold_in)


@pytest.mark.devices(2)
@pytest.mark.parametrize("derive", [random_bits.split, lambda key: random_bits.fold_in(key, 1)])
def test_new_keys_stand_on_the_device_of_their_key(derive):
    key = jax.device_put(KEY, jax.devices()[1])
    assert derive(key).devices() == {jax.devices()[1]}
    assert jax.random.key_data(derive(key)).committed
    assert not jax.random.key_data(derive(KEY)).committed


@pytest.mark.parametrize("key", [jax.random.key(0, impl="rbg"), jax.random.PRNGKey(4)], ids=["rbg", "raw"])
def test_new_keys_of_other_generators_are_those_of_jax(key):
    words = lambda key: key if key.dtype == jnp.uint32 else jax.random.key_data(key)  # noqa: E731
    np.testing.assert_array_equal(words(random_bits.split(key, 3)), words(jax.random.split(key, 3)))
    np.testing.assert_array_equal(words(random_bits.fold_in(key, 3)), words(jax.random.fold_in(key, 3)))


def test_new_keys_of_a_known_key_compile_nothing(monkeypatch):
    monkeypatch.delattr(jax.random, "split")
    monkeypatch.delattr(jax.random, "fold_in")
    assert random_bits.split(KEY, 3).shape == (3,)
    assert random_bits.fold_in(KEY, 3).shape == ()


@pytest.mark.parametrize("keys", [jax.random.split(KEY, 4), jax.random.split(jax.random.PRNGKey(5), 4)])
def test_new_keys_of_many_that_vmap_maps_over_are_those_of_jax(keys):
    words = lambda key: key if key.dtype == jnp.uint32 else jax.random.key_data(key)  # noqa: E731
    expected = words(jax.vmap(lambda key: jax.random.split(key, 3))(keys))
    mapped = jax.vmap(lambda key: random_bits.split_mapped(key, 3))
    np.testing.assert_array_equal(words(mapped(keys)), expected)
    np.testing.assert_array_equal(words(jax.jit(mapped)(keys)), expected)
    twice = jax.vmap(mapped)(keys.reshape(2, 2, *keys.shape[1:]))
    np.testing.assert_array_equal(words(twice).reshape(expected.shape), expected)


def test_new_keys_of_many_known_keys_that_vmap_maps_over_compile_nothing():
    keys, told = jax.random.split(KEY, 5), []  # a number of its own, so that JAX knows no program for it yet

    def listen(event, *_, **__):
        told.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        assert jax.vmap(lambda key: random_bits.split_mapped(key, 6))(keys).shape == (5, 6)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not [event for event in told if "backend_compile" in event]


@pytest.mark.parametrize("derive", [random_bits.split, lambda key: random_bits.fold_in(key, 1)])
def test_many_keys_at_once_are_refused_as_by_jax(derive):
    with pytest.raises(ValueError, match="single key"):
        derive(jax.random.split(KEY))


@pytest.mark.parametrize("key", [jax.random.key(0, impl="rbg"), jax.random.key_data(KEY)], ids=["rbg", "raw"])
def test_other_keys_stay_as_they_are(key):
    assert in_one_pass(key) is key


def test_threefry_as_it_was_stays_as_it_is():
    with jax.threefry_partitionable(False):
        assert in_one_pass(KEY) is KEY


@pytest.mark.parametrize("draw", [initializers.normal(), lambda key, shape: kernels.keep_mask(key, shape, 0.5)])
def test_a_key_used_twice_is_found(draw):
    with jax.debug_key_reuse(True):
        key = jax.random.key(3)
        draw(key, (2,))
        with pytest.raises(jax.errors.KeyReuseError):
            draw(key, (2,))


@pytest.mark.parametrize("missing", ["jax.extend.random.define_prng_impl"])
def test_a_jax_that_takes_no_generator_uses_its_own(monkeypatch, missing):
    monkeypatch.delattr(missing)
    random_bits._generator.cache_clear()
    try:
        assert in_one_pass(KEY) is KEY
    finally:
        random_bits._generator.cache_clear()


def test_bits_are_drawn_in_no_loop():
    lowered = jax.jit(lambda key: jax.random.bits(in_one_pass(key), (64,))).lower(KEY)
    assert "while" not in lowered.as_text()
    assert "while" in jax.jit(lambda key: jax.random.bits(key, (64,))).lower(KEY).as_text()
