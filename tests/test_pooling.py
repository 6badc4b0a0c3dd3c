"""Pooling against loops and torch: values, shared gradients, second order, extremes."""

from __future__ import annotations

import convolution_references as references
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from fnn.kernels import (
    adaptive_avg_pool,
    adaptive_max_pool,
    avg_pool,
    conv_output_size,
    global_avg_pool,
    global_max_pool,
    lp_pool,
    max_pool,
)

# spatial, window, stride, padding, dilation
CASES = [
    ((8,), (2,), None, "VALID", 1),
    ((7,), (3,), 2, [(1, 2)], 1),
    ((6, 9), (2, 3), None, "VALID", 1),
    ((7, 8), (2, 3), None, "VALID", 1),
    ((7, 6), (3, 3), 2, "SAME", 1),
    ((6, 7), (2, 3), 1, 1, 2),
    ((8, 8), (2, 2), 3, "VALID", 1),
    ((4, 5, 6), (2, 2, 3), None, "VALID", 1),
    ((4, 4, 3), (2, 3, 2), 1, "SAME", 1),
]


@pytest.fixture(params=CASES, ids=str)
def case(request, x64):
    spatial, window, stride, padding, dilation = request.param
    rank = len(spatial)
    strides = window if stride is None else (stride,) * rank
    dilations = (dilation,) * rank
    pads = padding if isinstance(padding, list) else [(padding, padding)] * rank
    if isinstance(padding, str):
        pads = [(0, 0)] * rank if padding == "VALID" else references.same(spatial, window, strides, dilations)
    # Few values, so that there are ties.
    x = np.random.default_rng(0).integers(-2, 3, size=(2, *spatial, 3)).astype(float)
    return x, window, dict(stride=stride, padding=padding, dilation=dilation), (window, strides, pads, dilations)


def test_max(case):
    x, window, options, explicit = case
    y, back = jax.vjp(lambda x: max_pool(x, window, **options), x)
    np.testing.assert_array_equal(y, references.pool(x, lambda v: v.max(0), *explicit))
    g = np.random.default_rng(1).normal(size=y.shape)
    np.testing.assert_allclose(back(g)[0], references.max_pool_gradient(x, g, *explicit), atol=1e-12)
    _, strides, pads, dilation = explicit
    assert y.shape[1:-1] == conv_output_size(x.shape[1:-1], window, strides, pads, dilation)


def test_average(case):
    x, window, options, explicit = case
    every = avg_pool(x, window, **options)
    np.testing.assert_allclose(every, references.pool(x, lambda v: v.mean(0), *explicit, fill=0), atol=1e-12)
    inside = avg_pool(x, window, **options, count_include_pad=False)
    np.testing.assert_allclose(inside, references.pool(x, lambda v: v.mean(0), *explicit), atol=1e-12)
    g = np.random.default_rng(1).normal(size=every.shape)
    back = jax.vjp(lambda x: avg_pool(x, window, **options), x)[1](g)[0]
    np.testing.assert_allclose(jnp.vdot(back, x), jnp.vdot(g, every), atol=1e-12)


@pytest.mark.parametrize("p", [1, 2, 2.5])
def test_lp(case, p):
    x, window, options, explicit = case
    y = lp_pool(x, window, p, **options)
    expected = references.pool(x, lambda v: (np.abs(v) ** p).sum(0) ** (1 / p), *explicit, fill=0)
    np.testing.assert_allclose(y, expected, atol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("spatial", "output"), [((6,), 3), ((7,), 3), ((7, 5), (3, 4)), ((4, 6, 5), (2, 6, 3)), ((2,), 5)]
)
def test_adaptive(x64, spatial, output):
    x = (
        np.random.default_rng(0).permutation(6.0 * np.arange(6 * np.prod(spatial))).reshape(2, *spatial, 3)
    )  # no near ties
    sizes = (output,) * len(spatial) if isinstance(output, int) else output
    np.testing.assert_allclose(adaptive_avg_pool(x, output), references.adaptive(x, np.mean, sizes), atol=1e-12)
    np.testing.assert_array_equal(adaptive_max_pool(x, output), references.adaptive(x, np.max, sizes))
    if all(m <= n for m, n in zip(sizes, spatial, strict=True)):
        check_grads(lambda x: adaptive_max_pool(x, output), (x,), order=1)


