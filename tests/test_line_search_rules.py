"""L-BFGS, its line search and Rprop: optax's numbers, the matrices and loops they stand for, the awkward cases."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

import fnn
from fnn.testing import check_transform

optim = fnn.optim
KEY = jax.random.key(0)
SIZE, STEPS = 4, 6
seeds = st.integers(0, 2**32 - 1)


def convex(seed):
    """A smooth convex function of four numbers, by its curvature, its slope and a point to start from."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(SIZE, SIZE)) * 10.0 ** rng.uniform(-1, 1, size=SIZE)
    return root @ root.T / SIZE + 0.1 * np.eye(SIZE), rng.normal(size=SIZE), 3 * rng.normal(size=SIZE)


def loss(params, curvature, slope):
    p = jnp.concatenate([params["a"], params["b"].ravel()])
    return 0.5 * p @ curvature @ p + slope @ p + jnp.log(jnp.cosh(p)).sum()


RULES = {
    "lbfgs": lambda lib: lib.lbfgs(memory_size=3),
    "lbfgs, unscaled, by rate": lambda lib: lib.lbfgs(0.5, 2, False),
    "steepest descent": lambda lib: lib.chain(
        lib.sgd(0.3),
        lib.scale_by_zoom_linesearch(8, max_learning_rate=0.7, curv_rtol=0.1, tol=1e-9, approx_dec_rtol=None),
    ),
}


@functools.lru_cache
def path(lib, name):
    """Losses and states of a few steps, compiled once for all problems."""
    rule = RULES[name](lib)

    def run(curvature, slope, start):
        value_fn = functools.partial(loss, curvature=curvature, slope=slope)

        def step(carry, _):
            params, state = carry
            value, grad = jax.value_and_grad(value_fn)(params)
            updates, state = rule.update(grad, state, params, value=value, grad=grad, value_fn=value_fn)
            return (lib.apply_updates(params, updates), state), (value, state[-1])

        params = {"a": start[:1], "b": start[1:].reshape(1, SIZE - 1)}
        return jax.lax.scan(step, (params, rule.init(params)), None, STEPS)[1]

    return jax.jit(run)


@pytest.mark.thorough
@pytest.mark.parametrize("name", RULES)
@hypothesis.given(seed=seeds)
def test_the_path_is_that_of_optax(name, seed, x64):
    problem = convex(seed)
    values, state = path(optim, name)(*problem)
    with jax.numpy_dtype_promotion("standard"):
        expected, other = path(optax, name)(*problem)
    # Near the minimum rounding decides what a search tries.
    far = np.asarray(expected - expected.min() > 1e-6 * (1 + abs(expected.min())))
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-9)
    assert [leaf.dtype for leaf in jax.tree.leaves(state)] == [leaf.dtype for leaf in jax.tree.leaves(other)]
    np.testing.assert_allclose(state.learning_rate[far], other.learning_rate[far], rtol=1e-6)
    assert (np.diff(values) <= 1e-9 * abs(values[0])).all()


@hypothesis.given(seed=seeds)
def test_the_step_found_satisfies_the_strong_wolfe_conditions(seed, x64):
    curvature, slope, start = problem = convex(seed)
    values, state = path(optim, "lbfgs")(*problem)
    state = jax.tree.map(lambda leaf: leaf[0], state)
    gradient = jax.grad(loss)({"a": start[:1], "b": start[1:].reshape(1, -1)}, curvature, slope)
    g = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])
    u = -g * min(1, 1 / np.linalg.norm(g))
    after = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.grad)])
    assert values[1] <= values[0] + 1e-4 * state.learning_rate * (g @ u) + 1e-12
    assert abs(after @ u) <= 0.9 * abs(g @ u) + 1e-12
    assert state.info.decrease_error == state.info.curvature_error == 0


@functools.lru_cache
def directions(memory, scaled):
    rule = optim.scale_by_lbfgs(memory, scaled)

    def run(params, gradients):
        def step(state, at):
            u, state = rule.update(at[1], state, at[0])
            return state, u

        return jax.lax.scan(step, rule.init(params[0]), (params, gradients))[1]

    return jax.jit(run)


