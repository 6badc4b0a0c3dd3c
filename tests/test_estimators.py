"""The scikit-learn estimators: scikit-learn's own checks, the same run as by hand, one compilation for many fits."""

import contextlib
import functools
import pickle

import jax
import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.ensemble import BaggingClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_sample_weight_equivalence_on_dense_data, parametrize_with_checks

import fnn
from fnn.estimators import Classifier, Regressor
from fnn.selection import members

SMALL = dict(hidden=(16,), learning_rate=0.01, epochs=30, random_state=0)
LINEAR = SMALL | dict(hidden=(), learning_rate=0.1)
"""What scikit-learn asks is asked of a linear model: every check has shapes, and so a program, of its own."""
BATCHES = (
    "a batch drawn from repeated rows is another batch than one drawn from weighted rows; "
    "exact over the whole set, see test_repeated_rows_are_weighted_rows"
)
X, Y = (part[:128] for part in load_iris(return_X_y=True))
NAMES = np.array(["setosa", "versicolor", "virginica"])


def line(rows=64):
    x = np.random.default_rng(0).normal(size=(rows, 3))
    return x, x @ [1.0, -2.0, 0.5]


@pytest.mark.thorough
@parametrize_with_checks(
    [Classifier(**LINEAR), Regressor(**LINEAR)],
    expected_failed_checks=lambda estimator: {
        f"check_sample_weight_equivalence_on_{kind}_data": BATCHES for kind in ("dense", "sparse")
    },
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("estimator", [Classifier(**SMALL), Regressor(**SMALL)])
def test_repeated_rows_are_weighted_rows(estimator):
    check_sample_weight_equivalence_on_dense_data("estimator", estimator.set_params(batch_size=None))


def test_a_fit_is_the_run_by_hand():
    fitted = Classifier(**SMALL, l2=1e-3, batch_size=16).fit(X, Y)
    assert fitted.n_iter_ == 30
    trained, history = fnn.trainer(
        fnn.models.mlp((16,), 3), fnn.optim.adam(0.01), fnn.tasks.multiclass(3), epochs=30, batch_size=16,
        penalty=fnn.optim.l2(1e-3),
    )(jax.random.key(0), (X.astype(np.float32), Y))  # fmt: skip
    for own, other in zip(jax.tree.leaves(fitted.trained_), jax.tree.leaves(trained), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fitted.history_["loss"], history["loss"], rtol=1e-4)
    outputs = fnn.predict(fitted.model_, fitted.trained_, X.astype(np.float32))
    np.testing.assert_allclose(fitted.decision_function(X), outputs, rtol=1e-4, atol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize(("estimator", "y"), [(Classifier, Y), (Regressor, X[:, 2])])
def test_partial_fits_are_one_fit(estimator, y):
    whole = estimator(**SMALL | {"epochs": 4}).fit(X, y)
    parts = estimator(**SMALL)
    for _ in range(4):
        parts.partial_fit(X, y, **{"classes": np.unique(y)} if estimator is Classifier else {})
    np.testing.assert_allclose(parts.predict(X), whole.predict(X), rtol=1e-4)
    np.testing.assert_allclose(parts.history_["loss"], whole.history_["loss"], rtol=1e-4)
    assert parts.n_iter_ == 4


def test_a_grid_search_compiles_once(compilations):
    x, y = line(65)
    Regressor(**SMALL, l2=1e-3).fit(x[:49], y[:49]).predict(x[:17])
    before = compilations()
    search = GridSearchCV(
        make_pipeline(StandardScaler(), Regressor(**SMALL)),
        {
            "regressor__learning_rate": [1e-4, 1e-2, 0.05],
            "regressor__l2": [1e-4, 1e-3],
            "regressor__random_state": [0, 1],
            "regressor__epochs": [20, 30],
        },
        cv=4,
        refit=False,
    ).fit(x, y)
    assert search.best_params_["regressor__learning_rate"] > 1e-4
    assert compilations() == before


@pytest.mark.thorough
def test_pipeline_frame_and_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["sepal l", "sepal w", "petal l", "petal w"])
    labels = pandas.Series(NAMES[Y], dtype="category")
    network = make_pipeline(StandardScaler().set_output(transform="pandas"), Classifier(**SMALL))
    assert cross_val_score(network, frame, labels, cv=3).mean() > 0.85
    fitted = network.fit(frame, labels)[-1]
    assert fitted.classes_.tolist() == NAMES.tolist()
    assert fitted.feature_names_in_.tolist() == list(frame)
    assert set(network.predict(frame)) <= set(NAMES)
    np.testing.assert_allclose(network.predict_proba(frame).sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(network.predict_log_proba(frame)), network.predict_proba(frame))
    with pytest.raises(ValueError, match="feature names"):
        network[-1].predict(frame[list(frame)[::-1]])


def test_class_weights_are_row_weights():
    y = NAMES[Y]
    weight = {"setosa": 1.0, "versicolor": 3.0, "virginica": 0.5}
    given = Classifier(**SMALL, class_weight=weight).fit(X, y)
    rows = Classifier(**SMALL).fit(X, y, sample_weight=[weight[label] for label in y])
    np.testing.assert_allclose(given.predict_proba(X), rows.predict_proba(X), rtol=1e-5)
    balanced = Classifier(**SMALL, class_weight="balanced").fit(X, y)
    counts = {label: (y == label).sum() for label in NAMES}
    rows = Classifier(**SMALL).fit(X, y, sample_weight=[128 / (3 * counts[label]) for label in y])
    np.testing.assert_allclose(balanced.predict_proba(X), rows.predict_proba(X), rtol=1e-5)


@pytest.mark.parametrize("monitor", ["validation_accuracy", "validation_loss"])
def test_scores_of_rows_held_out_count_no_class_weights(monitor):
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
    rule = fnn.early_stopping(monitor, mode="max" if "acc" in monitor else "min", patience=3)
    given = {"class_weight": {0: 30.0, 1: 1.0, 2: 1.0}, "early_stopping": rule, "validation_fraction": 0.5}
    fitted = Classifier(**SMALL | given | {"epochs": 3, "learning_rate": 1e-4}).fit(X, Y, sample_weight=weight)
    _, held = train_test_split(np.arange(len(X)), test_size=0.5, random_state=0, stratify=Y)
    best = max if "acc" in monitor else min
    scores = fitted.history_[monitor]
    if monitor == "validation_accuracy":
        expected = fitted.score(X[held], Y[held], weight[held])
        np.testing.assert_allclose(fitted.best_validation_score_, expected, rtol=1e-5)
    else:
        expected = log_loss(Y[held], fitted.predict_proba(X[held]), sample_weight=weight[held])
    np.testing.assert_allclose(best(scores), expected, rtol=1e-5)


def test_a_class_of_weight_0_is_not_trained_on_and_is_scored():
    given = {"class_weight": {0: 0.0}, "early_stopping": True, "validation_fraction": 0.5, "epochs": 2}
    fitted = Classifier(**SMALL | given).fit(X, Y)
    other = Classifier(**SMALL | given).fit(np.where(Y[:, None] == 0, X[::-1], X), Y)
    np.testing.assert_array_equal(fitted.history_["loss"], other.history_["loss"])
    assert not np.array_equal(fitted.history_["validation_loss"], other.history_["validation_loss"])


@pytest.mark.parametrize("wrong", [{"learning_rate": -1.0}, {"class_weight": "even"}, {"model": lambda outputs: 3}])
def test_after_a_failed_fit_a_classifier_answers_as_before(wrong):
    fitted = Classifier(**SMALL | {"epochs": 2}).fit(X, NAMES[Y])
    answers, known = fitted.predict(X), set(vars(fitted))
    old = {name: getattr(fitted, name) for name in wrong}
    fitted.set_params(**wrong)
    with pytest.raises((ValueError, TypeError)):
        fitted.fit(X[:, :2], np.where(Y > 0, "a", "b"))
    fitted.set_params(**old)
    np.testing.assert_array_equal(fitted.predict(X), answers)
    assert set(vars(fitted)) == known
    fresh = Classifier(**SMALL | wrong)
    with pytest.raises((ValueError, TypeError)):
        fresh.fit(X, NAMES[Y])
    assert not hasattr(fresh, "classes_")


@pytest.mark.thorough
def test_after_a_failed_fit_a_regressor_answers_as_before():
    x, y = line()
    fitted = Regressor(**SMALL | {"epochs": 2}).fit(x, y)
    answers = fitted.predict(x)
    with pytest.raises(ValueError, match="l2"):
        fitted.set_params(l2=-1.0).fit(x[:, :2], np.stack([y, y], axis=1))
    np.testing.assert_array_equal(fitted.set_params(l2=0.0).predict(x), answers)
    begun = Regressor(**SMALL, early_stopping=True)
    with pytest.raises(ValueError, match="stop early"):
        begun.partial_fit(x, y)
    begun.set_params(early_stopping=False).partial_fit(x[:, :2], np.stack([y, y], axis=1))


def test_early_stopping_holds_rows_out_and_keeps_the_best_epoch():
    rule = fnn.early_stopping("validation_accuracy", mode="max", patience=3)
    fitted = Classifier(**SMALL | {"epochs": 200}, early_stopping=rule, validation_fraction=0.25).fit(X, Y)
    scores = fitted.history_["validation_accuracy"]
    assert len(scores) == fitted.n_iter_ == min(200, scores.argmax() + 4)
    assert np.isfinite(scores).all()


def test_models_of_ones_own():
    x, y = X[Y < 2][:64], NAMES[Y[Y < 2]][:64]
    fitted = Classifier(model=functools.partial(fnn.models.mlp, (8, 8)), **SMALL).fit(x, y)
    assert fitted.predict_proba(x).shape == (len(x), 2)


@pytest.mark.thorough
@pytest.mark.parametrize("outputs", [1, 2])
def test_two_classes_from_a_layer_with_one_output_or_two(outputs):
    x, y = X[:100], NAMES[Y[:100]]
    fitted = Classifier(model=fnn.serial(fnn.dense(8), fnn.tanh, fnn.dense(outputs)), **SMALL).fit(x, y)
    assert fitted.score(x, y) == 1
    assert fitted.decision_function(x).shape == (100,)
    assert ((fitted.decision_function(x) > 0) == (fitted.predict(x) == "versicolor")).all()
    np.testing.assert_allclose(fitted.predict_proba(x).sum(axis=1), 1)


@pytest.mark.thorough
def test_images_and_sequences():
    x = np.random.default_rng(0).normal(size=(40, 6, 6, 1))
    y = (x[:, :3].sum(axis=(1, 2, 3)) > 0).astype(int)
    network = fnn.serial(fnn.conv(4, 3), fnn.relu, fnn.flatten(), fnn.dense(2))
    assert Classifier(model=network, **SMALL).fit(x, y).score(x, y) > 0.9
    forecaster = fnn.serial(fnn.gru(4), fnn.dense(1))
    assert Regressor(model=forecaster, **SMALL).fit(x[..., 0], x[:, -1, -1, 0]).predict(x[..., 0]).shape == (40,)


def test_labels_that_do_not_exclude_each_other():
    x, y = make_multilabel_classification(64, 6, n_classes=3, random_state=0)
    x = StandardScaler().fit_transform(x)
    fitted = Classifier(**SMALL | {"epochs": 200, "hidden": (64,)}).fit(x, y)
    assert fitted.score(x, y) > 0.9
    assert fitted.predict_proba(x).shape == y.shape


@pytest.mark.thorough
def test_several_numbers_and_scaled_targets():
    x, y = line()
    both = np.stack([y, 2 * y], axis=1)
    fitted = Regressor(**SMALL | {"epochs": 300}).fit(x, both)
    assert fitted.predict(x).shape == both.shape
    assert fitted.score(x, both) > 0.95
    scaled = TransformedTargetRegressor(Regressor(**SMALL | {"epochs": 300}), transformer=StandardScaler())
    assert scaled.fit(x, 1000 * y).score(x, 1000 * y) > 0.95


def closure(width):
    return lambda outputs: fnn.serial(fnn.dense(width), fnn.relu, fnn.dropout(0.1), fnn.dense(outputs))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"model": fnn.serial(fnn.dense(4), fnn.relu, fnn.dense(3))},
        {"model": closure(4)},
        {"learning_rate": fnn.schedules.exponential_decay(0.01, 10, 0.9), "activation": "tanh"},
        {"optimizer": functools.partial(fnn.optim.momentum, decay=0.8)},
    ],
    ids=["default", "layer", "closure", "schedule", "partial"],
)
def test_pickles_and_clones(given, compilations):
    fitted = Classifier(**SMALL | given).fit(X, Y)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(
        again.partial_fit(X, Y).predict_proba(X), fitted.partial_fit(X, Y).predict_proba(X), strict=True
    )
    copy = clone(fitted)
    assert not hasattr(copy, "classes_")
    before = compilations()
    np.testing.assert_array_equal(copy.fit(X, Y).predict(X), Classifier(**SMALL | given).fit(X, Y).predict(X))
    assert compilations() == before


