"""Extreme inputs: float64's values, JVPs and VJPs wherever they fit the dtype; and NaN where mathematics has none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_losses_values import CALLS

from fnn import losses

INF = np.inf
DTYPES = (jnp.float32, jnp.bfloat16, jnp.float16)
POINTS = np.array([0.0, -0.0, 1.0, -1.0, 1e4, -1e4, 1e-40, -1e-7])
A, B = (x.ravel() for x in np.meshgrid(POINTS, POINTS))
SIGN = np.where(np.arange(len(A)) % 2, 1, -1)
UNIT = np.array([0.0, 1.0, 0.5, 1e-40, 1e-7])
S, T = (x.ravel() for x in np.meshgrid(UNIT, UNIT))
CORNERS = np.array([[0, 0, 1], [1, 0, 0], [0.5, 0.5, 0], [1e-40, 1 - 1e-7, 0]])
LOGITS = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [0, -INF, -INF], [-INF, 1e4, 1e4], [1e-40, 0, -0.0]])
LABELS = np.array([0, 2, 0, 1, 2])
FINITE = np.maximum(LOGITS, -1e4)
SOME_CLASSES = np.array([[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 1, 1], [1, 0, 1]]) > 0
VECTORS = np.array([[0, 0], [1e4, 1e4], [-1e4, 0], [1e-40, 0], [1, 1]])
Z, X = (np.repeat(VECTORS, 5, 0), np.tile(VECTORS, (5, 1)))

# name, function of the floating-point arguments that are differentiated
GRID = {
    "softmax_cross_entropy": (lambda x: losses.softmax_cross_entropy(x, LABELS), LOGITS),
    "softmax_cross_entropy, soft": (losses.softmax_cross_entropy, LOGITS, np.eye(3)[LABELS]),
    "softmax_cross_entropy, soft finite": (losses.softmax_cross_entropy, FINITE, CORNERS[[0, 1, 2, 0, 1]]),
    "softmax_cross_entropy, mask": (
        lambda x: losses.softmax_cross_entropy(x, LABELS, where=SOME_CLASSES),
        LOGITS,
    ),
    "poly_loss_cross_entropy": (lambda x: losses.poly_loss_cross_entropy(x, LABELS), LOGITS),
    "cross_entropy": (losses.cross_entropy, CORNERS, CORNERS[::-1]),
    "categorical": (losses.categorical_negative_log_likelihood, np.log(np.maximum(CORNERS, 1e-5)), CORNERS),
    "binary_cross_entropy": (losses.binary_cross_entropy, S, T),
    "sigmoid_binary_cross_entropy": (losses.sigmoid_binary_cross_entropy, np.repeat(POINTS, 5), np.tile(UNIT, 8)),
    "sigmoid_binary_cross_entropy, infinite": (
        lambda x: losses.sigmoid_binary_cross_entropy(x, np.array([1, 0])),
        np.array([INF, -INF]),
    ),
    "sigmoid_focal_loss": (lambda x: losses.sigmoid_focal_loss(x, np.tile([0, 1], 8)), np.repeat(POINTS, 2)),
    "sigmoid_focal_loss, gamma<1": (
        lambda x: losses.sigmoid_focal_loss(x, np.tile([0, 1], 8), gamma=0.5),
        np.repeat(POINTS, 2),
    ),
    "hinge_loss": (lambda p: losses.hinge_loss(p, SIGN), A),
    "perceptron_loss": (lambda p: losses.perceptron_loss(p, SIGN), A),
    "multiclass_hinge_loss": (lambda p: losses.multiclass_hinge_loss(p, LABELS), FINITE),
    "weston_watkins": (
        lambda p: losses.multiclass_hinge_loss(p, LABELS, form="weston_watkins"),
        FINITE,
    ),
    "multiclass_perceptron_loss": (
        lambda p: losses.multiclass_perceptron_loss(p, LABELS),
        FINITE,
    ),
    "squared_hinge_loss": (lambda p: losses.squared_hinge_loss(p, SIGN), A),
    "squared_error": (losses.squared_error, A, B),
    "l2_loss": (losses.l2_loss, A, B),
    "mse": (losses.mse, A[:, None], B[:, None]),
    "half_mse": (losses.half_mse, A[:, None], B[:, None]),
    "gaussian": (lambda m, y: losses.gaussian_negative_log_likelihood(m, y, 1.0), A, B),
    "bernoulli": (lambda x: losses.bernoulli_negative_log_likelihood(x, np.tile([0, 1], 8)), np.repeat(POINTS, 2)),
    "absolute_error": (losses.absolute_error, A, B),
    "huber_loss": (losses.huber_loss, A, B),
    "smooth_l1_loss": (losses.smooth_l1_loss, A, B),
    "log_cosh": (losses.log_cosh, A, B),
    "quantile_loss": (losses.quantile_loss, A, B),
    "mae": (losses.mae, A, B),
    "laplace": (lambda m, y: losses.laplace_negative_log_likelihood(m, y, 1.0), A, B),
    "student_t": (lambda m, y: losses.student_t_negative_log_likelihood(m, y, 1.0, degrees_of_freedom=3.0), A, B),
    "student_t, narrow": (
        lambda m, s: losses.student_t_negative_log_likelihood(m, m, log_scale=s, degrees_of_freedom=3.0),
        A,
        B,
    ),
    "gaussian, narrow": (lambda m, v: losses.gaussian_negative_log_likelihood(m, m, log_variance=v), A, B),
    "laplace, narrow": (lambda m, v: losses.laplace_negative_log_likelihood(m, m, log_scale=v), A, B),
    "poisson": (losses.poisson_negative_log_likelihood, np.array([0.0, -1e4, 5, 1e-40]), np.array([0.0, 1, 3, 0])),
    "kl_divergence": (
        losses.kl_divergence,
        np.array([[0, -INF, -INF], [-1e4, 0, -1e4]]),
        np.array([[1.0, 0, 0], [0, 1, 0]]),
    ),
    "kl_divergence_from_probabilities": (losses.kl_divergence_from_probabilities, CORNERS, CORNERS[::-1]),
    "kl_divergence_with_log_targets": (
        losses.kl_divergence_with_log_targets,
        np.array([[0, -INF, -1e4], [0, -1e4, -1e4]]),
        np.array([[0, -INF, -INF], [-1e4, 0, -INF]]),
    ),
    "generalized_kl_divergence": (
        losses.generalized_kl_divergence,
        np.array([[0, -INF, -1e4]]),
        np.array([[1.0, 0, 0]]),
    ),
    "js_divergence": (losses.js_divergence, CORNERS, CORNERS[::-1]),
    "gaussian_kl_divergence": (losses.gaussian_kl_divergence, np.array([0.0, 1e-40]), np.array([-1e4, 0.0])),
    "cosine_distance": (losses.cosine_distance, Z, X),
    "cosine_distance, epsilon": (lambda p, t: losses.cosine_distance(p, t, epsilon=1e-4), Z, X),
    "contrastive_loss": (lambda a, b: losses.contrastive_loss(a, b, np.arange(25) * 0), Z, X),
    "triplet_margin_loss": (losses.triplet_margin_loss, Z, X, Z),
    "triplet_margin_loss, degree 1": (lambda a, p, n: losses.triplet_margin_loss(a, p, n, norm_degree=1), Z, X, Z),
    "dice_loss": (lambda p: losses.dice_loss(p[None], np.eye(3)[LABELS][None], smooth=0.0), FINITE),
    "dice_loss, empty": (lambda p: losses.binary_dice_loss(p, 0 * p, smooth=0.0), np.full((1, 4), -1e4)),
    "ctc_loss": (
        lambda x: losses.ctc_loss(x[None], np.zeros((1, 5)), np.array([[2, 1]]), np.zeros((1, 2))),
        np.array([[0, -INF, 1e4], [1e4, 0, -1e4], [-1e4, 1e4, 0], [0, 0, 0], [1e-40, 0, -0.0]]),
    ),
    "ctc_loss, no label": (
        lambda x: losses.ctc_loss(x[None], np.zeros((1, 5)), np.array([[2, 1]]), np.ones((1, 2))),
        np.maximum(LOGITS, -10),
    ),
}  # fmt: skip


def derivatives(loss, inputs):
    """The value, its JVP in the direction of ones, and its VJP."""
    value, tangent = jax.jvp(loss, tuple(inputs), tuple(map(jnp.ones_like, inputs)))
    return value, tangent, jax.vjp(loss, *inputs)[1](jnp.ones_like(value))


FROM_PROBABILITIES = {"cross_entropy", "binary_cross_entropy", "kl_divergence_from_probabilities"}
"""They take the logarithm of no less than the smallest normal number of the dtype: their values differ by dtype."""


@pytest.mark.parametrize("name", GRID)
def test_values_jvps_and_vjps_are_those_of_float64(name):
    """Finite in float64; in the others what it rounds to, within a few units: infinite only where that is."""
    loss, *inputs = GRID[name]
    program = jax.jit(lambda inputs: derivatives(loss, inputs))
    with jax.enable_x64(True), np.errstate(over="ignore"):
        for dtype in DTYPES:
            rounded = [jnp.asarray(x, dtype) for x in inputs]
            value, tangent, gradients = program(rounded)
            assert value.dtype == dtype
            # XLA takes what is subnormal in float32 for zero.
            same = [np.where(np.abs(x) < np.finfo(np.float32).tiny, 0, np.asarray(x, np.float64)) for x in rounded]
            exact = program(same)
            for ours, wide in zip((value, tangent, *gradients), (*exact[:2], *exact[2]), strict=True):
                got, wide = np.asarray(ours, np.float64), np.asarray(wide)
                assert np.isfinite(wide).all()
                if name in FROM_PROBABILITIES:
                    assert np.isfinite(got).all()
                    continue
                near = np.abs(got - wide) <= 8 * float(jnp.finfo(dtype).eps) * (np.abs(wide) + 1)
                equal = got == np.asarray(wide.astype(ours.dtype), np.float64)
                assert (near | equal).all(), (dtype, got, wide)


def test_infinite_logits_have_their_limit():
    x = jnp.array([[jnp.inf, 0.0], [0.0, jnp.inf]])
    np.testing.assert_array_equal(losses.softmax_cross_entropy(x, np.array([0, 0])), [0, jnp.inf])
    np.testing.assert_array_equal(losses.softmax_cross_entropy(x, jnp.array([[1.0, 0.0], [1.0, 0.0]])), [0, jnp.inf])
    assert jnp.isnan(losses.softmax_cross_entropy(jnp.full((1, 2), -jnp.inf), np.array([0]))).all()


def test_the_gradient_by_zero_targets_is_the_logarithm():
    x, y = jnp.array([1.0, 2.0, 0.0]), jnp.array([1.0, 0.0, 0.0])
    got = jax.grad(losses.softmax_cross_entropy, 1)(x, y)
    np.testing.assert_allclose(got, -jax.nn.log_softmax(x), rtol=1e-6)


def test_a_class_that_cannot_occur_costs_infinity():
    assert losses.softmax_cross_entropy(jnp.array([[0.0, -jnp.inf]]), np.array([1]))[0] == jnp.inf


@pytest.mark.parametrize("label", [-1, 3, 2**20])
def test_traced_labels_out_of_range_are_nan(label):
    x, y = jnp.zeros((2, 3)), jnp.array([0, label])

    @jax.jit
    def loss(x, y):
        return losses.softmax_cross_entropy(x, y, reduction="mean")

    assert jnp.isnan(loss(x, y))
    assert jnp.isnan(jax.jit(jax.grad(loss))(x, y)).any()
    assert jnp.isfinite(jax.jit(lambda x, y: losses.softmax_cross_entropy(x, y, ignore_index=label))(x, y)).all()
    assert jnp.isfinite(jax.jit(lambda x, y: losses.softmax_cross_entropy(x, y, where=y == 0))(x, y)).all()
    frames = jnp.zeros((1, 4, 3))
    assert jnp.isnan(jax.jit(lambda y: losses.ctc_loss(frames, jnp.zeros((1, 4)), y, jnp.zeros((1, 2))))(y[None])).all()
    assert jnp.isnan(jax.jit(losses.multiclass_hinge_loss)(x, y)[1])


def test_an_ignored_example_does_not_count():
    x = jnp.array([[0.0, 1.0], [5.0, 1.0]])
    both = losses.softmax_cross_entropy(x, np.array([1, -100]), ignore_index=-100, reduction="mean")
    assert both == losses.softmax_cross_entropy(x[:1], np.array([1]))[0]


@pytest.mark.parametrize("name", CALLS)
def test_no_examples_at_all(name):
    inputs, others, keywords = CALLS[name]
    empty = [jnp.asarray(x)[:0] for x in (*inputs, *others)]
    assert getattr(losses, name)(*empty, **keywords, reduction="mean").sum() == 0


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "poly_loss_cross_entropy", "cross_entropy"])
def test_no_classes_at_all_lose_nothing(name):
    assert getattr(losses, name)(jnp.zeros((2, 0)), jnp.zeros((2, 0))).tolist() == [0, 0]


def test_one_class_and_one_example():
    assert losses.softmax_cross_entropy(jnp.array([[3.0]]), np.array([0]))[0] == 0
    assert losses.softmax_cross_entropy(jnp.array([3.0, 3.0]), np.array(0)).shape == ()
    assert losses.mse(jnp.array(3.0), jnp.array(1.0)) == 4


def test_a_sequence_longer_than_its_frames_costs_a_lot():
    loss = losses.ctc_loss(jnp.zeros((1, 1, 3)), jnp.zeros((1, 1)), np.array([[1, 1]]), np.zeros((1, 2)))
    assert loss[0] > 9e4


def test_the_derivative_by_a_weight_of_0_is_the_loss():
    x, by = jnp.array([1.0, 2.0, 3.0]), jax.grad(
        lambda w, how: losses.squared_error(x, weights=w, reduction=how), 0
    )  # fmt: skip
    np.testing.assert_allclose(by(jnp.array([0.0, 1, 0]), "sum"), [1, 4, 9])
    np.testing.assert_allclose(by(jnp.array([0.0, 1, 1]), "mean"), [-2.75, -1.25, 1.25])
    lost = jax.grad(lambda w: losses.squared_error(x.at[0].set(jnp.nan), weights=w, reduction="sum"))
    np.testing.assert_allclose(lost(jnp.array([0.0, 1, 1])), [0, 4, 9])


def test_a_small_probability_is_not_lost_beside_1():
    p = np.array([1e-6, 1e-7, 1e-9], np.float32)
    np.testing.assert_allclose(losses.binary_cross_entropy(p, np.zeros(3)), -np.log1p(-p.astype(float)), rtol=1e-6)
    above = np.nextafter(np.ones(2, np.float32), 2)  # a sum of probabilities
    np.testing.assert_allclose(losses.binary_cross_entropy(above, np.array([1, 0])), [0, 87.3], atol=0.1)


@pytest.mark.parametrize(
    ("loss", "curvature"), [(losses.huber_loss, 1), (lambda r: losses.smooth_l1_loss(r, beta=2.0), 0.5)]
)
def test_a_loss_that_is_a_parabola_has_its_curvature_at_0(loss, curvature):
    assert jax.grad(jax.grad(loss))(0.0) == jax.grad(jax.grad(loss))(0.25) == curvature


def test_coordinates_that_agree_have_curvature():
    far, near = jnp.array([9.0, 9.0]), jnp.zeros(2)
    curved = jax.hessian(lambda a: losses.triplet_margin_loss(a, near, far, margin=30.0, eps=0.0))
    np.testing.assert_allclose(curved(jnp.array([1.0, 0]))[1, 1], curved(jnp.array([1.0, 1e-3]))[1, 1], atol=1e-3)
    pair = jax.hessian(lambda a: losses.contrastive_loss(a, near, jnp.ones(())))
    np.testing.assert_allclose(pair(jnp.array([0.5, 0.0])), 2 * np.eye(2), atol=1e-5)
    np.testing.assert_allclose(pair(near), 2 * np.eye(2), atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_many_degrees_of_freedom_are_a_normal_distribution(dtype):
    stats = pytest.importorskip("scipy.stats")
    nu = np.array([0.5, 1, 3, 15.9, 16.1, 31.9, 32.1, 100, 1e3, 1e5, 1e7, 1e10])
    with jax.enable_x64(dtype == jnp.float64):
        loss = lambda n: losses.student_t_negative_log_likelihood(  # noqa: E731
            jnp.asarray(0, dtype), jnp.asarray(1, dtype), 1.0, degrees_of_freedom=n
        )
        found, slope = jax.vmap(jax.value_and_grad(loss))(jnp.asarray(nu, dtype))
    digits = 2e-6 if dtype == jnp.float32 else 1e-12  # scipy has no more
    np.testing.assert_allclose(found, -stats.t.logpdf(1, nu), rtol=digits)
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(slope[-5:-3], (-0.5 / nu**2)[-5:-3], rtol=5e-2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.contrastive_loss(jnp.ones((1, 2)), jnp.zeros((1, 2)), jnp.array([-1])), r"\(labels \+ 1\) / 2"),
        (lambda: losses.binary_dice_loss(jnp.ones((2, 3)), jnp.full((2, 3), 255)), "write targets / 255"),
        (lambda: losses.dice_loss(jnp.ones((2, 3, 2)), jnp.full((2, 3, 2), -1)), "targets in"),
    ],
)  # fmt: skip
def test_labels_outside_of_0_to_1_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_cosine_similarity_leaves_zero_by_the_slope_that_epsilon_gives(x64):
    slope = jax.grad(lambda p: losses.cosine_similarity(p, jnp.array([3.0, 4.0]), epsilon=1e-4))(jnp.zeros(2))
    np.testing.assert_allclose(slope, np.array([0.6, 0.8]) / 1e-2)
    assert jnp.isfinite(jax.grad(lambda p: losses.cosine_similarity(p, jnp.ones(2)))(jnp.zeros(2))).all()


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_the_derivative_of_the_focal_loss_by_a_label_of_0_or_1_is_its_limit(gamma, alpha):
    x, y = (side.ravel() for side in np.meshgrid([-300.0, -60, -3, 0, 0.5, 3, 60, 300], [0.0, 0.3, 1]))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        p, log_p, log_q = 1 / (1 + np.exp(-x)), -np.logaddexp(0, -x), -np.logaddexp(0, x)
        q = np.exp(log_q)
        missed, crossed = (1 - y) * p + y * q, -y * log_p - (1 - y) * log_q
        faded = gamma * missed ** (gamma - 1) * (q - p) if gamma else 0
        slope = faded * crossed + missed**gamma * (log_q - log_p)
        if alpha is not None:
            slope = (alpha * y + (1 - alpha) * (1 - y)) * slope + (2 * alpha - 1) * missed**gamma * crossed

    @jax.jit
    def both(x, y):
        loss = lambda x, y: losses.sigmoid_focal_loss(x, y, gamma=gamma, alpha=alpha)  # noqa: E731
        return jax.vmap(jax.grad(loss, 1))(x, y), jax.vmap(jax.hessian(loss, (0, 1)))(x, y)

    found, curvature = both(x.astype(np.float32), y.astype(np.float32))
    np.testing.assert_allclose(found, slope, rtol=1e-4, atol=1e-8)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(curvature))
    inside = abs(x) < 10
    _, near = both(x.astype(np.float32), np.clip(y, 1e-4, 1 - 1e-4).astype(np.float32))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[inside], b[inside], rtol=0.02, atol=2e-3), curvature, near)