def by_matrices(params, gradients, memory):
    """BFGS with the whole matrix, begun anew from the last few pairs at every step."""
    for k, g in enumerate(gradients):
        pairs = [(params[j + 1] - params[j], gradients[j + 1] - gradients[j]) for j in range(max(0, k - memory), k)]
        s, y = pairs[-1] if pairs else (None, None)
        scale = (s @ y / (y @ y) if s @ y > 0 else min(1, 1 / np.linalg.norm(g))) if pairs else None
        inverse = np.eye(len(g)) * (min(1, 1 / np.linalg.norm(g)) if scale is None else scale)
        for s, y in pairs:
            if s @ y > 0:
                v = np.eye(len(g)) - np.outer(s, y) / (s @ y)
                inverse = v @ inverse @ v.T + np.outer(s, s) / (s @ y)
        yield inverse @ g


@hypothesis.given(seed=seeds, of_a_function=st.booleans())
def test_two_loops_are_the_matrix_they_stand_for_and_it_stays_positive(seed, of_a_function, x64):
    curvature, slope, _ = convex(seed)
    rng = np.random.default_rng(seed)
    params = rng.normal(size=(STEPS, SIZE))
    gradients = params @ curvature + slope if of_a_function else rng.normal(size=(STEPS, SIZE))
    got = np.asarray(directions(3, True)(params, gradients))
    expected = np.array(list(by_matrices(params, gradients, 3)))
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9 * abs(expected).max())
    assert (np.einsum("ki,ki->k", got, gradients) > 0).all()


def test_steps_that_say_nothing_of_the_curvature_leave_finite_numbers():
    rule = optim.scale_by_lbfgs(3)
    params, state = jnp.ones(2), rule.init(jnp.ones(2))
    nothing, first, other = jnp.zeros(2), jnp.array([1.0, 2.0]), jnp.array([-1.0, 1.0])
    for moved, gradient in [(0.0, nothing), (0.0, nothing), (0.0, first), (0.0, other), (1.0, other), (2.0, nothing)]:
        u, state = rule.update(gradient, state, params + moved)
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((u, state)))
        assert (u @ gradient > 0) == gradient.any()


def test_a_zero_gradient_is_one_trial_and_no_step():
    rule = optim.lbfgs()
    params = jnp.zeros(3)
    value, grad = jax.value_and_grad(loss_of_squares)(params)
    updates, state = rule.update(grad, rule.init(params), params, value=value, grad=grad, value_fn=loss_of_squares)
    assert not updates.any()
    assert int(state[-1].info.num_linesearch_steps) == 1


def loss_of_squares(params):
    return jnp.sum(jnp.abs(params) ** 2)


def test_a_search_steps_back_from_where_the_loss_is_no_number():
    def barrier(p):
        return jnp.sum(p - jnp.log(p))

    rule = optim.chain(optim.sgd(100.0), optim.scale_by_zoom_linesearch(20))
    params = jnp.array([3.0, 2.0])
    value, grad = jax.value_and_grad(barrier)(params)
    updates, _ = rule.update(grad, rule.init(params), params, value=value, grad=grad, value_fn=barrier)
    assert barrier(params + updates) < value

    def nowhere(p):
        return jnp.where((p == params).all(), value, jnp.nan)

    updates, _ = rule.update(grad, rule.init(params), params, value=value, grad=grad, value_fn=nowhere)
    assert not updates.any()


def test_complex_parameters_are_searched_along_the_conjugate():
    target = jnp.array([1 + 2j, -3j], jnp.complex64)

    def distance(p):
        return jnp.sum(jnp.abs(p - target) ** 2)

    rule = optim.lbfgs()
    params, state = jnp.zeros(2, jnp.complex64), rule.init(target)
    for _ in range(3):
        value, grad = jax.value_and_grad(distance)(params)
        updates, state = rule.update(grad.conj(), state, params, value=value, grad=grad.conj(), value_fn=distance)
        params = optim.apply_updates(params, updates)
    np.testing.assert_allclose(params, target, atol=1e-5)


X = jnp.linspace(-1, 1, 16).reshape(16, 1)
DATA = (X, jnp.sin(3 * X[:, 0]))
MODEL = fnn.serial(fnn.dense(6), fnn.tanh, fnn.dense(1))


@pytest.mark.thorough
def test_many_runs_at_once_do_not_touch_each_other():
    run = fnn.trainer(MODEL, optim.lbfgs(memory_size=4), fnn.tasks.regression(), epochs=12, batch_size=None)
    keys, together = jax.random.split(KEY, 3), jax.jit(jax.vmap(run, (0, None)))
    losses, turned = (np.asarray(together(each, DATA)[1]["loss"]) for each in (keys, keys[jnp.array([1, 2, 0])]))
    np.testing.assert_allclose(turned, losses[[1, 2, 0]], rtol=1e-6)
    assert (losses[:, -1] < 0.1 * losses[:, 0]).all()
    assert (np.diff(losses, axis=1) <= 1e-6).all()


