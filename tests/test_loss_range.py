"""Losses over the whole range of every dtype: value and gradient are those of float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

L = fnn.losses
LOSSES = {
    "squared_error": (L.squared_error, 0.5),
    "absolute_error": (L.absolute_error, 0.5),
    "huber_loss": (L.huber_loss, 0.5),
    "smooth_l1_loss": (L.smooth_l1_loss, 0.5),
    "log_cosh": (L.log_cosh, 0.0),
    "sigmoid_binary_cross_entropy, 0": (L.sigmoid_binary_cross_entropy, 0.0),
    "sigmoid_binary_cross_entropy, 1": (L.sigmoid_binary_cross_entropy, 1.0),
    "hinge_loss": (L.hinge_loss, 1.0),
    "perceptron_loss": (L.perceptron_loss, -1.0),
    "l2_loss": (L.l2_loss, 0.5),
    "squared_hinge_loss": (L.squared_hinge_loss, 1.0),
    "quantile_loss": (lambda x, t: L.quantile_loss(x, t, 0.3), 0.5),
    "sigmoid_focal_loss": (L.sigmoid_focal_loss, 1.0),
    "poisson_negative_log_likelihood": (lambda x, t: L.poisson_negative_log_likelihood(-jnp.abs(x), t), 3.0),
    "gaussian_negative_log_likelihood": (lambda x, t: L.gaussian_negative_log_likelihood(x, t, 2.0), 0.5),
    "laplace_negative_log_likelihood": (lambda x, t: L.laplace_negative_log_likelihood(x, t, 2.0), 0.5),
    "student_t_negative_log_likelihood": (
        lambda x, t: L.student_t_negative_log_likelihood(x, t, 2.0, degrees_of_freedom=3.0),
        0.5,
    ),
    "softmax_cross_entropy, other class": (
        lambda x, t: L.softmax_cross_entropy(jnp.stack([x, 0 * x], -1), jnp.ones(x.shape, jnp.int32)),
        0.0,
    ),
    "poly_loss_cross_entropy": (
        lambda x, t: L.poly_loss_cross_entropy(jnp.stack([x, 0 * x], -1), jnp.ones(x.shape, jnp.int32)),
        0.0,
    ),
    "multiclass_hinge_loss": (
        lambda x, t: L.multiclass_hinge_loss(jnp.stack([x, 0 * x], -1), jnp.ones(x.shape, jnp.int32)),
        0.0,
    ),
    "softmax_cross_entropy": (
        lambda x, t: L.softmax_cross_entropy(jnp.stack([x, 0 * x], -1), jnp.zeros(x.shape, jnp.int32)),
        0.0,
    ),
}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_are_those_of_float64(name, dtype):
    loss, target = LOSSES[name]
    with jax.enable_x64(True):
        info = jnp.finfo(dtype)
        # A derivative taken as a product, 2 (x - y) times 1/4 or γ times a logit, needs room for its first factor.
        products = ("sigmoid_focal_loss", "gaussian_negative_log_likelihood")
        top = np.log2(float(info.max)) - (2 if name in products else 0) - 0.01
        sizes = np.concatenate([2 ** np.linspace(-20, top, 60), np.linspace(0.1, 80, 40)])
        x = jnp.asarray(np.concatenate([-sizes, [0.0], sizes]), dtype)

        @jax.jit
        def both(x):
            y, back = jax.vjp(lambda x: loss(x, jnp.full_like(x, target)), x)
            return y, back(jnp.ones_like(y))[0]

        wide = both(x.astype(jnp.float64))
        for ours, exact in zip(both(x), wide, strict=True):
            exact = np.asarray(exact)
            with np.errstate(over="ignore"):
                rounded = np.asarray(jnp.asarray(exact).astype(ours.dtype), np.float64)
            # Of a class's own logit the gradient of a cross-entropy is p - 1, which has no more digits than p.
            floor = float(info.eps) if name.startswith("softmax") and exact.min() < 0 else 1e-36
            close = np.abs(np.asarray(ours, np.float64) - exact) <= 100 * float(info.eps) * np.abs(exact) + floor
            bad = np.flatnonzero(~(close | (np.asarray(ours, np.float64) == rounded)))
            assert bad.size == 0, [(float(x[i]), float(ours[i]), exact[i]) for i in bad[:4]]


LARGE = np.array([[1e20, 2e20, -3e20], [1.2e38, 0, 1e38], [1e-3, 2, 3], [3e19, 1, 0]], np.float32)


@pytest.mark.parametrize("degree", [1, 2, 3, 2.5, 300.0])
def test_a_triplet_whose_powers_overflow_has_the_distance_and_its_gradient(degree):
    zero = np.zeros_like(LARGE)
    loss = lambda a: L.triplet_margin_loss(zero, a, zero, norm_degree=degree, eps=0.0)  # noqa: E731
    value, slope = jax.jit(lambda a: (loss(a), jax.grad(lambda a: loss(a).sum())(a)))(LARGE)
    x = np.abs(LARGE.astype(float))
    unit = x.max(-1, keepdims=True)
    distance = unit * ((x / unit) ** degree).sum(-1, keepdims=True) ** (1 / degree)
    np.testing.assert_allclose(value, distance[:, 0] + 1, rtol=2e-5)
    np.testing.assert_allclose(slope, np.sign(LARGE) * (x / distance) ** (degree - 1), rtol=1e-4, atol=1e-30)


def test_the_degree_of_a_norm_has_its_derivative(x64):
    a, p, n = np.random.default_rng(0).normal(size=(3, 5, 4))
    loss = lambda degree: L.triplet_margin_loss(a, p, n, margin=3.0, norm_degree=degree).sum()  # noqa: E731
    slope = (loss(3 + 1e-5) - loss(3 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(loss)(3.0), slope, rtol=1e-7)


def test_pairs_whose_squares_overflow_are_inf_where_alike_and_cost_nothing_elsewhere():
    zero = np.zeros_like(LARGE)

    @jax.jit
    def both(a, b, y):
        loss = lambda a: L.contrastive_loss(a, b, y)  # noqa: E731
        return loss(a), jax.grad(lambda a: loss(a).sum())(a)

    value, slope = both(LARGE, zero, jnp.zeros(4))
    assert not value.any()
    assert not slope.any()
    value, slope = both(LARGE, zero, jnp.ones(4))
    np.testing.assert_allclose(value, [np.inf, np.inf, 13, np.inf], rtol=1e-6)
    np.testing.assert_array_equal(slope, 2 * LARGE)
    value, slope = both(LARGE[:2] * 2, -LARGE[:2] * 2, jnp.zeros(2))  # the differences are inf
    assert not value.any()
    assert not slope.any()


def test_a_triplet_beyond_float32_is_inf():
    loss = jax.value_and_grad(lambda a, p, n: L.triplet_margin_loss(a, p, n))
    value, slope = loss(jnp.full(3, 3e38), jnp.full(3, -3e38), jnp.full(3, -2e38))
    assert value == jnp.inf
    assert not jnp.isnan(slope).any()
