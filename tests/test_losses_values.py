"""Values of every loss against its references, reduction, weights, masks, dtypes and transformations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from loss_references import Comparison, compare_losses, difference

from fnn import losses

rng = np.random.default_rng(0)
X = rng.normal(size=(4, 3)).astype(np.float32)
Y = rng.normal(size=(4, 3)).astype(np.float32)
P = rng.dirichlet(np.ones(3), 4).astype(np.float32)
Q = rng.dirichlet(np.ones(3), 4).astype(np.float32)
LABELS = np.array([0, 2, 1, 2])
BITS = np.array([[0, 1, 1], [1, 0, 1], [0, 0, 1], [1, 1, 0]])
SIGNS = 2 * BITS - 1

# name -> floating-point arguments, other arguments, keywords
CALLS = {
    "absolute_error": ((X,), (Y,), {}),
    "bernoulli_negative_log_likelihood": ((X,), (BITS,), {}),
    "binary_cross_entropy": ((P,), (BITS,), {}),
    "binary_dice_loss": ((X,), (BITS,), {}),
    "categorical_negative_log_likelihood": ((np.log(P),), (LABELS,), {}),
    "contrastive_loss": ((X, Y), (np.array([0, 1, 1, 0]),), {}),
    "cosine_distance": ((X, Y), (), {}),
    "cosine_similarity": ((X, Y), (), {}),
    "cross_entropy": ((P,), (LABELS,), {}),
    "ctc_loss": (
        (np.stack([X, Y, X, Y]), np.zeros((4, 4), np.float32)),
        (np.array([[1, 2], [1, 1], [2, 1], [2, 2]]), np.zeros((4, 2))),
        {},
    ),
    "dice_loss": ((np.stack([X, Y]),), (np.stack([BITS, BITS]),), {}),
    "gaussian_kl_divergence": ((X, Y), (), {}),
    "gaussian_negative_log_likelihood": ((X, Y), (), {"log_variance": 0.3}),
    "generalized_kl_divergence": ((np.log(P), Q), (), {}),
    "half_mse": ((X,), (Y,), {}),
    "hinge_loss": ((X,), (SIGNS,), {}),
    "huber_loss": ((X,), (Y,), {}),
    "js_divergence": ((P, Q), (), {}),
    "kl_divergence": ((np.log(P), Q), (), {}),
    "kl_divergence_from_probabilities": ((P, Q), (), {}),
    "kl_divergence_with_log_targets": ((np.log(P), np.log(Q)), (), {}),
    "l2_loss": ((X,), (Y,), {}),
    "laplace_negative_log_likelihood": ((X, Y), (), {"log_scale": 0.3}),
    "log_cosh": ((X,), (Y,), {}),
    "mae": ((X,), (Y,), {}),
    "mse": ((X,), (Y,), {}),
    "multiclass_hinge_loss": ((X,), (LABELS,), {}),
    "multiclass_perceptron_loss": ((X,), (LABELS,), {}),
    "perceptron_loss": ((X,), (SIGNS,), {}),
    "poisson_negative_log_likelihood": ((X,), (LABELS[:, None] + BITS,), {}),
    "poly_loss_cross_entropy": ((X,), (LABELS,), {}),
    "quantile_loss": ((X,), (Y[:, 0],), {"levels": (0.1, 0.5, 0.9)}),
    "sigmoid_binary_cross_entropy": ((X,), (BITS,), {}),
    "sigmoid_focal_loss": ((X,), (BITS,), {"alpha": 0.25}),
    "smooth_l1_loss": ((X,), (Y,), {}),
    "softmax_cross_entropy": ((X,), (LABELS,), {}),
    "softmax_cross_entropy_with_integer_labels": ((X,), (LABELS,), {}),
    "squared_error": ((X,), (Y,), {}),
    "squared_hinge_loss": ((X,), (SIGNS,), {}),
    "student_t_negative_log_likelihood": ((X, Y), (), {"log_scale": 0.3, "degrees_of_freedom": 3.0}),
    "triplet_margin_loss": ((X, Y, P), (), {}),
}
names = pytest.mark.parametrize("name", CALLS)
over_examples = pytest.mark.parametrize("name", sorted(set(CALLS) - {"dice_loss"}))  # its reduction is over classes


def call(name, dtype=jnp.float32, **options):
    inputs, others, keywords = CALLS[name]
    return getattr(losses, name)(*(jnp.asarray(x, dtype) for x in inputs), *others, **keywords, **options)


@functools.cache
def eager(name):
    """The values, operation by operation."""
    return np.asarray(call(name))


def test_the_table_of_calls_has_every_loss():
    assert set(CALLS) == set(losses.__all__) - {"smooth_labels"}


def test_the_references_have_every_loss():
    assert {c.name.split(" (")[0] for c in compare_losses()} >= set(losses.__all__) - {"smooth_l1_loss"}


@pytest.mark.parametrize("comparison", compare_losses(), ids=lambda c: f"{c.name} / {c.source}")
def test_values_are_those_of_the_reference(comparison: Comparison, x64):
    random = np.random.default_rng(1)
    assert difference(comparison, [comparison.cases(random) for _ in range(10)]) < 1e-12


def test_smooth_l1_is_huber_at_one_and_scaled_huber_elsewhere():
    np.testing.assert_array_equal(losses.smooth_l1_loss(X, Y), losses.huber_loss(X, Y))
    np.testing.assert_allclose(
        2.5 * losses.smooth_l1_loss(X, Y, beta=2.5), losses.huber_loss(X, Y, delta=2.5), rtol=1e-6
    )


def test_the_median_is_half_the_absolute_error():
    np.testing.assert_allclose(losses.quantile_loss(X, Y), losses.absolute_error(X, Y) / 2, rtol=1e-6)


def test_student_t_tends_to_the_normal_distribution(x64):
    normal = losses.gaussian_negative_log_likelihood(jnp.asarray(X, float), Y, 2.0)
    t = losses.student_t_negative_log_likelihood(jnp.asarray(X, float), Y, 2**0.5, degrees_of_freedom=1e8)
    np.testing.assert_allclose(t, normal, atol=1e-6)


def test_scale_and_log_scale_are_the_same():
    for name, argument in [
        ("gaussian_negative_log_likelihood", "variance"),
        ("laplace_negative_log_likelihood", "scale"),
    ]:
        loss = getattr(losses, name)
        np.testing.assert_allclose(loss(X, Y, np.exp(P)), loss(X, Y, **{f"log_{argument}": P}), rtol=2e-5, atol=1e-6)


def test_log_cosh_keeps_small_residuals(x64):
    np.testing.assert_allclose(losses.log_cosh(jnp.array([1e-6])), [5e-13], rtol=1e-9)


def test_gradients_are_prediction_minus_target(x64):
    logits, one_hot, soft_labels = jnp.asarray(5 * X, float), np.eye(3)[LABELS], P.astype(float)
    softmax = jax.grad(lambda x: losses.softmax_cross_entropy(x, LABELS, reduction="sum"))(logits)
    np.testing.assert_allclose(softmax, jax.nn.softmax(logits) - one_hot, rtol=1e-14, atol=1e-16)
    soft = jax.grad(lambda x: losses.softmax_cross_entropy(x, soft_labels, reduction="sum"))(logits)
    np.testing.assert_allclose(soft, jax.nn.softmax(logits) * soft_labels.sum(1)[:, None] - soft_labels, atol=1e-15)
    sigmoid = jax.grad(lambda x: losses.sigmoid_binary_cross_entropy(x, BITS, reduction="sum"))(logits)
    np.testing.assert_allclose(sigmoid, jax.nn.sigmoid(logits) - BITS.astype(float), rtol=1e-14, atol=1e-16)


def test_gradient_of_logistic_regression_by_its_weights(x64):
    x, y = jnp.asarray(X, float), BITS[:, 0].astype(float)
    w = jnp.array([0.3, -2.0, 1.0])
    gradient = jax.grad(lambda w: losses.sigmoid_binary_cross_entropy(x @ w, y, reduction="sum"))(w)
    np.testing.assert_allclose(gradient, (jax.nn.sigmoid(x @ w) - y) @ x, rtol=1e-13)


def test_half_mse_has_no_factor_two():
    x = jnp.asarray(X)
    gradient = jax.grad(lambda p: losses.half_mse(p, Y, reduction="mean"))(x)
    np.testing.assert_allclose(gradient, (X - Y) / len(X), rtol=1e-6)


@pytest.mark.parametrize("name", ["absolute_error", "mae", "log_cosh", "huber_loss", "quantile_loss", "squared_error"])
def test_the_derivative_at_zero_is_zero(name):
    zero = jnp.zeros((2, 2))
    assert not jax.grad(lambda p: getattr(losses, name)(p, zero, reduction="sum"))(zero).any()


@pytest.mark.parametrize("axis", [0, 1, (0, 2), (2, 1), None])
def test_classes_on_any_axis(axis, x64):
    x = rng.normal(size=(2, 3, 4))
    y = scipy.special.softmax(rng.normal(size=(2, 3, 4)), axis)
    pairs = [(losses.softmax_cross_entropy, optax.softmax_cross_entropy, y)]
    if axis is not None:
        axes = (axis,) if isinstance(axis, int) else axis
        labels = np.ones([n for i, n in enumerate(x.shape) if i not in axes], int)
        name = "softmax_cross_entropy_with_integer_labels"
        pairs.append((getattr(losses, name), getattr(optax, name), labels))
    for got, expected in jax.jit(lambda: [(mine(x, t, axis), theirs(x, t, axis)) for mine, theirs, t in pairs])():
        np.testing.assert_allclose(got, expected, rtol=1e-13)


@over_examples
def test_reduction_and_weights(name):
    values = eager(name).astype(np.float64)
    w = np.arange(len(values), dtype=np.float32)
    weighted = values * w.reshape(-1, *[1] * (values.ndim - 1))
    mean = weighted.sum() / np.broadcast_to(w.reshape(-1, *[1] * (values.ndim - 1)), values.shape).sum()

    @jax.jit
    def reduced(w):
        by = {reduction: call(name, weights=w, reduction=reduction) for reduction in ("none", "sum", "mean")}
        return by, call(name, reduction="mean")

    got, plain = reduced(w)
    np.testing.assert_allclose(got["none"], weighted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got["sum"], weighted.sum(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got["mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(plain, values.mean(), rtol=1e-5, atol=1e-6)
    assert reduced(0 * w)[0]["mean"] == 0


@over_examples
def test_masked_examples_may_hold_anything(name):
    values = eager(name)
    keep = np.arange(len(values)) > 0
    inputs, others, keywords = CALLS[name]

    def loss(reduction, *inputs):
        return getattr(losses, name)(*inputs, *others, **keywords, where=keep, reduction=reduction)

    mean_and_gradients = jax.value_and_grad(lambda *x: loss("mean", *x), tuple(range(len(inputs))))
    both = jax.jit(lambda *x: (loss("none", *x), mean_and_gradients(*x)))
    for junk in (jnp.inf, -jnp.inf, jnp.nan):
        spoiled = [np.where(np.arange(len(x)).reshape(-1, *[1] * (x.ndim - 1)) > 0, x, junk) for x in inputs]
        if name == "ctc_loss":
            spoiled[1] = inputs[1]
        each, (mean, gradients) = both(*(jnp.asarray(x, jnp.float32) for x in spoiled))
        np.testing.assert_allclose(each[1:], values[1:], rtol=1e-5, atol=1e-6)
        assert not each[0].any()
        np.testing.assert_allclose(mean, values[1:].mean(), rtol=1e-5, atol=1e-6)
        assert all(np.isfinite(g).all() and not np.any(g[0]) for g in gradients)


@names
def test_everything_masked_is_zero(name):
    nothing = np.zeros(len(eager(name)), bool)
    assert not jax.jit(lambda: call(name, where=nothing, reduction="mean"))().any()


def test_dice_reduces_over_classes_as_optax_does(x64):
    p, t = (jnp.asarray(np.stack([a, a[::-1]]), float) for a in (X, BITS))
    w = np.array([2.0, 0.0])
    for reduction in ("none", "sum", "mean"):
        mine = losses.dice_loss(p, t, reduction=reduction)
        np.testing.assert_allclose(mine, optax.losses.dice_loss(p, t, reduction=reduction), rtol=1e-13)
        weighted = losses.dice_loss(p, t, reduction=reduction, weights=w)
        np.testing.assert_allclose(weighted, mine * w.reshape(-1, *[1] * (mine.ndim - 1)), rtol=1e-13)
        left = losses.dice_loss(p.at[1].set(jnp.nan), t, reduction=reduction, where=np.array([True, False]))
        np.testing.assert_allclose(left[0], mine[0], rtol=1e-13)
        assert not left[1].any()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_target_in_a_class_left_out_is_ignored_as_in_optax(smoothing, x64):
    logits, inside = jnp.asarray(X, float), np.asarray(BITS, bool) | np.array([True, False, False])
    one_hot = np.eye(3)[LABELS] * (1 - smoothing) + smoothing / 3
    loss = lambda x, y: losses.softmax_cross_entropy(x, y, where=inside)  # noqa: E731
    expected = optax.softmax_cross_entropy(logits, one_hot, where=inside)
    np.testing.assert_allclose(loss(logits, one_hot), expected, rtol=1e-13)
    if not smoothing:
        np.testing.assert_allclose(loss(logits, LABELS), expected, rtol=1e-13)
        np.testing.assert_allclose(losses.poly_loss_cross_entropy(logits, LABELS, epsilon=0.0, where=inside), expected)
    assert np.isfinite(jax.grad(lambda x: loss(x, one_hot).sum())(logits)).all()
    assert not inside[np.arange(len(LABELS)), LABELS].all()


@names
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float64])
def test_dtypes(name, dtype):
    with jax.enable_x64(True):
        got, mean = jax.jit(lambda: (call(name, dtype, weights=np.array(1.0)), call(name, dtype, reduction="mean")))()
        assert got.dtype == mean.dtype == dtype
        tolerance = 40 * float(jnp.finfo(dtype).eps) if dtype != jnp.float64 else 1e-4
        np.testing.assert_allclose(np.asarray(got, float), eager(name), rtol=tolerance, atol=tolerance)


@names
def test_jit_vmap_and_gradient(name):
    inputs, others, keywords = CALLS[name]
    loss = getattr(losses, name)
    arrays = (*map(jnp.asarray, inputs), *map(jnp.asarray, others))
    twice = [np.stack([a, a[::-1]]) for a in arrays]

    @jax.jit
    def compiled(arrays, twice):
        one = lambda *a: loss(*a, **keywords)  # noqa: E731
        return one(*arrays), jax.vmap(one)(*twice), one(*(a[::-1] for a in arrays))

    alone, both, turned = compiled(arrays, twice)
    np.testing.assert_allclose(alone, eager(name), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(both[0], eager(name), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(both[1], turned, rtol=1e-5, atol=1e-6)


def test_hyperparameters_may_be_traced():
    x, y = jnp.asarray(X), jnp.asarray(Y)
    grid = jnp.array([0.1, 0.5, 0.9])
    each = {
        "huber_loss": "delta",
        "smooth_l1_loss": "beta",
        "quantile_loss": "levels",
    }
    calls = [lambda v, name=name, a=a: getattr(losses, name)(x, y, **{a: v}) for name, a in each.items()]
    calls.append(lambda a: losses.softmax_cross_entropy(x, LABELS, label_smoothing=a))
    for traced, given in jax.jit(lambda: [(jax.vmap(one)(grid), one(0.9)) for one in calls])():
        np.testing.assert_allclose(traced[2], given, rtol=1e-6)


@names
def test_nested_lists_are_arrays(name):
    inputs, others, keywords = CALLS[name]
    loss, given = getattr(losses, name), [np.asarray(one) for one in (*inputs, *others)]
    expected = loss(*given, **keywords)
    found = loss(*(one.tolist() for one in given), **keywords)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