@functools.lru_cache
def rprop_path():
    rule = optim.rprop(0.1, min_step_size=1e-3, max_step_size=0.3)
    return jax.jit(
        lambda gradients: jax.lax.scan(lambda s, g: rule.update(g, s)[::-1], rule.init(gradients[0]), gradients)
    )


@hypothesis.given(seed=seeds)
def test_rprop_is_the_loop_of_its_paper(seed, x64):
    gradients = np.random.default_rng(seed).choice([-2.0, -1e-200, 0.0, 1e-200, 3.0], size=(12, SIZE))
    size, last = np.full(SIZE, 0.1), np.zeros(SIZE)
    _, got = rprop_path()(gradients)
    for g, found in zip(gradients, got, strict=True):
        for i in range(SIZE):
            agreement = np.sign(g[i]) * np.sign(last[i])
            if agreement > 0:
                size[i] = min(1.2 * size[i], 0.3)
            if agreement < 0:
                size[i] = max(0.5 * size[i], 1e-3)
            last[i] = 0 if agreement < 0 else -size[i] * np.sign(g[i])
            last[i] *= -1
        np.testing.assert_allclose(found, -last, rtol=1e-12)


def test_rprop_keeps_the_state_of_optax_and_steps_one_call_earlier(x64):
    """optax returns what it has just replaced: the step of the gradient before, the first being none."""
    gradients = np.random.default_rng(0).choice([-2.0, -0.1, 0.0, 0.1, 3.0], size=(12, SIZE))
    mine, theirs = (lib.rprop(0.1, max_step_size=0.3) for lib in (optim, optax))
    states, step = [mine.init(gradients[0]), theirs.init(gradients[0])], np.zeros(SIZE)
    for g in gradients:
        new, states[0] = mine.update(g, states[0])
        with jax.numpy_dtype_promotion("standard"):
            late, states[1] = theirs.update(g, states[1])
        np.testing.assert_allclose(late, np.where(g * step > 0, 0, step), rtol=1e-12)
        fnn_state, optax_state = (jax.tree.leaves_with_path(state) for state in states)
        assert [jax.tree_util.keystr(path) for path, _ in fnn_state] == [
            jax.tree_util.keystr(path) for path, _ in optax_state
        ]
        for (_, a), (_, b) in zip(fnn_state, optax_state, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
        step = np.asarray(new)


def test_directions_keep_the_protocol():
    rule = optim.scale_by_lbfgs(2)
    params = {"a": np.zeros(3), "b": [None, np.zeros((2, 1))]}
    assert check_transform(rule, rule, dtype="float32", steps=3, examples=2, params=params) == 0


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: optim.scale_by_lbfgs(0), ValueError, "memory_size >= 1, got 0"),
        (lambda: optim.scale_by_zoom_linesearch(0), ValueError, "max_linesearch_steps"),
        (lambda: optim.scale_by_zoom_linesearch(5, increase_factor=1.0), ValueError, "increase_factor"),
        (lambda: optim.scale_by_zoom_linesearch(5, initial_guess_strategy="two"), ValueError, "'one', 'keep'"),
        (
            lambda: optim.lbfgs().update(jnp.ones(1), optim.lbfgs().init(jnp.ones(1))),
            ValueError,
            "needs the parameters",
        ),
        (
            lambda: optim.lbfgs().update(jnp.ones(1), optim.lbfgs().init(jnp.ones(1)), jnp.ones(1), value=1.0),
            ValueError,
            r"grad and value_fn did not come; write update\(updates, state, params, value=loss",
        ),
        (lambda: optim.rprop(0.1, eta_minus=1.0), ValueError, "eta_minus"),
        (
            lambda: optim.rprop(0.1).init(jnp.ones(1, jnp.complex64)),
            TypeError,
            r"parameters to be real, got complex64\[1\]",
        ),
    ],
)
def test_what_cannot_be_is_said(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_a_search_that_found_no_step_does_not_keep_its_size_of_0():
    def search(state, params, loss):
        value, grad = 9.0, jnp.array([6.0])
        return rule.update(grad, state, params, value=value, grad=grad, value_fn=loss)

    rule, params = optim.chain(optim.sgd(1.0), optim.scale_by_zoom_linesearch(4)), jnp.array([3.0])
    stay, state = search(rule.init(params), params, lambda p: jnp.sum(p) * jnp.nan)
    step, _ = search(state, params, lambda p: jnp.sum(p**2))
    assert stay.tolist() == [0]
    assert step.tolist() == [-3]
