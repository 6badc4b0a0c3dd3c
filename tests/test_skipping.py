"""A step that the optimizer leaves out is left out of the run, counted, and no divergence."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn import optim

KEY = jax.random.key(0)
X = np.asarray(jax.random.normal(KEY, (8, 2)))
Y = np.asarray(X.sum(axis=1, keepdims=True))
BAD = np.where(np.arange(8)[:, None] == 3, np.nan, Y)
MODEL = fnn.dense(1)
SGD = functools.partial(optim.sgd, 0.1)


def loss(outputs, targets):
    return ((outputs - targets) ** 2)[:, 0]


class OwnState(NamedTuple):
    left_out: Any

    def skipped(self, before):
        return self.left_out


def own():
    def update(updates, state, params=None, **_):
        bad = ~jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(updates)]).all()
        return jax.tree.map(lambda g: jnp.where(bad, 0, -0.1 * g), updates), OwnState(bad)

    return optim.Transform(lambda params: OwnState(jnp.array(False)), update)


def large():
    return functools.partial(optim.skip_large_updates, max_squared_norm=1e6)


OPTIMIZERS = {
    "apply_if_finite": lambda: optim.apply_if_finite(SGD(), 3),
    "in a chain": lambda: optim.chain(optim.identity(), optim.apply_if_finite(SGD(), 3)),
    "in groups": lambda: optim.partition(
        {"x": optim.apply_if_finite(SGD(), 3), "y": optim.apply_if_finite(SGD(), 3)}, {"kernel": "x", "bias": "y"}
    ),
    "multi_steps": lambda: optim.multi_steps(SGD(), 1, should_skip_update_fn=optim.skip_not_finite),
    "multi_steps, large": lambda: optim.multi_steps(SGD(), 1, should_skip_update_fn=large()),
    "around another": lambda: optim.multi_steps(optim.apply_if_finite(SGD(), 3), 1),
    "own": own,
    "optax.apply_if_finite": lambda: optax.apply_if_finite(optax.sgd(0.1), 3),
    "optax.MultiSteps": lambda: optax.MultiSteps(
        optax.sgd(0.1), 1, should_skip_update_fn=optax.skip_not_finite
    ).gradient_transformation(),
}


def by_hand(y, epochs):
    """Plain descent on the batches, in order, without the one that holds a NaN."""
    params, _ = MODEL.init(jax.random.split(KEY, 3)[0], X)
    for _ in range(epochs):
        for rows in np.split(np.arange(8), 4):
            gradient = jax.grad(lambda p, rows=rows: loss(MODEL.apply(p, (), X[rows])[0], y[rows]).mean())(params)
            if all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient)):
                params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
    return params


def run(optimizer, data=(X, BAD), **options):
    options = {"epochs": 2, "batch_size": 2, "shuffle": False} | options
    return fnn.trainer(options.pop("model", MODEL), optimizer, loss, **options)(KEY, data)


def close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)


@pytest.mark.thorough
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_goes_on_without_the_steps_that_the_optimizer_leaves_out(name):
    with jax.numpy_dtype_promotion("standard" if "optax" in name else "strict"):
        trained, history = run(OPTIMIZERS[name]())
        clean = run(OPTIMIZERS[name](), (X, Y))[1]
    close(trained.params, by_hand(BAD, 2))
    assert (history["diverged_at"], history["skipped"]) == (-1, 2)
    assert np.isfinite(history["loss"]).all()
    assert (clean["diverged_at"], clean["skipped"]) == (-1, 0)


def test_fit_and_many_at_once_skip_the_same():
    optimizer = OPTIMIZERS["apply_if_finite"]()
    trained, history = fnn.fit(
        MODEL, optimizer, loss, (X, BAD), key=KEY, epochs=2, batch_size=2, shuffle=False, progress=False
    )
    close(trained.params, by_hand(BAD, 2))
    assert (history["diverged_at"], history["skipped"]) == (-1, 2)
    many, rows = jax.vmap(lambda key: fnn.trainer(MODEL, optimizer, loss, epochs=2, batch_size=2)(key, (X, BAD)))(
        jax.random.split(KEY, 3)
    )
    assert rows["skipped"].tolist() == [2, 2, 2]
    assert np.isfinite(many.params["kernel"]).all()


def test_folds_skip_too():
    result = fnn.selection.cross_validate(
        MODEL, OPTIMIZERS["apply_if_finite"](), loss, (X, BAD), folds=2, epochs=2,
        batch_size=2, key=KEY,
    )  # fmt: skip
    assert not result.diverged.any()


def test_accumulation_leaves_one_small_batch_out():
    rule = optim.multi_steps(SGD(), 3, should_skip_update_fn=optim.skip_not_finite)
    trained, history = run(rule, epochs=1)
    params, _ = MODEL.init(jax.random.split(KEY, 3)[0], X)
    rows = np.array([0, 1, 4, 5, 6, 7])
    gradient = jax.grad(lambda p: loss(MODEL.apply(p, (), X[rows])[0], Y[rows]).mean())(params)
    close(trained.params, jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient))
    assert (history["diverged_at"], history["skipped"]) == (-1, 1)


@pytest.mark.parametrize("rule", [SGD, lambda: optim.multi_steps(SGD(), 2), lambda: optim.apply_if_finite(SGD(), 0)])
def test_what_no_optimizer_leaves_out_is_divergence(rule):
    with pytest.warns(RuntimeWarning, match="not finite in epoch 1, step 2"):
        trained, history = run(rule())
    assert history["diverged_at"] == 1
    assert np.isfinite(trained.params["kernel"]).all()


def test_too_many_in_a_row_are_divergence():
    bad = np.where(np.arange(8)[:, None] >= 2, np.nan, Y)
    with pytest.warns(RuntimeWarning, match="not finite in epoch 1, step 4"):
        _, history = run(optim.apply_if_finite(SGD(), 2), (X, bad))
    assert (history["diverged_at"], history["skipped"]) == (3, 2)


def test_running_statistics_do_not_see_a_step_left_out():
    def overflow(x):
        return jnp.where(x[:, :1] == X[3, 0], jnp.inf, x)

    model = fnn.serial(overflow, fnn.batch_norm(), fnn.dense(1))
    trained, history = run(OPTIMIZERS["apply_if_finite"](), (X, Y), model=model)
    assert history["skipped"] == 2
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trained))