def test_inside_a_meta_estimator_and_worker_processes():
    bagged = BaggingClassifier(Classifier(**SMALL), n_estimators=3, random_state=0).fit(X, NAMES[Y])
    assert bagged.score(X, NAMES[Y]) > 0.85
    seeds = {one.random_state for one in bagged.estimators_}
    assert len(seeds) == 3


def test_a_seed_is_a_run():
    def at(state):
        return Regressor(**SMALL | {"random_state": state}).fit(*line()).predict(line()[0])

    np.testing.assert_array_equal(at(3), at(3))
    np.testing.assert_array_equal(at(np.random.RandomState(3)), at(np.random.RandomState(3)))
    assert not np.allclose(at(3), at(4))
    assert not np.allclose(at(None), at(None))


def test_divergence_warns_and_keeps_the_last_finite_parameters():
    x, y = line()
    with pytest.warns(RuntimeWarning, match="not finite"):
        fitted = Regressor(**SMALL | {"learning_rate": 1e3, "optimizer": fnn.optim.sgd}).fit(x, 1e3 * y)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fitted.trained_))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hidden": 16}, r"sequence of widths, got 16; write \(16,\)"),
        ({"hidden": {8, 4}}, "sequence of widths, got {8, 4}; write a tuple"),
        ({"hidden": iter((8, 4))}, "tuple of widths, got tuple_iterator"),
        ({"hidden": (0,)}, "0"),
        ({"activation": "rectify"}, "activation"),
        ({"optimizer": 3}, "function of the learning rate"),
        ({"optimizer": "adamm"}, "optimizer"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"learning_rate": "adaptive"}, "learning_rate"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": 2.5}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"l2": -1e-3}, "l2"),
        ({"early_stopping": 5}, r"True, False or a rule, got 5; write fnn\.early_stopping"),
        ({"early_stopping": None}, "a rule, got None; write"),
        ({"early_stopping": True, "validation_fraction": 1.0}, "validation_fraction"),
        ({"model": "mlp"}, "to be a layer, or a callable"),
        ({"model": fnn.dense}, "layer"),
        ({"model": lambda outputs: outputs}, "return a layer"),
        ({"model": fnn.dense(2)}, "3"),
        ({"class_weight": "even"}, "class_weight"),
        ({"class_weight": {"tulip": 2}}, "tulip"),
        ({"class_weight": {"setosa": -1.0}}, "class_weight of 'setosa'.*-1"),
        ({"class_weight": {"setosa": float("nan")}}, "class_weight of 'setosa'.*nan"),
        ({"class_weight": {"setosa": float("inf")}}, "class_weight of 'setosa'.*inf"),
        ({"class_weight": {"setosa": "2"}}, "class_weight of 'setosa'.*2"),
        ({"class_weight": {"setosa": 1e-30}}, "sample_weight times class_weight: expected weights that are 0 or"),
        ({"class_weight": dict.fromkeys(NAMES, 0)}, "sample_weight times class_weight: every weight is 0"),
        ({"class_weight": {"setosa": 0, "virginica": 0}}, "at least two classes, got one class, versicolor"),
    ],
)
def test_bad_parameters_are_named(given, said):
    with pytest.raises((ValueError, TypeError), match=said):
        Classifier(**SMALL | given).fit(X, NAMES[Y])


