"""Metrics against scikit-learn, with weights, ties, padding and degenerate sets."""

import functools
import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given
from hypothesis import strategies as st

import fnn
from fnn import metrics
from fnn.metrics.protocol import in_order

N, K = 20, 4
seeds = st.integers(0, 10_000)
CLASS_METRICS = [
    (metrics.precision, reference.precision_score),
    (metrics.recall, reference.recall_score),
    (metrics.f1, reference.f1_score),
]
VALUE_METRICS = [
    (metrics.mean_squared_error, reference.mean_squared_error),
    (metrics.root_mean_squared_error, reference.root_mean_squared_error),
    (metrics.mean_absolute_error, reference.mean_absolute_error),
    (metrics.r2_score, reference.r2_score),
]


def draw(seed, classes=K):
    rng = np.random.default_rng(seed)
    # few classes of many occur, so that some never do
    used = rng.choice(classes, rng.integers(2, classes + 1), replace=False)
    return rng, rng.choice(used, N), rng.choice(used, N), rng.integers(0, 4, N).astype(float)


@given(seeds)
def test_accuracy_and_confusion_matrix(seed):
    with jax.enable_x64(True):
        _, y, p, w = draw(seed)
        w[0] = 1
        np.testing.assert_allclose(metrics.accuracy(p, y), reference.accuracy_score(y, p), rtol=1e-12)
        np.testing.assert_allclose(
            metrics.accuracy(p, y, weights=w), reference.accuracy_score(y, p, sample_weight=w), rtol=1e-12
        )
        counts = metrics.confusion_matrix(p, y, K)
        assert jnp.issubdtype(counts.dtype, jnp.integer)
        np.testing.assert_array_equal(counts, reference.confusion_matrix(y, p, labels=range(K)))
        np.testing.assert_allclose(
            metrics.confusion_matrix(p, y, K, weights=w),
            reference.confusion_matrix(y, p, labels=range(K), sample_weight=w),
        )


@given(seeds)
def test_precision_recall_f1(seed):
    with jax.enable_x64(True):
        _, y, p, w = draw(seed)
        w += 0.5  # in scikit-learn a class of weight 0 still counts as present
        for mine, theirs in CLASS_METRICS:
            for average in ("macro", "micro", "weighted"):
                np.testing.assert_allclose(
                    mine(p, y, classes=K, average=average, weights=w),
                    theirs(y, p, average=average, sample_weight=w, zero_division=0),
                    rtol=1e-12,
                )
            np.testing.assert_allclose(
                mine(p, y, classes=K, average=None), theirs(y, p, labels=range(K), average=None, zero_division=0)
            )
            a, b = y % 2, p % 2
            np.testing.assert_allclose(mine(b, a), theirs(a, b, zero_division=0), rtol=1e-12)


@given(seeds)
def test_roc_auc_with_ties_and_weights(seed):
    rng = np.random.default_rng(seed)
    s, y = rng.integers(0, 6, N) / 5, np.append(rng.integers(0, 2, N - 2), [0, 1])
    w = rng.integers(1, 4, N).astype(float)
    with jax.enable_x64(True):
        np.testing.assert_allclose(metrics.roc_auc(s, y), reference.roc_auc_score(y, s), rtol=1e-12)
        np.testing.assert_allclose(
            metrics.roc_auc(s, y, weights=w), reference.roc_auc_score(y, s, sample_weight=w), rtol=1e-12
        )


@given(seeds)
def test_values_of_one_and_of_several_outputs(seed):
    rng = np.random.default_rng(seed)
    w = rng.integers(0, 3, N).astype(float)
    w[:2] = 1
    with jax.enable_x64(True):
        for shape in ((N,), (N, 3)):
            y, p = rng.normal(size=shape), rng.normal(size=shape)
            for mine, theirs in VALUE_METRICS:
                np.testing.assert_allclose(mine(p, y), theirs(y, p), rtol=1e-11)
                np.testing.assert_allclose(mine(p, y, weights=w), theirs(y, p, sample_weight=w), rtol=1e-11)


@given(seeds, st.integers(1, K))
def test_top_k_accuracy(seed, k):
    rng, y, _, w = draw(seed)
    w[0] = 1
    s = rng.normal(size=(N, K))
    expected = reference.top_k_accuracy_score(y, s, k=k, labels=range(K), sample_weight=w) if k < K else 1.0
    np.testing.assert_allclose(metrics.top_k_accuracy(s, y, k=k, weights=w), expected, rtol=1e-6)


