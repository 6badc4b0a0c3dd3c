"""Averages of a series and of parameters against loops, pandas and torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnn import optim
from fnn.optim import averaging
from fnn.optim.transform import apply_updates


def loop(series, decay, start, debias):
    average, out = np.zeros_like(series[0]), []
    for t, value in enumerate(series, start=1):
        average = value if t == 1 and start else decay * average + (1 - decay) * value
        out.append(average / (1 - decay**t) if debias else average)
    return np.array(out)


@given(seed=st.integers(0, 1000), decay=st.sampled_from([0.0, 0.3, 0.9, 0.999]), shape=st.sampled_from([(7,), (5, 3)]))
def test_ewma_equals_loop(seed, decay, shape):
    series = np.random.default_rng(seed).normal(size=shape)
    with jax.enable_x64(True):
        for start, debias in [(True, False), (False, False), (False, True)]:
            ours = averaging.ewma(series, decay, init_from_first=start, debias=debias)
            np.testing.assert_allclose(ours, loop(series, decay, start, debias), rtol=1e-12, atol=1e-14)


def test_ewma_equals_pandas(x64):
    pandas = pytest.importorskip("pandas")
    series = np.random.default_rng(0).normal(size=30)
    frame = pandas.Series(series)
    np.testing.assert_allclose(averaging.ewma(series, 0.8), frame.ewm(alpha=0.2, adjust=False).mean(), rtol=1e-12)
    unbiased = averaging.ewma(series, 0.8, init_from_first=False, debias=True)
    np.testing.assert_allclose(unbiased, frame.ewm(alpha=0.2, adjust=True).mean(), rtol=1e-12)


def test_ewma_of_a_constant_is_the_constant():
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        series = jnp.full(50, 3.0, dtype)
        assert averaging.ewma(series, 0.9).dtype == dtype
        np.testing.assert_allclose(averaging.ewma(series, 0.9).astype(float), 3.0, rtol=1e-6)
    assert averaging.ewma(jnp.zeros((0, 2)), 0.9).shape == (0, 2)


def test_ewma_decay_may_be_traced():
    series, decays = jnp.array([1.0, 5.0, 2.0]), jnp.array([0.1, 0.5, 0.9])
    many = jax.vmap(lambda decay: averaging.ewma(series, decay))(decays)
    np.testing.assert_allclose(many, [averaging.ewma(series, float(d)) for d in decays], rtol=1e-6)
    assert np.isfinite(jax.grad(lambda d: averaging.ewma(series, d, init_from_first=False, debias=True).sum())(0.5))


def trajectory(rule, steps=20, dtype=jnp.float64):
    rng = np.random.default_rng(0)
    params = {"w": jnp.asarray(rng.normal(size=(2, 3)), dtype), "b": jnp.asarray(1.0, dtype)}
    state, path, update = rule.init(params), [params], jax.jit(rule.update, donate_argnums=1)
    for _ in range(steps):
        grads = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), dtype), params)
        updates, state = update(grads, state, params)
        params = apply_updates(params, updates)
        path.append(params)
    return path, state


def test_ema_of_parameters_equals_loop(x64):
    path, state = trajectory(averaging.ema_params(optim.sgd(0.1), 0.9))
    ws = np.array([p["w"] for p in path])
    np.testing.assert_allclose(state.ema["w"], loop(ws, 0.9, True, False)[-1], rtol=1e-12)
    path, state = trajectory(averaging.ema_params(optim.sgd(0.1), 0.9, debias=True))
    np.testing.assert_allclose(state.ema["w"], loop(ws[1:], 0.9, False, True)[-1], rtol=1e-12)
    assert int(state.count) == 20


def test_ema_of_parameters_with_decay_one():
    path, state = trajectory(averaging.ema_params(optim.sgd(0.1), 1.0), dtype=jnp.float32)
    np.testing.assert_array_equal(state.ema["w"], path[0]["w"])
    path, state = trajectory(averaging.ema_params(optim.sgd(0.1), 1.0, debias=True), dtype=jnp.float32)
    np.testing.assert_allclose(state.ema["w"], np.mean([p["w"] for p in path[1:]], axis=0), rtol=1e-5)


def test_wrapping_changes_no_update(x64):
    plain, _ = trajectory(optim.sgd(0.1))
    for wrap in (lambda rule: averaging.ema_params(rule, 0.9), averaging.swa_params):
        path, _ = trajectory(wrap(optim.sgd(0.1)))
        np.testing.assert_array_equal(path[-1]["w"], plain[-1]["w"])


@pytest.mark.parametrize(("start", "every"), [(0, 1), (5, 3), (30, 1)])
def test_swa_is_the_mean_of_the_chosen(x64, start, every):
    path, state = trajectory(averaging.swa_params(optim.sgd(0.1), start, every))
    chosen = [p["w"] for t, p in enumerate(path) if t > start and (t - start) % every == 0]
    expected = np.mean(chosen, axis=0) if chosen else path[-1]["w"]
    np.testing.assert_allclose(state.mean["w"], expected, rtol=1e-12)
    assert int(state.averaged) == len(chosen)


def test_swa_equals_torch(x64):
    torch = pytest.importorskip("torch")
    path, state = trajectory(averaging.swa_params(optim.sgd(0.1)))
    module = torch.nn.Linear(3, 2, bias=False, dtype=torch.float64)
    averaged = torch.optim.swa_utils.AveragedModel(module)
    for params in path[1:]:
        module.weight.data = torch.tensor(np.asarray(params["w"]))
        averaged.update_parameters(module)
    np.testing.assert_allclose(state.mean["w"], averaged.module.weight.detach().numpy(), rtol=1e-12)


def test_averages_of_bfloat16_move():
    _, state = trajectory(averaging.ema_params(optim.sgd(1.0), 0.999), steps=5, dtype=jnp.bfloat16)
    assert state.ema["w"].dtype == jnp.float32
    path, _ = trajectory(optim.sgd(1.0), steps=5, dtype=jnp.bfloat16)
    ws = np.array([np.asarray(p["w"], np.float64) for p in path])
    np.testing.assert_allclose(state.ema["w"], loop(ws, 0.999, True, False)[-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: averaging.ewma(jnp.ones(3), 1.5), ValueError, "decay"),
        (lambda: averaging.ewma(jnp.ones(3), 0.5, debias=True), ValueError, "init_from_first=False"),
        (lambda: averaging.ewma(jnp.arange(3), 0.5), TypeError, "floating-point"),
        (lambda: averaging.ewma(jnp.float32(1.0), 0.5), ValueError, r"float32\[\]"),
        (lambda: averaging.ema_params(optim.sgd(0.1), -0.1), ValueError, "decay"),
        (lambda: averaging.swa_params(optim.sgd(0.1), every=0), ValueError, "every"),
    ],
)
def test_misuse(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_a_decay_of_1_without_bias_is_the_mean_so_far():
    series = jnp.array([1.0, 2, 6])
    found = optim.ewma(series, 1.0, init_from_first=False, debias=True)
    np.testing.assert_allclose(found, [1, 1.5, 3], rtol=1e-6)
    np.testing.assert_allclose(found, optim.ewma(series, 1 - 1e-4, init_from_first=False, debias=True), rtol=1e-3)