def test_what_is_not_finite_stays_in_its_window():
    x = jnp.asarray([1.0, jnp.inf, 3.0, 5.0, 7.0]).reshape(1, 5, 1)
    assert adaptive_avg_pool(x, 2).ravel().tolist() == [np.inf, 5]
    assert adaptive_max_pool(x, 2).ravel().tolist() == [np.inf, 7]


def test_global(x64):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    np.testing.assert_allclose(global_avg_pool(x), x.mean((1, 2)))
    np.testing.assert_array_equal(global_max_pool(x), x.max((1, 2)))
    ties = jax.grad(lambda x: global_max_pool(x).sum())(jnp.zeros((1, 2, 2, 1)))
    np.testing.assert_array_equal(ties, jnp.full((1, 2, 2, 1), 0.25))


def test_the_norm_of_nothing_is_zero_and_has_no_slope():
    y, back = jax.vjp(lambda x: lp_pool(x, 2), jnp.zeros((1, 4, 4, 1)))
    assert not y.any()
    assert not back(jnp.ones_like(y))[0].any()


@pytest.mark.thorough
@pytest.mark.parametrize("stride", [1, 2])
def test_derivatives_of_second_order(x64, stride):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 4, 1)))
    for pool in (max_pool, avg_pool, lambda *a, **k: lp_pool(*a, 3, **k)):
        check_grads(lambda x: pool(jnp.sin(x), 2, stride=stride), (x,), order=2, modes=["fwd", "rev"])


@pytest.mark.thorough
@pytest.mark.parametrize("p", [1, 2, 2.5, 4])
def test_never_nan_at_second_order(x64, p):
    zeros = jnp.zeros((1, 4, 1))
    pools = (max_pool, avg_pool, lambda x, n: lp_pool(x, n, p), lambda x, n: adaptive_max_pool(x, 3))
    for pool in pools:
        assert np.isfinite(jax.hessian(lambda x: jnp.sum(pool(x, 2) ** 2))(zeros)).all()
    hessian = jax.hessian(lambda x: jnp.sum(lp_pool(x, 2, 2) ** 2))(jnp.asarray([3.0, 0.0]).reshape(1, 2, 1))
    np.testing.assert_allclose(hessian.reshape(2, 2), 2 * np.eye(2), atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_dtype_is_kept_and_extremes_survive(dtype):
    x = jnp.asarray([1e4, -1e4, 1e4, 0, -jnp.inf, 1, -jnp.inf, -jnp.inf], dtype).reshape(1, 8, 1)
    assert max_pool(x, 2).ravel().tolist() == [x[0, 0, 0], x[0, 0, 0], 1, -np.inf]
    assert max_pool(x, 2).dtype == avg_pool(x, 2).dtype == adaptive_avg_pool(x, 3).dtype == dtype
    np.testing.assert_allclose(lp_pool(x[:, :2], 2, 4).astype(float), 1e4 * 2**0.25, rtol=1e-2)
    apart = jnp.asarray([1e4, 1e4, 1e-3, 1e-3], dtype).reshape(1, 4, 1)
    np.testing.assert_allclose(lp_pool(apart, 2, 16)[0, 1].astype(float), 1e-3 * 2 ** (1 / 16), rtol=1e-2)
    many = jnp.ones((1, 6000, 1), dtype)
    np.testing.assert_array_equal(avg_pool(many, 6000), jnp.ones((1, 1, 1), dtype))
    np.testing.assert_array_equal(global_avg_pool(many), jnp.ones((1, 1), dtype))
    broken = x.at[0, 0, 0].set(jnp.nan)
    for pool in (max_pool, avg_pool, lp_pool):
        assert np.isnan(pool(broken, 2)).ravel().tolist() == [True, False, False, False]


MAXIMA = {
    "side by side": lambda x: max_pool(x, 2),
    "overlapping": lambda x: max_pool(x, 2, stride=1),
    "adaptive": lambda x: adaptive_max_pool(x, 2),
    "global": lambda x: global_max_pool(x),
}
over_maxima = pytest.mark.parametrize("pool", MAXIMA.values(), ids=MAXIMA)


@over_maxima
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_tangents_of_equal_maxima_are_averaged_without_an_overflow(pool, dtype):
    x, large = jnp.ones((1, 4, 2), dtype), jnp.full((1, 4, 2), 0.75 * float(jnp.finfo(dtype).max), dtype)
    y, tangent = jax.jit(lambda x, dx: jax.jvp(pool, (x,), (dx,)))(x, large)
    np.testing.assert_array_equal(tangent, jnp.full_like(y, large[0, 0, 0]))


@over_maxima
def test_a_gradient_that_is_infinite_reaches_its_maximum_alone(pool):
    x = jnp.array([1.0, 2.0, 4.0, 3.0]).reshape(1, 4, 1)
    gradient = jax.grad(lambda x: jnp.sum(pool(x) * jnp.inf))(x).ravel()
    assert jnp.isfinite(gradient).tolist() == [True, pool(x).size == 1, False, True]


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.thorough), 300])
def test_three_hundred_equal_maxima_are_counted_in_bfloat16(stride):
    gradient = jax.grad(lambda x: jnp.sum(max_pool(x, 300, stride=stride)))(jnp.ones((1, 300, 1), jnp.bfloat16))
    np.testing.assert_array_equal(gradient, jnp.full_like(gradient, 1 / 300))


