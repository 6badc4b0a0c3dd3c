"""JAX's strict settings: no rank is promoted, nothing leaks out of a trace, and every intermediate is a number."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_layer import LAYERS, MODELS

import fnn

KEY = jax.random.key(0)


@pytest.mark.parametrize("name", [*LAYERS, *MODELS])
def test_no_layer_promotes_ranks(name):
    case = (LAYERS | MODELS)[name]

    def run(x):
        params, state = case.layer.init(KEY, x)
        case.layer.apply(params, state, x, key=KEY)

        def loss(params):
            y = case.layer.apply(params, state, x, key=KEY, train=True)[0]
            return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(y))

        return jax.grad(loss)(params)

    with jax.numpy_rank_promotion("raise"):
        jax.eval_shape(run, case.x(3))


SETTINGS = {
    "rank promotion": lambda: jax.numpy_rank_promotion("raise"),
    "checks": lambda: jax.enable_checks(True),
    "tracer leaks": jax.checking_leaks,
    "debug nans": lambda: jax.debug_nans(True),
}


@pytest.mark.thorough
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_training_step_runs_under_every_strict_setting(setting):
    model = fnn.serial(
        *(fnn.conv(4, 3), fnn.batch_norm(), fnn.relu, fnn.lstm(3, peephole=True, return_sequences=True)),
        *(fnn.layer_norm(), fnn.dropout(0.2), fnn.gru(3), fnn.dense(2)),
    )
    task, x, y = fnn.tasks.multiclass(2), np.ones((4, 5, 2), np.float32), np.array([0, 1, 1, 0], np.int32)
    step = fnn.train_step(model, fnn.optim.adam(1e-2), task)
    with contextlib.ExitStack() as stack:
        stack.enter_context(SETTINGS[setting]())
        train_state = step.init(KEY, x)
        train_state, loss = jax.jit(step.update)(train_state, KEY, (x, y))
        assert np.isfinite(loss)
        assert np.isfinite(fnn.evaluate(model, train_state.trained, (x, y), task)["loss"])
