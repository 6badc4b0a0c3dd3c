"""Any transformation of optax trains: the step tells it the loss by the names it asks for, whatever it is in."""

import functools
import inspect
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import fnn

KEY = jax.random.key(0)
X = jnp.sin(jnp.arange(18.0)).reshape(6, 3)
Y = jnp.cos(jnp.arange(6.0)).reshape(6, 1)
WEIGHTS = jnp.array([1.0, 2.0, 0.5, 1.0, 0.0, 3.0])
MODEL = fnn.serial(fnn.dropout(0.3), fnn.dense(1))
PENALTY = fnn.optim.l2(0.01)


@pytest.fixture(autouse=True)
def promoting():
    """optax relies on it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def loss_by_hand(params, key):
    """The objective written out: the mean by weights, with the step's dropout, and the penalty."""
    outputs = MODEL.apply(params, (), X, key=key, train=True)[0]
    per_example = ((outputs - Y) ** 2).reshape(len(X), -1).mean(1)
    return (WEIGHTS * per_example).sum() / WEIGHTS.sum() + PENALTY(params)


def steps_of(rule, count, model=MODEL, **options):
    step = fnn.train_step(model, rule, fnn.losses.mse, **options)
    update = jax.jit(step.update)
    train_state, losses = step.init(KEY, X), []
    for number in range(count):
        train_state, loss = update(train_state, jax.random.fold_in(KEY, number), (X, Y, WEIGHTS))
        losses.append(loss)
    return train_state, losses


TOLD = {
    "lbfgs": lambda: optax.lbfgs(),
    "polyak_sgd": lambda: optax.polyak_sgd(),
    "sophia": lambda: optax.contrib.sophia(0.1, update_interval=2),
}


@pytest.mark.parametrize("name", TOLD)
def test_a_rule_that_asks_for_the_loss_takes_the_steps_of_a_loop_by_hand(name):
    rule = TOLD[name]()

    @jax.jit
    def one(params, state, key):
        value_fn = functools.partial(loss_by_hand, key=key)
        value, grad = jax.value_and_grad(value_fn)(params)
        about = {"obj_fn": value_fn} if name == "sophia" else {"value": value, "grad": grad, "value_fn": value_fn}
        updates, state = rule.update(grad, state, params, **about)
        return optax.apply_updates(params, updates), state, value

    got, mine = steps_of(rule, 2, penalty=PENALTY)
    params, losses = MODEL.init(KEY, X)[0], []
    state = rule.init(params)
    for number in range(2):
        params, state, value = one(params, state, jax.random.fold_in(KEY, number))
        losses.append(value)
    np.testing.assert_allclose(mine, losses, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(got.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def every_rule():
    """The rules and wrappers of optax that build from the settings below."""
    inner = optax.sgd(0.1)
    known = {
        "learning_rate": 0.1, "max_linesearch_steps": 5, "max_backtracking_steps": 5, "max_norm": 1.0, "max_delta": 1.0,
        "decay": 0.9, "eta": 0.1, "gamma": 0.1, "step_size": 0.1, "weight_decay": 0.1, "max_consecutive_errors": 3,
        "mask": True, "step_size_fn": lambda count: 0.1, "inner": inner, "opt": inner, "base_optimizer": inner,
        "base_optim": inner, "optimizer": inner, "every_k_schedule": 2, "adv_optimizer": inner,
    }  # fmt: skip
    for module in (optax, optax.contrib):
        for name, build in inspect.getmembers(module, inspect.isfunction):
            parameters = inspect.signature(build).parameters.values()
            kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
            needed = [p.name for p in parameters if p.default is p.empty and p.kind in kinds]
            if not name.startswith("_") and set(needed) <= set(known) and name != "scale_by_muon":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    try:
                        rule = build(**{name: known[name] for name in needed})
                    except (TypeError, ValueError):
                        continue
                if hasattr(rule, "update") and hasattr(rule, "init"):
                    yield name, rule
    yield "MultiSteps", optax.MultiSteps(optax.adam(0.1), 2)


EVERY = dict(every_rule())


@pytest.mark.thorough
@pytest.mark.parametrize("name", EVERY)
def test_every_rule_of_optax_goes_through_the_steps_of_a_run(name):
    """Traced, not computed: the state keeps its shapes and dtypes from step to step."""
    model = fnn.serial(fnn.dense(3), fnn.tanh, fnn.dense(1))
    run = fnn.trainer(model, EVERY[name], fnn.losses.mse, epochs=2, batch_size=3)
    trained, _ = jax.eval_shape(run, KEY, (X, Y))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(trained.params)} == {"float32"}


def test_optax_has_as_many_rules_as_were_tried():
    assert len(EVERY) >= 80
    assert {"lbfgs", "sophia", "polyak_sgd", "schedule_free", "sam", "prodigy", "MultiSteps"} <= set(EVERY)


def told(rule=None):
    """A rule that moves one parameter by what it was told of the loss: zero, where all agrees."""

    def update(updates, state, params=None, *, value, grad, value_fn, **extra):
        again, gradient = jax.value_and_grad(value_fn)(params)
        same = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), gradient, grad)
        off = jnp.stack([jnp.abs(again - value), *jax.tree.leaves(same)]).max()
        return jax.tree.map(jnp.zeros_like, updates), {"off": off, "seen": jnp.float32(1)}

    return optax.GradientTransformationExtraArgs(lambda params: {"off": jnp.float32(1), "seen": jnp.float32(0)}, update)