@over_maxima
def test_a_nan_that_comes_out_takes_the_gradient(pool):
    x = jnp.array([5.0, jnp.nan, 1.0, 2.0]).reshape(1, 4, 1)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(pool(x))))(x).ravel()
    windows_with_nan = int(np.isnan(pool(x)).sum())
    assert gradient[:2].tolist() == [0, windows_with_nan]
    assert jnp.sum(gradient) == pool(x).size
    several = jax.vmap(jax.grad(lambda x: jnp.sum(pool(x))))(jnp.stack([x, jnp.full_like(x, jnp.nan)]))
    np.testing.assert_array_equal(several[0].ravel(), gradient)
    assert jnp.sum(several[1]) == pool(x).size


def test_vmap_jit_and_empty(x64):
    x = np.random.default_rng(0).normal(size=(3, 2, 5, 4, 2))

    def gradient(x):
        return jax.grad(lambda x: jnp.sum(max_pool(x, 3, stride=2, padding="SAME") ** 2))(x)

    together = jax.jit(jax.vmap(gradient))(x)
    np.testing.assert_allclose(together, np.stack([gradient(one) for one in x]), atol=1e-12)
    assert max_pool(jnp.zeros((0, 4, 4, 2)), 2).shape == (0, 2, 2, 2)
    assert lp_pool(jnp.zeros((0, 4, 2)), 2).shape == (0, 2, 2)


def test_torch(x64):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, 7, 8, 3))
    t = torch.tensor(np.moveaxis(x, -1, 1))
    f = torch.nn.functional
    pairs = [
        (max_pool(x, 3, stride=2, padding=1, dilation=2), f.max_pool2d(t, 3, 2, 1, 2)),
        (avg_pool(x, 3, stride=2, padding=1), f.avg_pool2d(t, 3, 2, 1)),
        (avg_pool(x, 3, stride=2, padding=1, count_include_pad=False), f.avg_pool2d(t, 3, 2, 1, False, False)),
        (adaptive_avg_pool(x, (3, 5)), f.adaptive_avg_pool2d(t, (3, 5))),
        (adaptive_max_pool(x, (3, 5)), f.adaptive_max_pool2d(t, (3, 5))),
        (lp_pool(jnp.abs(x), 2, 3), f.lp_pool2d(t.abs(), 3, 2)),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(np.moveaxis(ours, -1, 1), theirs.numpy(), atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: max_pool(jnp.ones((2, 5)), 2), "batch, \\*spatial, channels"),
        (lambda: max_pool(jnp.ones((2, 3, 28, 28)), (4, 4)), "moveaxis"),
        (lambda: max_pool(jnp.ones((2, 4, 1)), 2, padding=2), "see some input"),
        (lambda: avg_pool(jnp.ones((2, 4, 1)), (2, 2)), "one per spatial axis"),
        (lambda: avg_pool(jnp.ones((2, 4, 1)), 2, padding="CIRCULAR"), "'SAME', 'VALID'"),
        (lambda: lp_pool(jnp.ones((2, 4, 1)), 2, 0.5), "p in \\[1"),
        (lambda: adaptive_avg_pool(jnp.ones((2, 4, 1)), 0), "output_size >= 1"),
        (lambda: global_avg_pool(jnp.ones((2, 0, 1))), "no empty spatial axis"),
        (lambda: global_max_pool(jnp.ones((2, 0, 1))), "no empty spatial axis"),
    ],
)
def test_misuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()
