"""What other frameworks and their exchange format have beside jax.nn, against torch or against the formula."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.testing import check_gradients

X = np.random.default_rng(0).normal(size=(3, 5, 8)).astype(np.float32)


def of_torch(function):
    torch = pytest.importorskip("torch")
    return function(torch, torch.tensor(X)).numpy()


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (fnn.hard_shrink, lambda t, x: t.nn.functional.hardshrink(x)),
        (lambda x: fnn.soft_shrink(x, 0.2), lambda t, x: t.nn.functional.softshrink(x, 0.2)),
        (lambda x: fnn.thresholded_relu(x, 0.3), lambda t, x: t.nn.functional.threshold(x, 0.3, 0.0)),
        (fnn.swiglu, lambda t, x: t.nn.functional.silu(x[..., :4]) * x[..., 4:]),
        (lambda x: fnn.kernels.lp_normalize(x, 1, axis=1), lambda t, x: t.nn.functional.normalize(x, 1.0, 1)),
        (lambda x: fnn.kernels.lp_normalize(x), lambda t, x: t.nn.functional.normalize(x, 2.0, -1)),
        (
            lambda x: fnn.kernels.local_response_norm(x, 3, alpha=0.5, beta=0.6, bias=2.0),
            lambda t, x: t.nn.functional.local_response_norm(x.movedim(-1, 1), 3, 0.5, 0.6, 2.0).movedim(1, -1),
        ),
    ],
    ids=["hard_shrink", "soft_shrink", "thresholded_relu", "swiglu", "l1", "l2", "local_response_norm"],
)
def test_values_are_those_of_torch(mine, theirs):
    np.testing.assert_allclose(jax.jit(mine)(X), of_torch(theirs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 4, 7])
def test_local_response_norm_sums_over_its_neighbours(size, x64):
    x = X.astype(float)
    got = fnn.kernels.local_response_norm(jnp.asarray(x), size, alpha=0.5, beta=0.6, bias=2.0)
    for c in range(8):
        near = x[..., max(0, c - (size - 1) // 2) : c + -(-(size - 1) // 2) + 1]
        expected = x[..., c] / (2.0 + 0.5 / size * (near**2).sum(-1)) ** 0.6
        np.testing.assert_allclose(got[..., c], expected, rtol=1e-12)


def test_hardmax_marks_the_first_largest_value_on_any_axis():
    tied = jnp.array([[1.0, 2.0], [1.0, 2.0]])
    assert fnn.hardmax(tied, 0).tolist() == [[1, 1], [0, 0]]
    assert fnn.hardmax(tied).tolist() == [[0, 1], [0, 1]]


def test_shrinkage_is_the_proximal_map_of_the_absolute_value(x64):
    x = np.linspace(-2, 2, 41)
    grid = np.linspace(-3, 3, 60_001)
    best = grid[np.argmin(0.5 * (grid - x[:, None]) ** 2 + 0.7 * np.abs(grid), axis=1)]
    np.testing.assert_allclose(fnn.soft_shrink(jnp.asarray(x), 0.7), best, atol=1.1e-4)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_lengths_of_huge_and_tiny_vectors_are_right(dtype):
    top = float(jnp.finfo(dtype).max) / 2
    for scale in (top, float(jnp.finfo(dtype).tiny)):
        got = fnn.kernels.lp_normalize(jnp.asarray([scale, scale], dtype))
        np.testing.assert_allclose(got.astype(float), 0.5**0.5, rtol=1e-2)
    assert fnn.kernels.lp_normalize(jnp.zeros(3, dtype)).tolist() == [0, 0, 0]
    assert jnp.isfinite(jax.grad(lambda x: fnn.kernels.lp_normalize(x).sum())(jnp.zeros(3, dtype))).all()


@pytest.mark.parametrize(
    "function",
    [fnn.soft_shrink, fnn.swiglu, fnn.kernels.lp_normalize, lambda x: fnn.kernels.local_response_norm(x, 3)],
    ids=["soft_shrink", "swiglu", "lp_normalize", "local_response_norm"],
)
def test_gradients(function):
    check_gradients(function, X[:1, :2])


def test_prelu_takes_a_slope_of_every_broadcastable_shape():
    x = jnp.asarray(X)
    for shape in [(), (1,), (8,), (5, 8), (5, 1), (3, 5, 8), (3, 1, 1)]:
        slope = np.random.default_rng(1).uniform(size=shape).astype(np.float32)
        np.testing.assert_allclose(fnn.activations.prelu(x, slope), np.where(X > 0, X, slope * X), rtol=1e-6)
    with pytest.raises(ValueError, match="one value per channel"):
        fnn.activations.prelu(x, jnp.ones((2, 3, 5, 8)))
    with pytest.raises(ValueError, match="one value per channel"):
        fnn.activations.prelu(x, jnp.ones(3))


@pytest.mark.parametrize("dtype", [np.int32, np.int8, np.uint8])
@pytest.mark.parametrize("padding", ["VALID", "SAME", 1])
def test_max_pool_of_integers(dtype, padding):
    x = np.random.default_rng(2).integers(0, 100, (2, 5, 6, 3)).astype(dtype) - (0 if dtype == np.uint8 else 120)
    x = x.astype(dtype)
    got = jax.jit(lambda x: fnn.kernels.max_pool(x, 3, stride=2, padding=padding))(x)
    assert got.dtype == dtype
    expected = fnn.kernels.max_pool(jnp.asarray(x, jnp.float32), 3, stride=2, padding=padding)
    np.testing.assert_array_equal(got, expected.astype(int))


@pytest.mark.filterwarnings("ignore:invalid value")  # of the reference
def test_activations_take_integers_as_jax_nn_does():
    x = jnp.arange(-3, 4)
    for name in ("gelu", "softplus", "elu", "celu", "selu", "mish", "softmax", "log_softmax", "tanh", "leaky_relu"):
        mine = getattr(fnn, name)(x)
        with jax.numpy_dtype_promotion("standard"):
            theirs = getattr(jax.nn, name)(x)
        assert mine.dtype == theirs.dtype == jnp.float32
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-6)


def test_constants_of_selu_and_the_slope_of_hard_sigmoid(x64):
    x = jnp.asarray(X, float)
    np.testing.assert_allclose(fnn.selu(x, alpha=2.0, scale=3.0), 3 * np.where(X > 0, X, 2 * np.expm1(x)), rtol=1e-12)
    np.testing.assert_allclose(fnn.hard_sigmoid(x, slope=0.2), np.clip(0.2 * x + 0.5, 0, 1), rtol=1e-12)
    np.testing.assert_allclose(fnn.hard_sigmoid(x, slope=1 / 6), fnn.hard_sigmoid(x), rtol=1e-12, atol=1e-15)


def test_powers_of_a_length_neither_overflow_nor_vanish():
    for x in ([3.0, 7.0], [0.0, 7.0], [2.6, 2.7]):
        x = np.array(x, np.float32)
        size = np.linalg.norm(x.astype(float), 200)
        np.testing.assert_allclose(fnn.kernels.lp_normalize(jnp.asarray(x), 200), x / size, rtol=1e-6)
    with pytest.raises(ValueError, match=r"lp_normalize: expected p in \[1, inf\), got inf"):
        fnn.kernels.lp_normalize(jnp.ones(2), float("inf"))


@pytest.mark.parametrize(("setting", "value"), [("alpha", -1.0), ("bias", -0.5), ("beta", np.nan), ("alpha", None)])
def test_a_setting_of_local_response_norm_by_which_roots_of_negative_numbers_are_taken_is_named(setting, value):
    with pytest.raises((TypeError, ValueError), match=f"local_response_norm: expected {setting} (in|to be a number)"):
        fnn.kernels.local_response_norm(jnp.ones((2, 3)), **{setting: value})


@pytest.mark.parametrize("axis", [2, (0, 1), "a", None])
def test_what_is_no_axis_is_named(axis):
    with pytest.raises(
        (TypeError, ValueError), match=r"lp_normalize: expected axis to (name .* rank 2|be a Python int)"
    ):
        fnn.kernels.lp_normalize(jnp.ones((2, 3)), axis=axis)