def test_bad_data_is_named():
    with pytest.raises(ValueError, match="at least two classes"):
        Classifier(**SMALL).fit(X, np.zeros(len(X)), sample_weight=None)
    with pytest.raises(ValueError, match="at least two classes"):
        Classifier(**SMALL).fit(X, Y, sample_weight=(Y == 1).astype(float))
    with pytest.raises(ValueError, match="weight"):
        Regressor(**SMALL).fit(*line(), sample_weight=np.zeros(64))
    with pytest.raises(ValueError, match="Negative"):
        Regressor(**SMALL).fit(*line(), sample_weight=-np.ones(64))
    with pytest.raises(ValueError, match="classes="):
        Classifier(**SMALL).partial_fit(X, Y)
    begun = Classifier(**SMALL).partial_fit(X, NAMES[Y], classes=NAMES)
    with pytest.raises(ValueError, match="tulip"):
        begun.partial_fit(X[:1], ["tulip"])
    with pytest.raises(ValueError, match="as before"):
        begun.partial_fit(X[:1], ["setosa"], classes=["setosa", "tulip"])
    with pytest.raises(ValueError, match=r"expected y \(rows,\) of classes as before, got \(2, 2\)"):
        Classifier(**SMALL).partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X[:2], [[0, 1], [1, 0]])
    with pytest.raises(ValueError, match="stop early"):
        Regressor(**SMALL, early_stopping=True).partial_fit(*line())


