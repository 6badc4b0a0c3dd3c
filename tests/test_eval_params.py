"""The parameters to evaluate with are found in whatever the optimizer that keeps them is wrapped."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import fnn
from fnn import optim

KEY = jax.random.key(0)
PARAMS = {"a": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": {"c": jnp.array([4.0, -1.0])}}


class OwnState(NamedTuple):
    first: Any

    def eval_params(self, params):
        return self.first


def first_params():
    """A rule of the user's that evaluates with where it began."""
    return optim.Transform(
        lambda params: OwnState(jax.tree.map(jnp.copy, params)),
        lambda updates, state, params=None, **_: (jax.tree.map(lambda g: -0.1 * g, updates), state),
    )


RULES = {
    "ema_params": lambda: optim.ema_params(optim.sgd(0.1), 0.6),
    "ema_params, debiased": lambda: optim.ema_params(optim.adam(0.1), 0.6, debias=True),
    "swa_params": lambda: optim.swa_params(optim.sgd(0.1), start_step=1),
    "schedule_free": lambda: optim.schedule_free(optim.sgd(0.1), 0.1),
    "lookahead": lambda: optim.lookahead(optim.sgd(0.1), 3, 0.5),
    "optax's schedule_free": lambda: optax.contrib.schedule_free(optax.sgd(0.1), 0.1),
    "own": first_params,
}
A, B = {"a": True, "b": False}, {"a": False, "b": True}
WRAPS = {
    "bare": lambda rule: rule,
    "chain": lambda rule: optim.chain(optim.clip(100.0), rule),
    "chain in chain": lambda rule: optim.chain(optim.identity(), optim.chain(rule)),
    "masked": lambda rule: optim.chain(optim.masked(rule, A), optim.masked(optim.scale(-0.1), B)),
    "partition": lambda rule: optim.partition({"x": rule, "y": optim.sgd(0.1)}, {"a": "x", "b": "y"}),
    "multi_steps": lambda rule: optim.multi_steps(rule, 1),
    "apply_if_finite": lambda rule: optim.apply_if_finite(rule, 3),
    "optax.chain": lambda rule: optax.chain(optax.clip(100.0), rule),
    "optax.partition": lambda rule: optax.partition({"x": rule, "y": optax.sgd(0.1)}, {"a": "x", "b": "y"}),
    "optax.masked": lambda rule: optax.chain(optax.masked(rule, A), optax.masked(optax.scale(-0.1), B)),
    "optax.MultiSteps": lambda rule: optax.MultiSteps(rule, 1).gradient_transformation(),
    "optax.inject_hyperparams": lambda rule: optax.inject_hyperparams(lambda s: optax.chain(optax.scale(s), rule))(1.0),
}


def follow(rule, params=PARAMS, steps=5):
    def step(_, carry):
        params, state = carry
        updates, state = rule.update(jax.tree.map(jnp.sin, params), state, params)
        return optim.apply_updates(params, updates), state

    params, state = jax.lax.fori_loop(0, steps, step, (params, rule.init(params)))
    return state, params


@functools.cache
def alone(name):
    state, params = follow(RULES[name]())
    return optim.eval_params(state, params), params


PAIRS = [(name, wrap) for name in RULES for wrap in WRAPS if name in ("ema_params", "schedule_free")]
PAIRS += [(name, wrap) for name in RULES for wrap in ("masked", "optax.partition") if (name, wrap) not in PAIRS]


@pytest.mark.parametrize(("name", "wrap"), PAIRS)
def test_every_wrapper_lets_through_where_the_average_is(name, wrap):
    with jax.numpy_dtype_promotion("standard"):  # optax relies on it
        state, params = follow(WRAPS[wrap](RULES[name]()))
        found, (expected, _) = optim.eval_params(state, params), alone(name)
    np.testing.assert_allclose(found["a"], expected["a"], rtol=1e-5)
    assert (abs(found["a"] - params["a"]) > 1e-3).any()
    seen = "masked" not in wrap and "partition" not in wrap
    np.testing.assert_allclose(found["b"]["c"], (expected if seen else params)["b"]["c"], rtol=1e-5)


