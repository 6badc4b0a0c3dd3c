"""What users of scikit-learn's own networks look for in ours: names, words, sparse matrices, going on."""

import inspect
import os
import pickle
import subprocess
import sys

import jax
import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_iris

import fnn
from fnn.estimators import Classifier, Regressor

X, Y = (part[:96] for part in load_iris(return_X_y=True))
SMALL = dict(hidden=(4,), epochs=3, random_state=0)


def test_curves_have_the_names_that_scikit_learn_gives_them():
    fitted = Classifier(**SMALL).fit(X, Y)
    assert fitted.loss_curve_ == [float(loss) for loss in fitted.history_["loss"]]
    assert fitted.best_loss_ == min(fitted.loss_curve_)
    assert fitted.validation_scores_ is fitted.best_validation_score_ is None
    assert fitted.n_features_in_ == 4


@pytest.mark.parametrize(
    ("estimator", "score"), [(Classifier, "accuracy"), pytest.param(Regressor, "r2", marks=pytest.mark.thorough)]
)
def test_with_early_stopping_scores_are_what_counts(estimator, score):
    fitted = estimator(**SMALL, early_stopping=True).fit(X, Y)
    assert fitted.validation_scores_ == list(fitted.history_[f"validation_{score}"])
    assert fitted.best_validation_score_ == max(fitted.validation_scores_)
    assert fitted.best_loss_ is None


def test_an_optimizer_by_its_name_is_that_function():
    by_name = Classifier(**SMALL, optimizer="sgd", learning_rate=0.1).fit(X, Y)
    given = Classifier(**SMALL, optimizer=fnn.optim.sgd, learning_rate=0.1).fit(X, Y)
    np.testing.assert_array_equal(by_name.history_["loss"], given.history_["loss"])


@pytest.mark.parametrize("name", ["adamm", "chain", "Transform"])
def test_a_name_that_is_no_optimizer_is_refused_with_those_that_are(name):
    with pytest.raises(ValueError, match=r"optimizer.*adam.*sgd"):
        Classifier(**SMALL, optimizer=name).fit(X, Y)


@pytest.mark.parametrize("estimator", [Classifier, pytest.param(Regressor, marks=pytest.mark.thorough)])
def test_a_warm_start_goes_on_from_the_parameters_of_the_last_fit(estimator):
    warm = estimator(**SMALL, warm_start=True).fit(X, Y)
    first = warm.trained_
    warm.fit(X, Y)
    step = dict(epochs=3, batch_size=32)
    model, optimizer = warm.model_, fnn.optim.adam(1e-3)
    targets = Y.astype(np.int32) if estimator is Classifier else Y[:, None].astype(np.float32)
    task = warm._task()
    data = X.astype(np.float32), targets
    expected, _ = fnn.trainer(model, optimizer, task, **step)(jax.random.key(0), data, start=first)
    for mine, theirs in zip(jax.tree.leaves(warm.trained_), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
    cold = estimator(**SMALL).fit(X, Y).fit(X, Y)
    assert warm.loss_curve_[-1] < cold.loss_curve_[-1]


def test_a_warm_start_with_other_columns_or_classes_is_refused():
    warm = Classifier(**SMALL, warm_start=True).fit(X[:, :3], Y)
    with pytest.raises(ValueError, match="X has 4 features"):
        warm.fit(X, Y)
    with pytest.raises(ValueError, match="y contains 7, which is none of the classes"):
        warm.fit(X[:, :3], np.where(Y == 0, 7, Y))


@pytest.mark.thorough
@pytest.mark.parametrize("estimator", [Classifier, Regressor])
def test_every_method_refuses_the_columns_of_fit_in_another_order(estimator):
    frame = pytest.importorskip("pandas").DataFrame(X, columns=["a", "b", "c", "d"])
    fitted = estimator(**SMALL, warm_start=True).fit(frame, Y)
    methods = {name for name in dir(estimator) if name[0] != "_" and inspect.isfunction(getattr(estimator, name))}
    taken = {name: inspect.signature(getattr(estimator, name)).parameters for name in methods}
    taking = {name: "y" in arguments for name, arguments in taken.items() if "X" in arguments}
    assert {"fit", "partial_fit", "predict", "score"} <= set(taking)
    for name, both in taking.items():
        for other, message in ((frame[["b", "a", "c", "d"]], "same order as they were in fit"), (frame[["a"]], "- b")):
            with pytest.raises(ValueError, match=rf"The feature names should match [\s\S]*{message}"):
                getattr(fitted, name)(*((other, Y) if both else (other,)))
        with pytest.warns(UserWarning, match="X does not have valid feature names"):
            getattr(fitted, name)(*((X, Y) if both else (X,)))


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_matrix])
def test_sparse_matrices_have_the_numbers_of_dense_ones(kind, monkeypatch):
    monkeypatch.setattr(fnn.estimators.base, "ROWS", 40)  # predicted in parts
    dense, sparse = Classifier(**SMALL).fit(X, Y), Classifier(**SMALL).fit(kind(X), Y)
    np.testing.assert_array_equal(dense.history_["loss"], sparse.history_["loss"])
    np.testing.assert_allclose(dense.decision_function(X), sparse.decision_function(kind(X)), rtol=1e-5, atol=1e-6)