def test_top_1_is_accuracy_with_ties_too():
    s = jnp.array([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    y = jnp.array([0, 1, 1])
    assert metrics.top_k_accuracy(s, y, k=1) == metrics.accuracy(s, y)


@given(seeds)
def test_perplexity(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(N, K)), rng.integers(0, K, N)
    w = rng.integers(0, 3, N).astype(float)
    w[0] = 1
    p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    expected = np.exp(reference.log_loss(y, p, labels=range(K), sample_weight=w))
    with jax.enable_x64(True):
        np.testing.assert_allclose(metrics.perplexity(x, y, weights=w), expected, rtol=1e-12)


CASES = {
    "accuracy": (np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1]), {}),
    "confusion_matrix": (np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1]), {"classes": 2}),
    "f1": (np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1]), {}),
    "mean_absolute_error": (np.arange(4.0), np.ones(4), {}),
    "mean_squared_error": (np.arange(4.0), np.ones(4), {}),
    "perplexity": (np.eye(4, dtype=np.float32), np.array([0, 1, 1, 0]), {}),
    "precision": (np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1]), {"classes": 3, "average": "macro"}),
    "r2_score": (np.arange(4.0), np.array([0.0, 1.5, 2.0, 3.0]), {}),
    "recall": (np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1]), {"classes": 3, "average": "weighted"}),
    "roc_auc": (np.array([0.1, 0.3, 0.2, 0.2]), np.array([0, 1, 0, 1]), {}),
    "root_mean_squared_error": (np.arange(4.0), np.ones(4), {}),
    "top_k_accuracy": (np.eye(4, dtype=np.float32), np.array([0, 1, 1, 0]), {"k": 2}),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_padding_does_not_count_and_jit_agrees(name):
    p, y, options = CASES[name]
    metric = getattr(metrics, name)
    padded = np.concatenate([p, p[:3]]), np.concatenate([y, y[1:4]]), np.array([1.0] * 4 + [0.0] * 3)
    compiled = jax.jit(lambda p, y, w: metric(p, y, weights=w, **options))
    np.testing.assert_allclose(compiled(*padded), metric(p, y, **options), rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_where_nothing_counts_a_metric_is_nan_and_a_count_0(name):
    p, y, options = CASES[name]
    metric = functools.partial(getattr(metrics, name), **options)
    for found in (metric(p, y, weights=np.zeros(4)), metric(p[:0], y[:0]), metric(p[:0], y[:0], weights=np.ones(0))):
        assert (found == 0).all() if name == "confusion_matrix" else np.isnan(found)


@pytest.mark.parametrize("average", ["binary", "macro", "micro", "weighted", None])
def test_where_nothing_counts_no_average_is_0(average):
    none = np.zeros(0, int)
    for metric in (metrics.precision, metrics.recall, metrics.f1):
        assert np.isnan(metric(none, none, classes=3, average=average)).all()


def test_degenerate_sets():
    assert metrics.precision(np.zeros(3, int), np.ones(3, int)) == 0
    assert metrics.recall(np.ones(3, int), np.zeros(3, int)) == 0
    assert metrics.f1(np.zeros(3, int), np.zeros(3, int)) == 0
    assert jnp.isnan(metrics.roc_auc(np.ones(3), np.ones(3, int)))
    constant = np.full(7, 0.1, np.float32)
    assert metrics.r2_score(constant, constant) == 1
    assert metrics.r2_score(constant + 1, constant) == 0


def test_nan_scores_are_never_right():
    scores = jnp.full((2, 3), jnp.nan)
    assert metrics.accuracy(scores, np.array([0, 1])) == 0
    assert metrics.top_k_accuracy(scores, np.array([0, 1]), k=3) == 0
    assert jnp.isnan(metrics.roc_auc(jnp.array([jnp.nan, 1.0]), np.array([0, 1])))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_measured_in_float32(dtype):
    p = jnp.full(5000, 100, dtype)
    error = metrics.mean_squared_error(p, jnp.zeros(5000, dtype))
    assert error.dtype == jnp.float32
    assert error == 10_000


def test_misuse():
    with pytest.raises(TypeError, match=r"accuracy: expected integer class numbers as predictions.*> 0\.5"):
        metrics.accuracy(np.array([0.2, 0.9]), np.array([0, 1]))
    with pytest.raises(ValueError, match=r"write targets\.reshape"):
        metrics.mean_squared_error(np.ones((3, 1)), np.ones(3))
    with pytest.raises(ValueError, match="needs the number of classes; write classes=10"):
        metrics.f1(np.array([0]), np.array([0]), average="macro")
    with pytest.raises(ValueError, match=r"expected classes 0 and 1 with average='binary', got class 2"):
        metrics.precision(np.array([0, 1]), np.array([0, 2]))
    with pytest.raises(ValueError, match="expected weights of shape"):
        metrics.accuracy(np.array([0, 1]), np.array([0, 1]), weights=np.ones(3))
    with pytest.raises(ValueError, match="expected k >= 1"):
        metrics.top_k_accuracy(np.ones((1, 2)), np.array([0]), k=0)
    with pytest.raises(ValueError, match="expected average to be one of"):
        metrics.recall(np.array([0]), np.array([0]), average="mean")


LARGE = 2**24


def test_counts_are_exact_beyond_what_float32_holds():
    p, y = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    counts = metrics.confusion_matrix(p, y, 2, weights=np.array([LARGE, 1, LARGE + 1, LARGE + 3]))
    np.testing.assert_array_equal(counts, [[LARGE + 1, 0], [LARGE + 1, LARGE + 3]])


def test_whole_weights_whose_sum_is_beyond_int32_do_not_wrap():
    counts = metrics.confusion_matrix([0, 0], [0, 0], 2, weights=np.array([2**31 - 1, 2**31 - 1]))
    np.testing.assert_allclose(counts, [[2**32, 0], [0, 0]], rtol=1e-6)


@pytest.mark.parametrize("how", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_a_sum_of_many_weights_does_not_stand_still(how):
    rows, weight = 2**18, np.float32(100.1)  # one float32 ends at 26,234,000 and not at 26,240,614
    zeros, weights = jnp.zeros(rows, jnp.int32), jnp.full(rows, weight)
    counts = how(lambda p, w: metrics.confusion_matrix(p, p, 2, weights=w))(zeros, weights)
    np.testing.assert_allclose(counts[0, 0], rows * float(weight), rtol=1e-5)


def test_columns_against_rows_are_refused_by_every_metric():
    column, row = np.ones((4, 1), np.float32), np.ones(4, np.float32)
    for name in ("mean_squared_error", "root_mean_squared_error", "mean_absolute_error", "r2_score"):
        for pair in ((column, row), (row, column)):
            for call in (getattr(metrics, name), jax.jit(getattr(metrics, name))):
                with pytest.raises(ValueError, match=r"\(4, 1\).*write targets.reshape\(predictions.shape\)"):
                    call(*pair)
    ones = np.ones(4, np.int32)
    for name in ("accuracy", "precision", "recall", "f1"):
        with pytest.raises(ValueError, match=r"write targets.reshape\(predictions.shape\)"):
            getattr(metrics, name)(ones, ones[:, None])
    with pytest.raises(ValueError, match=r"write targets.reshape\(scores.shape\)"):
        metrics.roc_auc(column, ones)


@pytest.mark.parametrize("weights", [None, [1.0]], ids=["plain", "weighted"])
def test_r2_of_one_row_is_not_defined(weights):
    one = jnp.asarray([1.0])
    assert np.isnan(metrics.r2_score(one, one + 1, weights=weights))
    assert np.isnan(jax.jit(metrics.r2_score)(one, one))
    assert np.isnan(jax.vmap(metrics.r2_score)(jnp.ones((3, 1)), jnp.ones((3, 1)))).all()
    assert np.isnan(metrics.r2_score(jnp.arange(3.0), jnp.arange(3.0), weights=jnp.asarray([0.0, 1.0, 0.0])))
    assert metrics.r2_score(jnp.arange(2.0), jnp.arange(2.0)) == 1


def test_evaluate_names_a_metric_that_is_not_defined_on_the_rows():
    model = fnn.dense(1)
    trained = fnn.Trained(*model.init(jax.random.key(0), jnp.ones((1, 2))))
    with pytest.warns(RuntimeWarning, match="evaluate: r2 is not defined on these rows"):
        assert np.isnan(fnn.evaluate(model, trained, (jnp.ones((1, 2)), jnp.ones(1)), fnn.tasks.regression())["r2"])


def test_scores_are_numbers_that_json_takes_and_arrays_where_they_are_traced():
    model, task = fnn.dense(1), fnn.tasks.regression()
    trained = fnn.Trained(*model.init(jax.random.key(0), jnp.ones((1, 2))))
    scores = fnn.evaluate(model, trained, (jnp.eye(2), jnp.arange(2.0)), task)
    assert json.loads(json.dumps(scores)) == scores
    traced = jax.jit(lambda trained: fnn.evaluate(model, trained, (jnp.eye(2), jnp.arange(2.0)), task))(trained)
    np.testing.assert_allclose([traced[name] for name in scores], list(scores.values()), rtol=1e-6)


def test_a_row_of_weight_0_is_not_read():
    p, weights = jnp.array([0.0, 1, 2, 3]), jnp.array([0.0, 1, 1, 1])
    right = metrics.r2_score(p[1:], jnp.array([1.0, 2, 4]))
    for hidden in (1e9, jnp.nan):
        np.testing.assert_allclose(metrics.r2_score(p, jnp.array([hidden, 1, 2, 4]), weights=weights), right, rtol=1e-6)
    scores, targets = jnp.array([jnp.nan, 0.1, 0.2, 0.3]), jnp.array([1, 0, 1, 1])
    assert metrics.roc_auc(scores, targets, weights=weights) == 1
    assert np.isnan(metrics.roc_auc(scores, targets))


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_the_scale_of_weights_does_not_matter(scale):
    weights = scale * jnp.array([1.0, 2, 3, 4])
    found = metrics.roc_auc(jnp.array([0.1, 0.4, 0.3, 0.5]), jnp.array([0, 0, 1, 1]), weights=weights)
    np.testing.assert_allclose(found, 1 - 3 * 2 / (7 * 3), rtol=1e-6)


def test_one_column_of_scores_is_no_class():
    with pytest.raises(ValueError, match=r"accuracy: expected scores of two classes.*write scores\[..., 0\] > 0"):
        metrics.accuracy(jnp.array([[3.0], [-2.0]]), jnp.array([1, 0]))


CLOSE = np.array([0.5, 0.5 + 1e-12, 0.5 - 1e-12, 0.5, np.nextafter(0.5, 1), 1e300, -np.inf])


def test_scores_of_the_host_are_compared_in_the_dtype_they_come_in():
    y, weights = np.array([0, 1, 0, 1, 1, 1, 0]), np.array([1.0, 2, 1, 3, 1, 1, 2])
    expected = reference.roc_auc_score(y, CLOSE.clip(-1e300), sample_weight=weights)
    np.testing.assert_allclose(metrics.roc_auc(CLOSE, y, weights=weights), expected, rtol=1e-6)
    np.testing.assert_allclose(metrics.roc_auc(CLOSE.tolist(), y, weights=weights), expected, rtol=1e-6)
    unread = np.where(weights == 3, np.nan, CLOSE)
    assert np.isnan(metrics.roc_auc(unread, y, weights=weights))
    np.testing.assert_allclose(
        metrics.roc_auc(unread, y, weights=np.where(weights == 3, 0, weights)),
        reference.roc_auc_score(y, CLOSE.clip(-1e300), sample_weight=np.where(weights == 3, 0, weights)),
        rtol=1e-6,
    )
    rows = np.stack([CLOSE, CLOSE[::-1]])
    best = [5, 1]
    assert metrics.accuracy(rows, np.array(best)) == 1
    assert metrics.accuracy(rows[:, [0, 1, 2, 3, 4, 6]], np.array([1, 5])) == 0.5
    for k, right in ((1, [0, 0]), (2, [1, 0]), (3, [1, 1])):
        np.testing.assert_allclose(metrics.top_k_accuracy(rows, np.array([1, 2]), k=k), np.mean(right))


def test_what_float32_holds_is_not_put_in_ranks():
    scores = np.array([0.25, np.inf, -1.5, 0.25])
    np.testing.assert_array_equal(in_order("roc_auc", "scores", scores), scores)
    np.testing.assert_array_equal(in_order("roc_auc", "scores", scores + 1e-12), [1, 2, 0, 1])
    assert in_order("roc_auc", "scores", scores[:0] + 1e-12).shape == (0,)
    with jax.enable_x64(True):
        np.testing.assert_array_equal(in_order("roc_auc", "scores", CLOSE), CLOSE)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("array", [np.asarray, jnp.asarray, np.ndarray.tolist], ids=["host", "device", "list"])
def test_complex_numbers_are_named_by_every_metric(name, array):
    p, y, options = CASES[name]
    metric, given = getattr(metrics, name), (array(p + 0j), array(y + 0j))
    arguments = list(inspect.signature(metric).parameters)[:2]
    for predictions, targets, argument in ((given[0], y, arguments[0]), (p, given[1], arguments[1])):
        with pytest.raises(
            TypeError, match=rf"^{name}: expected .*{argument}.* complex|^softmax_cross_entropy: .* complex"
        ):
            metric(predictions, targets, **options)
