"""Activations: jax.nn's and torch's values, the formulas' derivatives, and nothing that is not a number."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fnn

A = fnn.activations
DTYPES = [jnp.float32, jnp.bfloat16, jnp.float16, jnp.float64]


def sigmoid(x):
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def normal_cdf(x):
    special = pytest.importorskip("scipy.special")
    return special.ndtr(x)


def density(x):
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


# name -> (function, value, derivative), in NumPy float64 from the formulas
FORMULAS = {
    "identity": (A.identity, lambda x: x, np.ones_like),
    "sign": (A.sign, np.sign, np.zeros_like),
    "binary_step": (A.binary_step, lambda x: (x >= 0) * 1.0, np.zeros_like),
    "sigmoid": (A.sigmoid, sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x))),
    "tanh": (A.tanh, np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "relu": (A.relu, lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
    "relu6": (A.relu6, lambda x: np.clip(x, 0, 6), lambda x: ((x > 0) & (x < 6)) * 1.0),
    "leaky_relu": (A.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x), lambda x: np.where(x > 0, 1, 0.01)),
    "elu": (
        lambda x: A.elu(x, 1.5),
        lambda x: np.where(x > 0, x, 1.5 * np.expm1(np.minimum(x, 0))),
        lambda x: np.where(x > 0, 1, 1.5 * np.exp(np.minimum(x, 0))),
    ),
    "celu": (
        lambda x: A.celu(x, 1.5),
        lambda x: np.where(x > 0, x, 1.5 * np.expm1(np.minimum(x, 0) / 1.5)),
        lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0) / 1.5)),
    ),
    "selu": (
        A.selu,
        lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
        lambda x: 1.0507009873554805 * np.where(x > 0, 1, 1.6732632423543772 * np.exp(np.minimum(x, 0))),
    ),
    "softplus": (lambda x: A.softplus(x, 2.0), lambda x: softplus(2 * x) / 2, lambda x: sigmoid(2 * x)),
    "log_sigmoid": (A.log_sigmoid, lambda x: -softplus(-x), lambda x: sigmoid(-x)),
    "silu": (A.silu, lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * sigmoid(-x))),
    "silu, beta": (
        lambda x: A.silu(x, 0.5),
        lambda x: x * sigmoid(x / 2),
        lambda x: sigmoid(x / 2) * (1 + x / 2 * sigmoid(-x / 2)),
    ),
    "mish": (
        A.mish,
        lambda x: x * np.tanh(softplus(x)),
        lambda x: np.tanh(softplus(x)) + x * sigmoid(x) * (1 - np.tanh(softplus(x)) ** 2),
    ),
    "gelu, exact": (
        lambda x: A.gelu(x, approximate=False),
        lambda x: x * normal_cdf(x),
        lambda x: normal_cdf(x) + x * density(x),
    ),
    "hard_sigmoid": (A.hard_sigmoid, lambda x: np.clip(x + 3, 0, 6) / 6, lambda x: (np.abs(x) < 3) / 6),
    "hard_tanh": (A.hard_tanh, lambda x: np.clip(x, -1, 1), lambda x: (np.abs(x) < 1) * 1.0),
    "hard_silu": (
        A.hard_silu,
        lambda x: x * np.clip(x + 3, 0, 6) / 6,
        lambda x: np.where(x > 3, 1, np.where(x < -3, 0, (2 * x + 3) / 6)),
    ),
    "soft_sign": (A.soft_sign, lambda x: x / (1 + np.abs(x)), lambda x: (1 + np.abs(x)) ** -2),
    "squareplus": (
        A.squareplus,
        lambda x: np.where(x > 0, (x + np.hypot(x, 2)) / 2, 2 / (np.abs(x) + np.hypot(x, 2))),
        lambda x: np.where(x > 0, (1 + x / np.hypot(x, 2)) / 2, 2 / np.hypot(x, 2) / (np.abs(x) + np.hypot(x, 2))),
    ),
}
POINTS = np.concatenate([np.linspace(-9, 9, 61)[1::2], [-1e4, -40, -1e-3, 1e-30, 1e-3, 40, 1e4]])


@pytest.mark.parametrize("name", FORMULAS)
def test_value_and_both_derivatives_are_the_formulas(x64, name):
    function, value, derivative = FORMULAS[name]
    points = np.linspace(-5, 5, 37)[1::2] + 0.013

    @jax.jit
    def compiled():
        slopes = jax.vmap(jax.grad(lambda x: function(x) * 1.0))(jnp.asarray(POINTS))
        return function(POINTS), slopes, jax.vmap(jax.grad(jax.grad(function)))(jnp.asarray(points))

    values, slopes, second = compiled()
    np.testing.assert_allclose(values, value(POINTS), rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(slopes, derivative(POINTS), rtol=1e-9, atol=1e-15)
    difference = (derivative(points + 1e-5) - derivative(points - 1e-5)) / 2e-5
    np.testing.assert_allclose(second, difference, rtol=1e-5, atol=1e-7)


ADVERSARIAL = [-np.inf, -1e4, -80.0, -1.0, -1e-40, -0.0, 0.0, 1e-40, 1.0, 80.0, 1e4, np.inf]
LIMITS = {"-inf": {"identity", "leaky_relu", "log_sigmoid", "sign"}}


def derivatives(function):
    """Value, derivative forward and backward, and the second where it is finite: as one program."""

    def all_of(x):
        ones = jnp.ones_like(x)
        second = jax.vmap(jax.grad(jax.grad(function)))(x[1:-1])
        return *jax.jvp(function, (x,), (ones,)), jax.vjp(function, x)[1](ones)[0], second

    return jax.jit(all_of)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMULAS)
def test_nothing_is_nan_at_extreme_inputs(name, dtype):
    function, _, _ = FORMULAS[name]
    with jax.enable_x64(True):
        x = jnp.asarray(ADVERSARIAL, dtype)
        y, slope, back, curve = derivatives(function)(x)
    for values in (y, slope, back, curve):
        assert values.dtype == dtype
        assert not np.isnan(np.asarray(values, np.float64)).any()
    inner = np.isfinite(np.asarray(x, np.float64))
    assert np.isfinite(np.asarray(y, np.float64))[inner].all()
    for values in (slope, back):
        assert np.isfinite(np.asarray(values, np.float64)).all()


@pytest.mark.parametrize(
    "name",
    [
        "relu",
        "relu6",
        "sigmoid",
        "elu",
        "celu",
        "selu",
        "gelu",
        "silu",
        "swish",
        "mish",
        "hard_sigmoid",
        "hard_tanh",
        "hard_silu",
        "hard_swish",
        "soft_sign",
        "log_sigmoid",
        "leaky_relu",
        "softplus",
        "squareplus",
        "glu",
        "softmax",
        "log_softmax",
        "identity",
    ],
)
@given(st.lists(st.floats(-50, 50), min_size=4, max_size=4))
def test_jax_nn_gives_the_same(name, values):
    with jax.enable_x64(True):
        x = jnp.asarray(values)
        np.testing.assert_allclose(getattr(A, name)(x), getattr(jax.nn, name)(x), rtol=1e-9, atol=1e-15)


def test_torch_gives_the_same():
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    x = np.linspace(-6, 6, 50).astype(np.float32)
    t = torch.tensor(x)
    for mine, theirs in [
        (A.mish(x), F.mish(t)),
        (A.gelu(x, approximate=False), F.gelu(t)),
        (A.softplus(x, 3.0), F.softplus(t, 3.0)),
        (A.hard_silu(x), F.hardswish(t)),
        (A.soft_sign(x), F.softsign(t)),
        (A.celu(x, 2.0), F.celu(t, 2.0)),
        (A.prelu(x, 0.3), F.prelu(t, torch.tensor([0.3]))),
        (A.rrelu(x), F.rrelu(t)),
    ]:
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=2e-5, atol=2e-6)


def test_identities_of_the_notes(x64):
    x = jnp.linspace(-20, 20, 101)
    np.testing.assert_allclose(A.tanh(x), 2 * A.sigmoid(2 * x) - 1, atol=1e-15)
    np.testing.assert_allclose(A.tanh(x), (1 - np.exp(-2 * x)) / (1 + np.exp(-2 * x)), rtol=1e-9)
    assert jax.grad(A.sigmoid)(0.0) == 0.25
    assert jax.grad(A.relu)(0.0) == 0
    np.testing.assert_array_equal(A.binary_step(jnp.zeros(1), at_zero=0.0), [0])


@pytest.mark.parametrize("axis", [-1, 0, (0, 1), None])
def test_softmax_jacobian_and_mask(x64, axis):
    rng = np.random.default_rng(0)
    x, mask = jnp.asarray(rng.normal(size=(3, 4))), rng.random((3, 4)) > 0.4
    mask[1] = False
    row = jnp.asarray(rng.normal(size=4))
    logs_that_count = lambda x: jnp.where(mask, A.log_softmax(x, axis, where=mask), 0)  # noqa: E731

    @jax.jit
    def compiled():
        y, logs = A.softmax(x, axis, where=mask), A.log_softmax(x, axis, where=mask)
        slopes = jax.jacobian(lambda x: A.softmax(x, axis, where=mask))(x), jax.jacobian(logs_that_count)(x)
        return y, logs, slopes, A.softmax(row), jax.jacobian(A.softmax)(row)

    y, logs, slopes, p, jacobian = compiled()
    expected = np.where(mask, np.exp(x), 0)
    total = expected.sum(axis, keepdims=True)
    np.testing.assert_allclose(y, expected / np.where(total == 0, 1, total), rtol=1e-12)
    np.testing.assert_allclose(np.exp(logs), y, rtol=1e-12)
    assert all(np.isfinite(slope).all() for slope in slopes)
    np.testing.assert_allclose(jacobian, np.diag(p) - np.outer(p, p), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_at_extremes(dtype):
    inf, rest = np.inf, np.log1p(np.e)
    logs_of = {
        (1e4, -1e4, 0): (0, -2e4, -1e4),
        (-inf, 0, 1): (-inf, -rest, 1 - rest),
        (-inf, -inf, -inf): (-inf, -inf, -inf),
        (inf, 0, 1): (0, -inf, -inf),
        (inf, inf, 0): (-np.log(2), -np.log(2), -inf),
        (0, 0, 0): (-np.log(3),) * 3,
    }
    expected = np.array([*logs_of.values()])
    with jax.enable_x64(True):
        x = jnp.asarray([*logs_of], dtype)
        y, slope, logs = jax.jit(lambda x: (*jax.jvp(A.softmax, (x,), (jnp.ones_like(x),)), A.log_softmax(x)))(x)
        assert y.dtype == logs.dtype == dtype
    near = {"rtol": 4 * float(jnp.finfo(dtype).eps), "atol": 4 * float(jnp.finfo(dtype).eps)}
    np.testing.assert_allclose(np.asarray(y, np.float64), np.exp(expected), **near)
    np.testing.assert_allclose(np.asarray(logs, np.float64), expected, **near)
    np.testing.assert_allclose(np.asarray(slope, np.float64), 0, **near)  # the same number more changes nothing


def test_prelu_layer_learns_its_slope():
    layer = fnn.prelu()
    x = jnp.array([[-2.0, 3.0], [-1.0, -4.0]])
    params, state = layer.init(jax.random.key(0), x)
    slope = jax.grad(lambda p: layer.apply(p, state, x)[0].sum())(params)["alpha"]
    np.testing.assert_array_equal(slope, [-3.0, -4.0])
    assert fnn.prelu(per_channel=False).init(jax.random.key(0), x)[0]["alpha"].shape == ()
    with pytest.raises(ValueError, match="one value per channel"):
        A.prelu(x, jnp.ones(3))


def test_rrelu_draws_in_training_only():
    layer, x = fnn.rrelu(0.1, 0.4), -jnp.ones((100, 100))
    y = layer.apply((), (), x, key=jax.random.key(0), train=True)[0]
    assert -0.4 <= float(y.min()) < -0.39 < -0.11 < float(y.max()) <= -0.1
    np.testing.assert_allclose(y.mean(), -0.25, atol=0.01)
    np.testing.assert_allclose(layer.apply((), (), x)[0], -0.25, rtol=1e-6)
    with pytest.raises(ValueError, match="needs a random key"):
        layer.apply((), (), x, train=True)
    with pytest.raises(ValueError, match="lower <= upper"):
        fnn.rrelu(0.4, 0.1)


def test_activity_penalty_joins_the_loss():
    layer = fnn.activity_penalty(l1=0.5, l2=2.0)
    x = jnp.array([[1.0, -3.0], [0.0, 2.0]])
    y, state = layer.apply((), layer.init(jax.random.key(0), x)[1], x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_allclose(state["penalty"].value, (0.5 * 6 + 2 * 14) / 2)
    plain, fined = fnn.dense(2), fnn.serial(fnn.dense(2), layer)
    steps = [fnn.train_step(model, fnn.optim.sgd(0.1), fnn.losses.mse) for model in (fnn.serial(plain), fined)]
    states = [step.init(jax.random.key(0), x) for step in steps]
    losses = [step.update(state, None, (x, x))[1] for step, state in zip(steps, states, strict=True)]
    hidden = plain.apply(states[0].params[0], (), x)[0]
    np.testing.assert_allclose(losses[1] - losses[0], (0.5 * abs(hidden).sum() + 2 * (hidden**2).sum()) / 2, rtol=1e-5)


def test_alpha_may_be_traced_and_everything_vmaps():
    x = jnp.linspace(-2, 2, 7)
    many = jax.vmap(lambda a: A.elu(x, a))(jnp.array([0.5, 2.0]))
    np.testing.assert_allclose(many[1], A.elu(x, 2.0), rtol=1e-6)
    compiled = jax.jit(lambda x: {name: formula[0](x) for name, formula in FORMULAS.items()})(x)
    for each, y in compiled.items():
        np.testing.assert_allclose(y, FORMULAS[each][0](x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (
            lambda: A.sigmoid(jnp.ones(3, jnp.complex64)),
            r"floating-point, got complex64\[3\]; write x.real or jnp.abs\(x\)",
        ),
        (lambda: A.relu(jnp.ones(3, jnp.complex64)), r"relu: expected x to be real, got complex64\[3\]; write x.real"),
        (lambda: A.sign(jnp.ones(3, jnp.complex64)), r"sign: expected x to be real, got complex64\[3\]; write x.real"),
        (lambda: A.glu(jnp.ones(3)), "even number along axis -1"),
        (lambda: A.celu(jnp.ones(3), 0), "alpha other than 0"),
        (lambda: A.squareplus(jnp.ones(3), -1), "b in"),
        (lambda: A.squareplus(jnp.ones(3), np.inf), "b in"),
        (lambda: A.thresholded_relu(jnp.ones(3), np.nan), "threshold in"),
        (lambda: A.prelu(jnp.ones(3), 1j), "prelu: expected alpha to be floating-point, got complex"),
    ],
)
def test_misuse(misuse, message):
    with pytest.raises((TypeError, ValueError), match=message):
        misuse()


@pytest.mark.parametrize("name", ["glu", "swiglu", "hardmax", "softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [2, -3, (0, 0), (), 1.0, True, "batch"])
def test_what_is_no_axis_is_named(name, axis):
    rank = "to name distinct axes of an array of rank 2, got"
    with pytest.raises((TypeError, ValueError), match=f"{name}: expected axis ({rank}|to be a Python int, got)"):
        getattr(A, name)(jnp.ones((2, 4)), axis=axis)


SETTINGS = {
    "binary_step": ["at_zero"], "celu": ["alpha"], "elu": ["alpha"], "hard_sigmoid": ["slope"], "silu": ["beta"],
    "leaky_relu": ["negative_slope"], "rrelu": ["lower", "upper"], "selu": ["alpha", "scale"], "softplus": ["beta"],
}  # fmt: skip
DIVISORS = [("celu", "alpha"), ("selu", "scale"), ("softplus", "beta")]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, "1", 1j])
def test_a_setting_that_is_no_finite_number_is_named(value):
    x = jnp.ones(2)
    for name, settings in SETTINGS.items():
        for setting in settings:
            with pytest.raises((TypeError, ValueError), match=f"{name}: expected {setting} (in|to be a)"):
                jax.eval_shape(lambda x: getattr(A, name)(x, **{setting: value}), x)
    for build, setting in ((fnn.prelu, "alpha"), (fnn.rrelu, "lower")):
        with pytest.raises((TypeError, ValueError), match=f"{build.__name__}: expected {setting} (in|to be a)"):
            build(**{setting: value})


@pytest.mark.parametrize(("name", "setting"), DIVISORS)
def test_a_setting_by_which_everything_is_0_or_divided_by_0_is_named(name, setting):
    with pytest.raises(ValueError, match=f"{name}: expected {setting} other than 0"):
        getattr(A, name)(jnp.ones(2), **{setting: 0.0})


@pytest.mark.parametrize("name", ["hard_shrink", "soft_shrink", "thresholded_relu", "binary_step", "squareplus"])
def test_nan_stays_nan(name):
    assert np.isnan(getattr(A, name)(jnp.nan))


@pytest.mark.parametrize("x", [-1e20, -1e5, 1e5, 1e20])
def test_gelu_is_straight_far_out_and_has_no_curvature_there(x):
    for approximate in (True, False):
        gelu = functools.partial(fnn.gelu, approximate=approximate)
        assert (jax.grad(gelu)(x), jax.grad(jax.grad(gelu))(x)) == (float(x > 0), 0)


@pytest.mark.parametrize(
    ("function", "at_infinity", "slope"),
    [
        (lambda x, s: A.leaky_relu(x, s), (0.0, np.inf), lambda x: np.minimum(x, 0)),
        (lambda x, s: A.prelu(x, s), (0.0, np.inf), lambda x: np.minimum(x, 0)),
        (lambda x, s: A.rrelu(x, None, s, s), (0.0, np.inf), lambda x: np.minimum(x, 0)),
        (lambda x, s: A.hard_sigmoid(x, slope=s), (0.5, 0.5), lambda x: x),
        (lambda x, s: A.silu(x, s), (-np.inf, np.inf), lambda x: x**2 / 4),
    ],
    ids=["leaky_relu", "prelu", "rrelu", "hard_sigmoid", "silu"],
)
def test_a_slope_of_0_is_one_at_infinity_too_and_has_its_derivative(function, at_infinity, slope):
    x, zero = np.array([-np.inf, np.inf, -3.0, 2.0], np.float32), np.float32(0)

    @jax.jit
    def everything(x):
        values = jax.vmap(function, (0, None))(x, zero)
        return values, jax.vmap(jax.grad(function, (0, 1)), (0, None))(x, zero)

    values, (by_x, by_slope) = everything(x)
    np.testing.assert_array_equal(values[:2], at_infinity)
    np.testing.assert_allclose(by_slope[2:], slope(x[2:]), rtol=1e-6)
    assert np.isfinite(by_x).all()


@pytest.mark.parametrize("function", [A.leaky_relu, A.prelu, lambda x, s: A.rrelu(x, None, s, s)])
def test_infinite_values_that_no_slope_changes_leave_it_its_derivative(function):
    x = jnp.array([np.inf, -2.0, 3.0, 0.0])
    by_x, by_slope = jax.grad(lambda x, slope: function(x, slope).sum(), (0, 1))(x, jnp.float32(0.5))
    assert (by_x.tolist(), by_slope.item()) == ([1, 0.5, 1, 0.5], -2)


@pytest.mark.parametrize("x", [1e3, 1e20, 8.6e37, 3e38, -3e38])
def test_the_curvature_of_mish_is_0_far_away(x):
    assert jax.grad(jax.grad(fnn.mish))(np.float32(x)) == 0


def test_mixed_derivatives_by_x_and_a_parameter_agree_at_0_too(x64):
    for function, expected in ((A.softplus, 0.0), (A.silu, 0.0), (A.squareplus, 0.0), (A.celu, 0.0), (A.elu, 1.0)):
        hessian = jax.hessian(lambda v, function=function: function(v[0], v[1]))(jnp.array([0.0, 2.0]))
        np.testing.assert_allclose([hessian[0, 1], hessian[1, 0]], expected, atol=1e-12, err_msg=function.__name__)