def test_averages_of_each_group_are_its_own():
    rule = optim.partition({"x": RULES["ema_params"](), "y": RULES["schedule_free"]()}, {"a": "x", "b": "y"})
    state, params = follow(rule)
    found = optim.eval_params(state, params)
    for key, name in (("a", "ema_params"), ("b", "schedule_free")):
        alone = {key: PARAMS[key]}
        expected = optim.eval_params(*follow(RULES[name](), alone))
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), {key: found[key]}, expected)


def test_without_an_average_the_parameters_themselves_are_evaluated():
    state, params = follow(optim.chain(optim.adam(0.1), optim.scale(1.0)))
    assert optim.eval_params(state, params) is params


def test_averages_come_in_the_dtype_of_the_parameters():
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    for name in ("ema_params", "swa_params", "schedule_free", "lookahead"):
        found = optim.eval_params(*follow(RULES[name](), params))
        assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.bfloat16)}


def test_lookahead_keeps_its_slow_parameters_as_the_pair_does(x64):
    params = jax.tree.map(lambda p: p.astype(jnp.float64), PARAMS)
    rule = optim.lookahead(optim.adam(0.1), 3, 0.4, reset_state=True)
    pair, state = optim.LookaheadParams.init_synced(params), rule.init(optim.LookaheadParams.init_synced(params))
    for _ in range(7):
        updates, state = rule.update(jax.tree.map(jnp.sin, pair.fast), state, pair)
        pair = optim.apply_updates(pair, updates)
    own_state, fast = follow(rule, params, steps=7)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), fast, pair.fast)
    slow = optim.eval_params(own_state, fast)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), slow, pair.slow)
    jax.tree.map(np.testing.assert_array_equal, optim.eval_params(state, pair), pair)


X = jax.random.normal(KEY, (12, 3))
Y = np.asarray(X @ jnp.array([1.0, -2.0, 0.5]))
TASK, MODEL = fnn.tasks.regression(), fnn.serial(fnn.dense(2), fnn.dense(1))


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["ema_params", "schedule_free"])
def test_runs_score_and_return_what_the_optimizer_evaluates_with(name):
    rule = optim.partition({"x": RULES[name](), "y": optim.sgd(0.05)}, ({"kernel": "x", "bias": "y"}, "x"))
    told = {}

    def look(end):
        told["state"] = end.train_state
        told["trained"] = fnn.evaluate(MODEL, end.train_state.trained, (X, Y), TASK)
        told["given"] = fnn.evaluate(MODEL, end.train_state, (X, Y), TASK)
        told["raw"] = fnn.evaluate(MODEL, end.train_state[:2], (X, Y), TASK)

    trained, history = fnn.fit(
        MODEL, rule, TASK, (X, Y), key=KEY, epochs=2, batch_size=6, validation=(X, Y), callbacks=[look], progress=False
    )
    expected = optim.eval_params(told["state"].opt_state, told["state"].params)
    jax.tree.map(np.testing.assert_array_equal, trained.params, expected)
    np.testing.assert_allclose(history["validation_loss"][-1], told["given"]["loss"], rtol=1e-5)
    np.testing.assert_allclose(told["trained"]["loss"], told["given"]["loss"], rtol=1e-6)
    assert abs(told["raw"]["loss"] - told["given"]["loss"]) > 1e-4
    np.testing.assert_array_equal(fnn.predict(MODEL, told["state"], X), fnn.predict(MODEL, trained, X))
    run = fnn.trainer(MODEL, rule, TASK, epochs=2, batch_size=6)
    same, _ = run(KEY, (X, Y))
    many, _ = jax.vmap(lambda key: run(key, (X, Y)))(jax.random.split(KEY, 2))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), same, trained)
    assert jax.tree.leaves(many)[0].shape[0] == 2
