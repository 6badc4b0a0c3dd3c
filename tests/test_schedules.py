"""Schedules against optax and torch, step by step; exact for large steps; hyper-parameters may be traced."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fnn import schedules

CYCLE = dict(init_value=0.01, peak_value=0.7, warmup_steps=7, decay_steps=40, end_value=0.05, exponent=1.5)
# name, positional arguments, keyword arguments: the same words for both libraries
SAME = [
    ("constant_schedule", (0.3,), {}),
    ("polynomial_schedule", (0.7, 0.01, 3, 40, 7), {}),
    ("polynomial_schedule", (0.7, 0.01, 2, 0), {}),
    ("polynomial_schedule", (0.7, 0.01, 2, 10, -3), {}),
    ("linear_schedule", (0.1, 0.9, 30, 4), {}),
    ("piecewise_constant_schedule", (0.5, {10: 0.7, 50: 0.7, 80: 0.1}), {}),
    ("piecewise_constant_schedule", (0.5,), {}),
    ("exponential_decay", (0.5, 13, 0.8), dict(transition_begin=5)),
    ("exponential_decay", (0.5, 13, 0.8), dict(staircase=True, end_value=0.2)),
    ("exponential_decay", (0.5, 13, 1.2), dict(end_value=0.9)),
    ("exponential_decay", (0.5, 0, 0.8), {}),
    ("exponential_decay", (0.5, 13, 0.0), {}),
    ("exponential_decay", (0.5, 1, 0.93), {}),
    ("cosine_decay_schedule", (0.5, 60), dict(alpha=0.1, exponent=1.7)),
    ("piecewise_interpolate_schedule", ("linear", 1.0, {10: 0.5, 60: 3.0}), {}),
    ("piecewise_interpolate_schedule", ("cosine", 1.0, {10: 0.5, 60: 3.0}), {}),
    ("linear_onecycle_schedule", (90, 0.5), {}),
    ("linear_onecycle_schedule", (90, 0.5, 0.0, 0.5, 3.0, 7.0), {}),
    ("cosine_onecycle_schedule", (90, 0.5), {}),
    ("warmup_constant_schedule", (0.1, 0.9, 20), {}),
    ("warmup_cosine_decay_schedule", tuple(CYCLE.values()), {}),
    ("warmup_cosine_decay_schedule", (0.0, 0.0, 3, 9), {}),
    ("warmup_cosine_decay_schedule", (0.2, 0.5, 0, 9), {}),
    ("warmup_exponential_decay_schedule", (0.0, 0.5, 10, 20, 0.7, 5, True, 0.1), {}),
    ("sgdr_schedule", ([CYCLE, CYCLE | {"peak_value": 0.4, "decay_steps": 25}],), {}),
]
COUNTS = np.arange(110)


def over_steps(schedule):
    return np.asarray(jax.jit(jax.vmap(lambda count: jnp.asarray(schedule(count), float)))(COUNTS))


@pytest.mark.parametrize(("name", "args", "kwargs"), SAME, ids=lambda value: value if isinstance(value, str) else "")
def test_equals_optax(x64, name, args, kwargs):
    ours = over_steps(getattr(schedules, name)(*args, **kwargs))
    with jax.numpy_dtype_promotion("standard"):
        theirs = over_steps(getattr(optax.schedules, name)(*args, **kwargs))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)


def test_join_equals_optax(x64):
    parts = [(schedules, schedules.join_schedules), (optax.schedules, optax.join_schedules)]
    results = []
    for module, join in parts:
        pieces = [module.constant_schedule(0.5), module.linear_schedule(0.5, 0.1, 20), module.constant_schedule(0.2)]
        with jax.numpy_dtype_promotion("standard"):
            results.append(over_steps(join(pieces, [30, 60])))
    np.testing.assert_allclose(*results, rtol=1e-14)


TORCH = {
    "StepLR": (dict(step_size=50, gamma=0.5), lambda **k: schedules.step_decay(0.3, **k)),
    "MultiStepLR": (dict(milestones=[50, 125, 160], gamma=0.1), lambda **k: schedules.multi_step(0.3, **k)),
    "StepLR every 20": (dict(step_size=20, gamma=0.7), lambda **k: schedules.step_decay(0.3, **k)),
    "MultiStepLR 0.7": (dict(milestones=[10, 50, 200], gamma=0.7), lambda **k: schedules.multi_step(0.3, **k)),
    "ExponentialLR": (dict(gamma=0.97), lambda gamma: schedules.exponential_decay(0.3, 1, gamma)),
    "CosineAnnealingLR": (
        dict(T_max=220, eta_min=0.03),
        lambda T_max, eta_min: schedules.cosine_decay_schedule(0.3, T_max, eta_min / 0.3),
    ),
}


@pytest.mark.parametrize("name", TORCH)
def test_equals_torch(x64, name):
    torch = pytest.importorskip("torch")
    kwargs, build = TORCH[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    reference = getattr(torch.optim.lr_scheduler, name.split()[0])(optimizer, **kwargs)
    rates = []
    for _ in range(220):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    ours = jax.vmap(build(**kwargs))(jnp.arange(220))
    np.testing.assert_allclose(ours, rates, rtol=1e-12)


def test_textbook_cases_in_epochs():
    halved = schedules.in_epochs(schedules.step_decay(1.0, 20, 0.7), steps_per_epoch=32)
    assert [round(float(halved(32 * epoch + 31)), 6) for epoch in (0, 19, 20, 40)] == [1.0, 1.0, 0.7, 0.49]
    fallen = schedules.in_epochs(schedules.multi_step(1.0, [10, 50, 200], 0.7), steps_per_epoch=32)
    assert [round(float(fallen(32 * epoch)), 6) for epoch in (9, 10, 50, 200)] == [1.0, 0.7, 0.49, 0.343]


def test_a_warm_up_in_epochs_rises_with_every_update():
    warm = schedules.in_epochs(schedules.warmup_cosine_decay_schedule(0.0, 1.0, 2, 10), steps_per_epoch=4)
    rates = np.asarray(jax.jit(jax.vmap(warm))(jnp.arange(40)))
    np.testing.assert_allclose(rates[:9], np.arange(9) / 8, rtol=1e-6)
    assert (np.diff(rates[8:]) < 0).all()
    in_updates = schedules.warmup_cosine_decay_schedule(0.0, 1.0, 8, 40)
    np.testing.assert_allclose(rates, jax.vmap(in_updates)(jnp.arange(40)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 3, 1000, 1_000_003])
def test_a_step_at_a_whole_epoch_comes_with_its_first_update_however_long_epochs_are(steps):
    epochs = np.array([0, 1, 7, 600, 2000])
    number = schedules.in_epochs(jnp.floor, steps)
    count = epochs * steps
    np.testing.assert_array_equal(jax.vmap(number)(jnp.asarray(count, jnp.int32)), epochs)
    np.testing.assert_array_equal(jax.vmap(number)(jnp.asarray(count + steps - 1, jnp.int32)), epochs)


def test_inverse_sqrt(x64):
    t = np.arange(1000)
    plain = over_steps(schedules.inverse_sqrt_schedule(0.3, 16))
    np.testing.assert_allclose(plain, 0.3 * np.sqrt(16 / np.maximum(t[:110], 16)), rtol=1e-14)
    noam = jax.vmap(schedules.warmup_inverse_sqrt_schedule(0.0, 0.3, 100))(t)
    expected = 0.3 * np.minimum(t / 100, np.sqrt(100 / np.maximum(t, 1)))
    np.testing.assert_allclose(noam, expected, rtol=1e-14)


def test_fractional_power_ends_at_the_end_value(x64):
    """Rounding must not push 1 - t/T below zero, whose fractional power is NaN."""
    values = over_steps(schedules.polynomial_schedule(0.7, 0.01, 2.5, 40, 7))
    left = 1 - np.clip(COUNTS - 7, 0, 40) / 40
    np.testing.assert_allclose(values, 0.69 * left**2.5 + 0.01, rtol=1e-12)


@pytest.mark.parametrize("step", [10, 25])
def test_the_end_of_a_decay_has_a_derivative(x64, step):
    make = {
        "polynomial": lambda rate, steps, power: schedules.polynomial_schedule(rate, 0.25, power, steps),
        "cosine": lambda rate, steps, power: schedules.cosine_decay_schedule(rate, steps, 0.25, power),
    }
    for schedule in make.values():
        slopes = jax.grad(lambda *settings: schedule(*settings)(step), argnums=(0, 1, 2))(1.0, 10.0, 0.5)
        assert slopes[1:] == (0, 0)
        assert slopes[0] in (0, 0.25)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_a_cycle_of_few_steps_ends_where_long_ones_end(steps):
    for cycle in (schedules.linear_onecycle_schedule, schedules.cosine_onecycle_schedule):
        np.testing.assert_allclose(cycle(steps, 1.0)(steps), cycle(100, 1.0)(100), rtol=1e-5)
    short = schedules.linear_onecycle_schedule(10, 1.0, 0.3, 0.3)
    np.testing.assert_allclose([short(2), short(3), short(10)], [1 / 25 + (1 - 1 / 25) * 2 / 3, 1 / 25, 1 / 25e4], 1e-5)


def test_restarts_start_again():
    schedule = schedules.sgdr_schedule([dict(init_value=0.0, peak_value=1.0, warmup_steps=0, decay_steps=10)] * 3)
    assert [float(schedule(t)) for t in (0, 10, 20)] == [1.0, 1.0, 1.0]
    assert float(schedule(9)) < 0.05


def test_boundaries_are_exact_for_steps_beyond_float32():
    boundary = 2**24 + 1
    for schedule in (
        schedules.multi_step(1.0, [boundary], 0.5),
        schedules.piecewise_constant_schedule(1.0, {boundary: 0.5}),
        schedules.step_decay(1.0, boundary, 0.5),
        schedules.exponential_decay(1.0, boundary, 0.5, staircase=True),
        schedules.join_schedules([lambda t: 1.0, lambda t: 0.5], [boundary]),
    ):
        values = [float(jax.jit(schedule)(jnp.int32(t))) for t in (boundary - 1, boundary, boundary + 1)]
        assert values == [1.0, 0.5, 0.5]


def test_float32_stays_close_to_float64():
    schedule = schedules.linear_onecycle_schedule(1000, 1.0)
    count = jnp.arange(1001)
    low = jax.vmap(schedule)(count)
    with jax.enable_x64(True):
        high = jax.vmap(schedule)(jnp.arange(1001))
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(low), np.asarray(high), rtol=5e-6)


BUILD = {
    "polynomial": lambda v: schedules.polynomial_schedule(v, v / 10, 2.0, 10 * v, v),
    "exponential": lambda v: schedules.exponential_decay(v, v, v / 3, end_value=v / 100),
    "cosine": lambda v: schedules.cosine_decay_schedule(v, 10 * v, v / 10, v),
    "step": lambda v: schedules.step_decay(v, v, v / 3),
    "multi_step": lambda v: schedules.multi_step(v, [2, 4], v / 3),
    "piecewise": lambda v: schedules.piecewise_constant_schedule(v, {2: v / 3}),
    "inverse_sqrt": lambda v: schedules.inverse_sqrt_schedule(v, v),
    "warmup_cosine": lambda v: schedules.warmup_cosine_decay_schedule(0.0, v, 2, 10, v / 10),
    "onecycle": lambda v: schedules.cosine_onecycle_schedule(10, v),
}


@pytest.mark.parametrize("name", BUILD)
def test_hyper_parameters_may_be_traced(name):
    build, count = BUILD[name], 5
    values = jnp.array([1.0, 1.5, 2.5])
    rates = jax.vmap(lambda v: build(v)(count))(values)
    np.testing.assert_allclose(rates, [build(float(v))(count) for v in values], rtol=2e-6)
    assert np.isfinite(jax.vmap(jax.grad(lambda v: build(v)(count)))(values)).all()


def test_counts_of_any_kind_and_scan():
    schedule = schedules.warmup_cosine_decay_schedule(0.0, 1.0, 5, 20)
    kinds = [7, np.int64(7), jnp.int32(7), jnp.uint32(7), jnp.float32(7)]
    np.testing.assert_allclose([schedule(count) for count in kinds], float(schedule(7)), rtol=1e-6)
    scanned = jax.lax.scan(lambda t, _: (t + 1, schedule(t)), jnp.int32(0), length=20)[1]
    np.testing.assert_allclose(scanned, [float(schedule(t)) for t in range(20)], rtol=1e-6, atol=1e-7)


def test_drops_into_optax():
    rule = optax.sgd(schedules.step_decay(1.0, 2, 0.5))
    state, rates = rule.init(jnp.ones(1)), []
    for _ in range(4):
        updates, state = rule.update(jnp.ones(1), state)
        rates.append(float(updates[0]))
    assert rates == [-1.0, -1.0, -0.5, -0.5]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: schedules.cosine_decay_schedule(1.0, 0), "positive decay_steps"),
        (lambda: schedules.warmup_cosine_decay_schedule(0.0, 1.0, 10, 10), r"decay_steps in \(10, inf\), got 10"),
        (lambda: schedules.multi_step(1.0, [50, 10]), "milestones in increasing order"),
        (lambda: schedules.step_decay(1.0, 0), "step_size"),
        (lambda: schedules.exponential_decay(1.0, 10, -0.5), r"decay_rate in \[0, inf\), got -0.5"),
        (lambda: schedules.join_schedules([lambda t: 1.0], [3]), "1 schedules and 1 boundaries"),
        (lambda: schedules.piecewise_constant_schedule(1.0, {3: -1.0}), "non-negative scale at 3"),
        (lambda: schedules.piecewise_interpolate_schedule("cubic", 1.0), "'linear', 'cosine'"),
        (lambda: schedules.linear_onecycle_schedule(0, 1.0), "transition_steps >= 1"),
        (lambda: schedules.in_epochs(lambda t: 1.0, 0), "steps_per_epoch >= 1"),
    ],
)
def test_misuse(call, match):
    with pytest.raises(ValueError, match=match):
        call()


FIRST = {
    "constant_schedule": lambda v: schedules.constant_schedule(v),
    "cosine_decay_schedule": lambda v: schedules.cosine_decay_schedule(v, 10),
    "cosine_onecycle_schedule": lambda v: schedules.cosine_onecycle_schedule(10, v),
    "exponential_decay": lambda v: schedules.exponential_decay(v, 10, 0.5),
    "inverse_sqrt_schedule": lambda v: schedules.inverse_sqrt_schedule(v, 10),
    "linear_onecycle_schedule": lambda v: schedules.linear_onecycle_schedule(10, v),
    "polynomial_schedule": lambda v: schedules.linear_schedule(v, 0.0, 10),
    "multi_step": lambda v: schedules.multi_step(v, [5]),
    "piecewise_constant_schedule": lambda v: schedules.piecewise_constant_schedule(v),
    "piecewise_interpolate_schedule": lambda v: schedules.piecewise_interpolate_schedule("linear", v),
    "step_decay": lambda v: schedules.step_decay(v, 10),
    "warmup_cosine_decay_schedule": lambda v: schedules.warmup_cosine_decay_schedule(0.0, v, 10, 20),
}


@pytest.mark.parametrize("value", [None, "0.1", [0.1], float("nan"), 1j], ids=str)
@pytest.mark.parametrize("name", FIRST)
def test_a_value_that_is_no_number_is_named_when_the_schedule_is_made(name, value):
    with pytest.raises((TypeError, ValueError), match=rf"{name}: expected (init_|peak_)?value (to be a|in \(-inf)"):
        FIRST[name](value)


def test_other_settings_of_a_schedule_are_numbers_too():
    with pytest.raises(TypeError, match="cosine_decay_schedule: expected exponent to be a number, got None"):
        schedules.cosine_decay_schedule(1.0, 10, exponent=None)
    with pytest.raises(TypeError, match="multi_step: expected milestones to be a sequence of steps, got 5"):
        schedules.multi_step(1.0, 5)
    with pytest.raises(ValueError, match=r"cosine_onecycle_schedule: expected div_factor in \(0"):
        schedules.cosine_onecycle_schedule(10, 1.0, div_factor=0)
