"""Every activation over the whole range of every dtype: value and derivative are those of the formula in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_activations import FORMULAS

import fnn

A = fnn.activations
DTYPES = ["float16", "bfloat16", "float32"]


def gelu_tanh(x):
    z = 2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    return x / (1 + np.exp(-z))


def gelu_tanh_slope(x):
    z, inner = 2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3), 2 * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
    tail = np.exp(-np.abs(z))
    return 1 / (1 + np.exp(-z)) + x * inner * tail / (1 + tail) ** 2


def positive(x):
    return 1 / (1 + np.exp(-x))


def tanh_slope(x):
    return 4 * np.exp(-2 * np.abs(x)) / (1 + np.exp(-2 * np.abs(x))) ** 2


def mish_slope(x):
    n = np.exp(np.minimum(x, 0)) * (np.exp(np.minimum(x, 0)) + 2)
    w = np.exp(-np.maximum(x, 0))
    gate = np.where(x > 0, (1 + 2 * w) / (1 + 2 * w + 2 * w**2), n / (n + 2))
    bent = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return gate, gate + x * tanh_slope(bent) * positive(x)


# Where the plain formula loses its own digits in float64, the same mathematics without the difference.
EXACT = FORMULAS | {
    "sigmoid": (A.sigmoid, positive, lambda x: positive(x) * positive(-x)),
    "tanh": (A.tanh, np.tanh, tanh_slope),
    "mish": (A.mish, lambda x: x * mish_slope(x)[0], lambda x: mish_slope(x)[1]),
    "gelu, tanh": (A.gelu, gelu_tanh, gelu_tanh_slope),
    "glu": (
        lambda x: A.glu(jnp.stack([jnp.ones_like(x), x], -1))[..., 0],
        positive,
        lambda x: positive(x) * positive(-x),
    ),
}


def whole_range(dtype):
    """Both signs of every order of magnitude, what lies around 1, the smallest and the largest numbers, infinity."""
    info = jnp.finfo(dtype)
    low, high = np.log2(float(info.smallest_subnormal)), np.log2(float(info.max))
    sizes = np.concatenate(
        [2 ** np.linspace(low, high - 0.01, 90), np.linspace(0.01, 110, 150), [float(info.max), np.inf]]
    )
    return jnp.asarray(np.concatenate([-sizes, [0.0], sizes])[:, None].astype(np.float64), dtype).ravel()


def allowed(f, x, exact, ulps, dtype):
    """A few units in the last place of the result, and what one of the argument changes; denormals may be 0."""
    info = jnp.finfo(dtype)
    moved = f(x * (1 + 1e-7))
    sensitivity = np.abs(moved - exact) / 1e-7
    floor = 128 * float(jnp.finfo(jnp.float32).tiny) + float(info.smallest_subnormal)
    return ulps * float(info.eps) * (np.abs(exact) + np.where(np.isfinite(sensitivity), sensitivity, 0)) + floor


def compare(ours, f, given, ulps, dtype):
    """At an infinity the limit, which the formula reaches long before 1e37; what goes on growing there is infinite."""
    ends = np.isinf(given)
    x = np.where(ends, np.sign(given) * 1e37, given)
    with np.errstate(all="ignore"):
        exact = f(x)
        exact = np.where(ends & (np.abs(exact) > 1e20), np.sign(exact) * np.inf, exact)
        rounded = np.asarray(jnp.asarray(exact).astype(dtype), np.float64)
        error = np.abs(np.asarray(ours, np.float64) - exact)
        fine = (error <= allowed(f, x, exact, ulps, dtype)) | (np.asarray(ours, np.float64) == rounded)
    bad = np.flatnonzero(~fine)
    assert bad.size == 0, [(given[i], float(ours[i]), exact[i]) for i in bad[:5]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_value_and_derivative_are_the_formulas_in_float64(name, dtype):
    function, value, slope = EXACT[name]
    with jax.enable_x64(True):
        x = whole_range(dtype)
        exact = np.asarray(x.astype(jnp.float64))

        @jax.jit
        def all_of(x):
            y, forward = jax.jvp(function, (x,), (jnp.ones_like(x),))
            return y, forward, jax.vjp(function, x)[1](jnp.ones_like(x))[0]

        y, forward, back = all_of(x)
        compare(y, value, exact, 2 if dtype != "float32" else 8, dtype)
        compare(forward, slope, exact, 2 if dtype != "float32" else 16, dtype)
        compare(back, slope, exact, 2 if dtype != "float32" else 16, dtype)