def test_a_built_optimizer_takes_no_learning_rate():
    built = fnn.optim.adam(0.01)
    with pytest.raises(ValueError, match=r"built already.*optimizer=fnn\.optim\.adam.*learning_rate=0\.1.*leave"):
        Classifier(optimizer=built, learning_rate=0.1).fit(X, Y)
    assert clone(Classifier(optimizer=built)).learning_rate is None
    Classifier(hidden=(4,), optimizer=built, epochs=1).fit(X, Y)


width = 4


def network(outputs):
    return fnn.serial(fnn.dense(width), fnn.relu, fnn.dense(outputs))


@pytest.mark.thorough
def test_a_network_that_reads_another_width_is_another_network(monkeypatch):
    estimator = Classifier(model=network, epochs=1, random_state=0)
    assert estimator.fit(X, Y).trained_.params[0]["kernel"].shape == (4, 4)
    monkeypatch.setitem(globals(), "width", 6)
    assert estimator.fit(X, Y).trained_.params[0]["kernel"].shape == (4, 6)


@pytest.mark.thorough
def test_ctrl_c_keeps_what_is_trained_and_ends_the_search(monkeypatch):
    class Pressed:
        def __call__(self):
            return next(self.answers)

        answers = iter([False, False, True])

    @contextlib.contextmanager
    def interruption():
        yield Pressed()

    monkeypatch.setattr(members, "interruption", interruption)
    monkeypatch.setattr(members, "clock", lambda: 0.0)
    estimator = Classifier(hidden=(4,), epochs=200, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, Y)
    # Slices of 1, 4 and 16 steps, four steps an epoch.
    assert estimator.n_iter_ == 5
    assert len(estimator.history_["loss"]) == 5
    assert estimator.predict(X).shape == (128,)
    Pressed.answers = iter([True])
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, Y)
    assert (estimator.n_iter_, estimator.loss_curve_, estimator.best_loss_) == (0, [], None)