WRAPS = {
    "bare": lambda rule: rule,
    "chain": lambda rule: fnn.optim.chain(fnn.optim.identity(), fnn.optim.chain(rule)),
    "masked": lambda rule: fnn.optim.masked(rule, kernels),
    "masked by a prefix": lambda rule: fnn.optim.masked(rule, (False, True)),
    "partition": lambda rule: fnn.optim.partition({True: rule, False: fnn.optim.set_to_zero()}, kernels),
    "multi_steps": lambda rule: fnn.optim.multi_steps(rule, 1),
    "apply_if_finite": lambda rule: fnn.optim.apply_if_finite(rule, 2),
    "lookahead": lambda rule: fnn.optim.lookahead(rule, 2, 0.5),
    "ema_params": lambda rule: fnn.optim.ema_params(rule, 0.9),
    "swa_params": lambda rule: fnn.optim.swa_params(rule),
    "schedule_free": lambda rule: fnn.optim.schedule_free(rule, 0.1),
    "optax.chain": lambda rule: optax.chain(optax.identity(), rule),
    "optax.named_chain": lambda rule: optax.named_chain(("a", optax.identity()), ("b", rule)),
    "optax.masked": lambda rule: optax.masked(rule, kernels, mask_compatible_extra_args=True),
    "optax.apply_if_finite": lambda rule: optax.apply_if_finite(rule, 2),
    "optax.MultiSteps": lambda rule: optax.MultiSteps(rule, 1),
    "optax.schedule_free": lambda rule: optax.contrib.schedule_free(rule, 0.1),
    "optax.inject_hyperparams": lambda rule: optax.inject_hyperparams(lambda s: optax.chain(optax.scale(s), rule))(1.0),
}


def kernels(params):
    return fnn.optim.by_path(lambda path: path.endswith("kernel"))(params)


@pytest.mark.thorough
@pytest.mark.parametrize("name", WRAPS)
def test_what_a_rule_is_wrapped_in_hands_the_loss_on(name):
    state = steps_of(WRAPS[name](told()), 1, penalty=PENALTY)[0].opt_state
    found = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(state)}
    (off,) = [leaf for path, leaf in found.items() if path.endswith("['off']")]
    (seen,) = [leaf for path, leaf in found.items() if path.endswith("['seen']")]
    assert seen == 1
    assert off < 1e-6


def test_the_loss_is_that_of_the_state_before_the_step():
    """A layer whose training output depends on its state, as spectral normalization's does."""

    def apply(params, state, x, /, *, key=None, train=False):
        return x * params * state, state + 1

    counting = fnn.Layer(lambda key, x: (jnp.ones(()), jnp.ones(())), apply)
    state = steps_of(told(), 2, fnn.serial(fnn.dense(1), counting))[0].opt_state
    assert state[0]["off"] < 1e-6


def test_optax_lookahead_is_refused_by_name():
    step = fnn.train_step(MODEL, optax.lookahead(optax.sgd(0.1), 2, 0.5), fnn.losses.mse)
    with pytest.raises(TypeError, match=r"optax\.lookahead, whose parameters are pairs.*fnn\.optim\.lookahead"):
        step.init(KEY, X)