def test_verbose_shows_a_bar_over_the_epochs(capsys):
    pytest.importorskip("tqdm")
    Classifier(**SMALL, verbose=True).fit(X, Y)
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "loss=" in shown


@pytest.mark.parametrize(
    "given", [pytest.param(jax.numpy.bfloat16, marks=pytest.mark.thorough), "bfloat16"], ids=["dtype", "name"]
)
def test_an_estimator_computes_in_the_dtype_that_is_asked_for(given):
    """As `trainer` and `predict`, whose numbers are the casts by hand."""
    low = jax.numpy.bfloat16
    fitted = Classifier(**SMALL, compute_dtype=given).fit(X, Y)
    run = fnn.trainer(fitted.model_, fnn.optim.adam(1e-3), fitted._task(), epochs=3, compute_dtype=low)
    x = X.astype(np.float32)
    expected, history = run(jax.random.key(0), (x, Y))
    jax.tree.map(np.testing.assert_array_equal, fitted.trained_, expected)
    # An estimator's rows have weights, a trainer's have none: their sums may be of another order.
    np.testing.assert_allclose(fitted.history_["loss"], history["loss"], rtol=3e-7)
    outputs = fnn.predict(fitted.model_, expected, x, compute_dtype=low)[:, 0]
    np.testing.assert_allclose(fitted.decision_function(X), outputs, rtol=1e-2, atol=1e-3)
    assert not np.array_equal(fitted.decision_function(X), fnn.predict(fitted.model_, expected, x)[:, 0])
    assert fitted.score(X, Y) == (fitted.predict(X) == Y).mean()
    again = pickle.loads(pickle.dumps(clone(fitted).set_params(epochs=1)))
    assert again.get_params()["compute_dtype"] == given


def test_a_dtype_that_is_none_is_refused_by_an_estimator():
    with pytest.raises(TypeError, match="Regressor: expected compute_dtype to be a floating dtype"):
        Regressor(**SMALL, compute_dtype="int8").fit(X, Y)


WORDS = scipy.sparse.random_array((90, 3000), density=2e-3, format="csr", rng=np.random.default_rng(0))


@pytest.mark.parametrize("estimator", [Classifier, pytest.param(Regressor, marks=pytest.mark.thorough)])
def test_a_sparse_matrix_is_made_dense_a_batch_at_a_time(estimator, monkeypatch):
    """The numbers of the dense one, and never is all of it dense."""
    y, stops = np.arange(90) % 2, dict(early_stopping=True, batch_size=16)
    dense = estimator(**SMALL, **stops).fit(WORDS.toarray(), y)
    expected = dense.predict(WORDS.toarray())
    made = []
    for kind in (scipy.sparse.csr_array, scipy.sparse.csc_array):
        whole = kind.toarray
        monkeypatch.setattr(kind, "toarray", lambda x, whole=whole: made.append(x.shape) or whole(x))
    monkeypatch.setattr(fnn.estimators.base, "ROWS", 40)
    monkeypatch.setattr(fnn.estimators.checking, "ENTRIES_AT_ONCE", 90 * 1000)
    sparse = estimator(**SMALL, **stops).fit(WORDS, y)
    np.testing.assert_allclose(sparse.history_["validation_loss"], dense.history_["validation_loss"], rtol=1e-5)
    np.testing.assert_allclose(sparse.predict(WORDS), expected, rtol=1e-4, atol=1e-6)
    assert max(rows * columns for rows, columns in made) < 0.5 * 90 * 3000
    assert jax.tree.structure(sparse.trained_) == jax.tree.structure(dense.trained_)


