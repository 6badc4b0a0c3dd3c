"""Check, then cast: what the host gives is looked at in its own dtype, and no number wraps around or collapses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import checks, losses, metrics

KEY = jax.random.key(0)
BIG = 2**32 + 5
X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(6, 2)
SECONDS = 1.7e9 + np.arange(100)
MODEL = fnn.dense(1)
SGD = fnn.optim.sgd(0.1)
T = fnn.tasks


def start():
    return fnn.Trained(*MODEL.init(KEY, jnp.asarray(X)))


SCORES = np.zeros((2, 10), np.float32)
WRAPPING = {
    "multiclass": (lambda: T.multiclass(10).encode(np.array([0, BIG])), "classes 0 … 9, got 4294967301 at row 1"),
    "multiclass, uint64": (lambda: T.multiclass(10).encode(np.array([2**64 - 1], np.uint64)), "classes 0 … 9, got"),
    "binary": (lambda: T.binary().encode(np.array([2**32])), "classes 0 … 1, got 4294967296 at row 0"),
    "multilabel": (
        lambda: T.multilabel(2).encode(np.array([[0, 1], [2**32, 0]])),
        "classes 0 … 1, got 4294967296 at row 1, column 0",
    ),
    "accuracy, predictions": (lambda: metrics.accuracy([BIG], [5]), "predictions that fit int32, got 4294967301"),
    "accuracy, targets": (lambda: metrics.accuracy([5], [BIG]), "targets that fit int32, got 4294967301 at row 0"),
    "accuracy, uint64": (lambda: metrics.accuracy([5], np.array([BIG], np.uint64)), "fit uint32, got 4294967301"),
    "top_k_accuracy": (lambda: metrics.top_k_accuracy(SCORES, [5, BIG]), "got 4294967301 at row 1"),
    "confusion_matrix": (lambda: metrics.confusion_matrix([BIG], [0], 10), "got 4294967301 at row 0"),
    "perplexity": (lambda: metrics.perplexity(SCORES, np.array([5, BIG])), "labels that fit int32, got 4294967301"),
    "softmax_cross_entropy": (lambda: losses.softmax_cross_entropy(SCORES, np.array([5, BIG])), "got 4294967301"),
    "multiclass_hinge_loss": (lambda: losses.multiclass_hinge_loss(SCORES, np.array([5, BIG])), "got 4294967301"),
    "a bare loss": (lambda: T.as_task(losses.mse).encode(np.array([BIG])), "targets that fit int32, got 4294967301"),
    "embedding": (
        lambda: fnn.embedding(10, 2).apply({"embedding": jnp.ones((10, 2))}, (), np.array([[1, BIG]])),
        "x that fit int32, got 4294967301 at row 0, column 1",
    ),
    "rows": (lambda: fnn.evaluate(MODEL, start(), (X, X[:, 0]), T.regression(), np.array([BIG])), "got 4294967301"),
    "x": (lambda: fnn.predict(MODEL, start(), np.array([[1, BIG]])), "x that fit int32, got 4294967301"),
    "x of a float64 beyond float32": (
        lambda: fnn.predict(MODEL, start(), np.array([[1.0, 1e39]])),
        r"x that fit float32, got 1e\+39 at row 0, column 1; scale x first",
    ),
    "targets beyond float32": (
        lambda: T.regression().encode(np.array([1.0, -1e300])),
        r"targets that fit float32, got -1e\+300 at row 1",
    ),
    "predictions beyond float32": (lambda: losses.mse(np.array([[1e300]]), np.ones((1, 1))), r"got 1e\+300"),
    "smooth_labels": (
        lambda: losses.smooth_labels(np.array([0.0, 1e300]), 0.1),
        r"labels that fit float32, got 1e\+300",
    ),
    "dice_loss": (
        lambda: losses.dice_loss(np.full((1, 4), 1e300), np.ones((1, 4, 1))),
        r"predictions that fit float32",
    ),
    "binary_dice_loss": (
        lambda: losses.binary_dice_loss(np.full((1, 4), -1e300), np.ones((1, 4))),
        r"predictions that fit float32",
    ),
    "mixup": (lambda: fnn.data.mixup(classes=10)(KEY, X, np.array([BIG] * 6)), "targets that fit int32"),
}


@pytest.mark.parametrize("name", WRAPPING)
def test_a_number_that_the_working_dtype_cannot_hold_is_named_with_its_place(name):
    call, message = WRAPPING[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_negative_row_number_of_any_size_is_an_empty_slot():
    data = X, X[:, 0]
    wrapping = fnn.evaluate(MODEL, start(), data, T.regression(), np.array([0, 1, -(2**32) + 5]))
    assert wrapping == fnn.evaluate(MODEL, start(), data, T.regression(), np.array([0, 1, -1]))


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64])
def test_measurements_given_as_wide_integers_become_the_nearest_float(dtype):
    given = np.array([3_000_000_000, 5_000_000_000], dtype)
    np.testing.assert_array_equal(T.regression().encode(given)[:, 0], given.astype(np.float32))
    np.testing.assert_array_equal(losses.absolute_error(jnp.zeros(2), given), given.astype(np.float32))
    np.testing.assert_array_equal(metrics.mean_absolute_error(jnp.zeros(2), given), np.float32(4e9))
    weighted = metrics.mean_absolute_error(jnp.zeros(2), np.ones(2), weights=given)
    assert weighted == 1


def test_wide_integers_weigh_rows():
    weights = np.array([1, 2**33, 1, 1, 1, 1])
    score = fnn.evaluate(MODEL, start(), (X, X[:, 0], weights), T.regression())["mse"]
    one = fnn.evaluate(MODEL, start(), (X[[1, 1]], X[[1, 1], 0]), T.regression())["mse"]
    np.testing.assert_allclose(score, one, rtol=1e-6)


COLLAPSING = {
    "regression": lambda y: T.regression().encode(y),
    "quantile": lambda y: T.quantile().encode(y),
    "distribution": lambda y: T.distribution().encode(y),
    "a bare loss": lambda y: T.as_task(losses.mae).encode(y),
    "trainer": lambda y: fnn.trainer(MODEL, SGD, T.regression(), epochs=1)(KEY, (np.ones((100, 1), np.float32), y)),
    "cross_validate": lambda y: fnn.selection.cross_validate(
        MODEL, SGD, T.regression(), (np.ones((100, 1), np.float32), y), key=KEY, epochs=1
    ),
    "least_squares": lambda y: fnn.models.least_squares(np.ones((100, 1), np.float32), y),
    "Regressor": lambda y: fnn.estimators.Regressor(epochs=1).fit(np.ones((100, 1), np.float32), y),
}


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
@pytest.mark.parametrize("name", COLLAPSING)
def test_targets_that_would_become_equal_are_refused(name, dtype):
    if name == "a bare loss" and dtype == np.int64:
        pytest.skip("integers may be class numbers there, and stay integers")
    message = r"has 100 distinct values, of which float32 keeps [12]; centre and scale it .*write \((y|targets) -"
    with pytest.raises(ValueError, match=message):
        COLLAPSING[name](SECONDS.astype(dtype))


@pytest.mark.parametrize(
    "harmless",
    [
        np.arange(100.0),
        1.7e9 + 86400.0 * np.arange(3650),
        np.full(5, 0.1),
        0.1 + 1e-16 * np.arange(5),
        np.array([1.0, 1.00001]),
        np.array([3e9]),
        np.zeros(0),
    ],
)
def test_targets_that_float32_resolves_pass(harmless):
    np.testing.assert_array_equal(T.as_task(losses.mse).encode(harmless), harmless.astype(np.float32))


def test_a_column_of_x_that_would_collapse_is_named():
    x = np.stack([np.arange(100.0), SECONDS], axis=1)
    with pytest.warns(UserWarning, match=r"x has 100 distinct values in column 1, of which float32 keeps [12]; centre"):
        fnn.predict(MODEL, start(), x)
    pandas = pytest.importorskip("pandas")
    with pytest.warns(UserWarning, match="distinct values in column 'when'"):
        fnn.predict(MODEL, start(), pandas.DataFrame(x, columns=["age", "when"]))


def test_an_estimator_names_a_column_that_would_collapse():
    x = np.stack([np.arange(100.0), SECONDS], axis=1)
    with pytest.warns(UserWarning, match=r"Regressor: X has 100 distinct values in column 1"):
        fnn.estimators.Regressor(epochs=1, hidden=(2,)).fit(x, np.arange(100.0))


OBJECTS = {
    "text among numbers": (np.array([1, "two", 3.0], object), "'two' at row 1"),
    "missing": (np.array([1, None], object), "None at row 1"),
    "text": (np.array(["a", "b"]), r"<U1, 'a' at row 0"),
    "numbers as objects": (np.array([1, 2.0], object), r"object; write targets.astype\(float\)"),
    "a number beyond 64 bits": ([2**70, 1], r"object; write targets.astype\(float\)"),
    "dates": (np.array(["2020-01-01"], "datetime64[D]"), "datetime64"),
    "spans of time": (np.array([1], "timedelta64[s]"), "timedelta64"),
}


@pytest.mark.parametrize("task", [T.regression(), T.multiclass(3), T.as_task(losses.mse)], ids=repr)
@pytest.mark.parametrize("name", OBJECTS)
def test_what_is_no_number_is_named(name, task):
    given, message = OBJECTS[name]
    with pytest.raises(TypeError, match=f"expected numeric targets, got .*{message}"):
        task.encode(given)


@pytest.mark.parametrize("module", [np, jnp])
def test_of_complex_targets_no_part_is_dropped(module):
    with pytest.raises(TypeError, match=r"regression\(1\): expected real targets, got complex64\[2,1\]"):
        T.regression().encode(module.ones((2, 1), np.complex64))


@pytest.mark.parametrize(
    "room",
    [
        lambda given: losses.mse(jnp.zeros((2, 1)), given),
        lambda given: metrics.mean_squared_error(jnp.zeros((2, 1)), given),
        lambda given: metrics.accuracy(jnp.zeros((2, 1), jnp.int32), given),
    ],
)
def test_losses_and_metrics_name_what_is_no_number(room):
    with pytest.raises(TypeError, match="expected numeric targets, got object, 'a' at row 1, column 0"):
        room(np.array([[1], ["a"]], object))


def test_missing_numbers_in_an_integer_column_are_named():
    pandas = pytest.importorskip("pandas")
    column = pandas.DataFrame({"age": pandas.array([1, None], "Int64")})
    with pytest.raises((TypeError, ValueError), match=r"(object, <NA>|contains nan) at row 1, column 'age'"):
        fnn.predict(fnn.dense(1), start(), column)
    with pytest.raises(ValueError, match="targets contain NaN or infinity, first at row 1"):
        T.multiclass(3).encode(np.array([1, np.nan]))


def test_under_x64_everything_stays_exact(x64):
    np.testing.assert_array_equal(T.regression().encode(SECONDS)[:, 0], SECONDS)
    np.testing.assert_array_equal(T.regression().encode(SECONDS.astype(np.int64))[:, 0], SECONDS)
    np.testing.assert_array_equal(losses.mse(np.ones((2, 1)), np.float32([[1], [3]])), [0, 4])
    assert metrics.accuracy([5], [BIG]) == 0
    assert metrics.accuracy([BIG], [BIG]) == 1
    assert losses.absolute_error(np.zeros(1), np.array([BIG]))[0] == BIG
    with pytest.raises(ValueError, match="got 4294967301 at row 0"):
        T.multiclass(10).encode(np.array([BIG]))


def test_arrays_of_jax_pass_traced_or_not():
    y = jnp.arange(3)
    assert checks.cast("f", "y", y) is y
    np.testing.assert_array_equal(jax.jit(lambda y: checks.cast("f", "y", [y[0], y[1]]))(y), [0, 1])
    np.testing.assert_array_equal(jax.vmap(T.regression().encode)(jnp.ones((2, 3)))[..., 0], np.ones((2, 3)))


@pytest.mark.parametrize("narrow", [np.uint8, np.int8, np.uint16])
def test_narrow_class_numbers_hold_more_classes_than_their_dtype(narrow):
    labels, z = np.array([1, 2], narrow), jnp.asarray(np.random.default_rng(0).normal(size=(2, 300)), jnp.float32)
    wide = labels.astype(np.int32)
    ignoring = losses.softmax_cross_entropy(z, labels, ignore_index=-1)
    np.testing.assert_array_equal(ignoring, losses.softmax_cross_entropy(z, wide, ignore_index=-1))
    np.testing.assert_array_equal(jax.jit(losses.softmax_cross_entropy)(z, labels), ignoring)
    frames, none = z[:1].repeat(3, 0)[None], np.zeros((1, 3))
    aligned = [losses.ctc_loss(frames, none, y[None], none[:, :2], blank_id=299) for y in (labels, wide)]
    np.testing.assert_array_equal(*aligned)
    assert metrics.accuracy(jnp.asarray(labels), jnp.asarray(wide + 256)) == 0
    assert metrics.accuracy(jnp.asarray(wide + 256), jnp.asarray(labels)) == 0
    assert fnn.embedding(300, 2).apply({"embedding": jnp.ones((300, 2))}, (), labels)[0].shape == (2, 2)


def test_255_is_not_minus_1():
    labels = np.array([255, 1], np.uint8)
    z = jnp.asarray(np.random.default_rng(0).normal(size=(2, 300)), jnp.float32)
    for options in ({}, {"label_smoothing": 0.1}):
        of = functools.partial(losses.softmax_cross_entropy, z, ignore_index=-1, **options)
        np.testing.assert_array_equal(of(labels), of(labels.astype(np.int32)))
    assert metrics.accuracy(jnp.array([-1, 1]), jnp.asarray(labels)) == 0.5
    assert metrics.accuracy(jnp.array([-1], jnp.int32), jnp.array([2**32 - 1], jnp.uint32)) == 0


def test_a_learning_curve_looks_at_its_data_once(recwarn):
    x = X.astype(np.float64)
    fnn.selection.learning_curve(
        MODEL, SGD, T.regression(), (x, X[:, 0]), key=KEY, folds=2, sizes=[1.0], epochs=1, batch_size=2, progress=False
    )
    assert len([one for one in recwarn if "float64" in str(one.message)]) == 1