def test_a_sparse_column_is_looked_at_as_a_dense_one_is():
    x = scipy.sparse.lil_array((40, 3000))
    x[:, [7, 2001]] = 1e9 + np.arange(40)[:, None]
    with pytest.warns(UserWarning, match="40 distinct values in column 7, of which float32 keeps"):
        Regressor(**SMALL).fit(x.tocsr(), np.arange(40.0))
    x[3, 2001] = 1e300
    with pytest.raises(ValueError, match="got 1e\\+300 at row 3, column 2001"):
        Regressor(**SMALL).fit(x.tocsr(), np.arange(40.0))


@pytest.mark.thorough
def test_a_sparse_run_that_diverges_names_the_layer():
    model = fnn.serial(fnn.dense(2), jax.numpy.exp, fnn.dense(1))
    with pytest.warns(RuntimeWarning, match=r"Replayed: forward, layer 1, exp"):
        Regressor(**SMALL, model=model).fit(WORDS * 1e6, np.arange(90.0))


@pytest.mark.parametrize("y", [np.array(["1.5"] * 96), np.array(["2020-01-01"] * 96, "datetime64[D]")])
def test_targets_that_are_no_numbers_are_refused_by_a_regressor(y):
    with pytest.raises(ValueError, match=r"Regressor: expected y of numbers, got .*; write y\.astype\(float\)"):
        Regressor(**SMALL).fit(X, y)


ARRAY_API = """
import numpy as np, pandas, sklearn, sys
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import check_array_api_input_and_values
from fnn.estimators import Classifier, Regressor
namespace = __import__(sys.argv[1], fromlist=["asarray"])
x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
y = (x[:, 0] > 0).astype(np.int32)
theirs = [namespace.asarray(a) for a in (x, y, np.ones(40, np.float32))]
for estimator in (Classifier, Regressor):
    own = estimator(hidden=(16,), learning_rate=0.05, epochs=128, random_state=0)
    check_array_api_input_and_values(estimator.__name__, own, sys.argv[1], dtype_name="float32")
    expected = clone(own).fit(x, y)
    with sklearn.config_context(array_api_dispatch=True):
        fitted = clone(own).fit(*theirs)
        for answer in set(dir(own)) & {"predict", "predict_proba", "predict_log_proba", "decision_function"}:
            found, ours = getattr(fitted, answer)(theirs[0]), getattr(expected, answer)(x)
            assert type(found) is type(theirs[0]) and np.array_equal(found, ours.astype(np.asarray(found).dtype)), found
            assert type(getattr(fitted, answer)(x)) is np.ndarray
        assert fitted.score(theirs[0], theirs[1]) == expected.score(x, y)
        assert np.isfinite(cross_val_score(own, x, y, cv=2)).all()
        named = Classifier(hidden=(), epochs=1).fit(theirs[0], np.where(x[:, 0] > 0, "right", "left"))
        assert type(named.predict(theirs[0])) is np.ndarray
        assert type(fitted.predict(pandas.DataFrame(x))) is np.ndarray and len(fitted.predict(x.tolist())) == 40
    assert type(fitted.predict(theirs[0])) is np.ndarray
"""


@pytest.mark.thorough
@pytest.mark.parametrize("namespace", ["numpy", "jax.numpy", "torch"])
def test_arrays_of_other_libraries_are_taken_under_array_api_dispatch(namespace):
    """scikit-learn leaves them as they are where it is told to; an estimator answers in the library of its columns."""
    pytest.importorskip(namespace.partition(".")[0])
    command = [sys.executable, "-W", "ignore", "-c", ARRAY_API, namespace]
    environment = os.environ | {"SCIPY_ARRAY_API": "1", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
