"""What is better is stated by the metric: early stopping, searches and `best` read it, and never guess from a name."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.metrics.protocol import mode_of
from fnn.train import stopping

KEY = jax.random.key(0)
X = jnp.linspace(-1, 1, 12).reshape(12, 1)
DATA = X, 3 * X[:, 0]
SGD = fnn.optim.sgd(0.3)


def error(outputs, targets, *, weights=None):
    return jnp.abs(outputs - targets).mean()


def task_with(**metrics):
    return fnn.tasks.regression()._replace(metrics=metrics)


@pytest.mark.parametrize("name", [n for n in fnn.metrics.__all__ if n not in ("confusion_matrix", "metric")])
def test_every_metric_states_its_direction(name):
    smaller = ("mean_squared_error", "root_mean_squared_error", "mean_absolute_error", "perplexity")
    assert getattr(fnn.metrics, name).mode == ("min" if name in smaller else "max")


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (fnn.tasks.binary(), dict.fromkeys(("accuracy", "precision", "recall", "f1", "roc_auc"), "max")),
        (fnn.tasks.multiclass(3), {"accuracy": "max"}),
        (fnn.tasks.multilabel(3), {"accuracy": "max"}),
        (fnn.tasks.regression(), {"mse": "min", "rmse": "min", "mae": "min", "r2": "max"}),
        (fnn.tasks.quantile(), {"pinball": "min"}),
        (fnn.tasks.distribution(), {"negative_log_likelihood": "min", "rmse": "min"}),
    ],
    ids=repr,
)
def test_tasks_carry_the_directions_of_their_metrics(task, expected):
    assert fnn.tasks.task.modes_of(task) == {"loss": "min"} | expected


@pytest.mark.parametrize("wrap", [lambda f: f, functools.partial, jax.jit], ids=["bare", "partial", "jit"])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_direction_is_found_through_wrappers(wrap, mode):
    @fnn.metrics.metric(mode)
    def own(outputs, targets, *, weights=None):
        return outputs

    assert mode_of(wrap(own)) == mode


@pytest.mark.parametrize("name", ["mape", "nll", "brier", "rmsle", "deviance", "accuracy"])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_name_decides_nothing(name, mode):
    @fnn.metrics.metric(mode)
    def own(outputs, targets, *, weights=None):
        return error(outputs, targets)

    rule = stopping.resolve(fnn.early_stopping(f"validation_{name}"), task_with(**{name: own}))
    assert rule.mode == mode


@pytest.mark.parametrize("mode", ["min", "max"])
def test_early_stopping_keeps_the_best_of_a_metric_of_ones_own(mode):
    own = fnn.metrics.metric(mode)(lambda *given, weights=None: error(*given))
    rule = fnn.early_stopping("validation_mape", patience=9)
    run = fnn.trainer(fnn.dense(1), SGD, task_with(mape=own), epochs=4, batch_size=None, early_stopping=rule)
    _, history = run(KEY, DATA, validation=DATA)
    scores = np.asarray(history["validation_mape"])
    assert history["best_epoch"] == (scores.argmin() if mode == "min" else scores.argmax())
    assert (history["best_epoch"] == 0) == (mode == "max")


def searches(task, rule=None):
    over = {"learning_rate": [0.01, 0.3]}
    common = {"key": KEY, "folds": 2, "batch_size": None, "epochs": 2, "over": over, "progress": False}
    return {
        "trainer": lambda **mode: fnn.trainer(
            fnn.dense(1), SGD, task, epochs=2, early_stopping=fnn.early_stopping("validation_own", **mode)
        )(KEY, DATA, validation=DATA),
        "fit": lambda **mode: fnn.fit(
            fnn.dense(1), SGD, task, DATA, key=KEY, epochs=2, validation=DATA, progress=False, batch_size=None,
            early_stopping=fnn.early_stopping("validation_own", **mode),
        ),
        "best": lambda **mode: fnn.selection.cross_validate(fnn.dense(1), fnn.optim.sgd, task, DATA, **common).best(
            "own", **mode
        ),
        "halving": lambda **mode: fnn.selection.sweep(
            fnn.dense(1), fnn.optim.sgd, task, DATA, how="halving", metric="own", factor=2, **mode, **common
        ),
    }  # fmt: skip


@pytest.mark.parametrize("where", ["trainer", "fit", "best", "halving"])
def test_a_metric_without_a_direction_is_refused_before_anything_is_chosen_by_it(where):
    with pytest.raises(ValueError, match=r"'own' does not state .*write mode=\"min\" or mode=\"max\", or put @fnn"):
        searches(task_with(own=error))[where]()


@pytest.mark.thorough
@pytest.mark.parametrize("where", ["best", "halving"])
def test_searches_take_what_the_metric_or_the_caller_says_is_better(where):
    stated = fnn.metrics.metric("min")(lambda *given, weights=None: error(*given))
    slow, fast = {"learning_rate": 0.01}, {"learning_rate": 0.3}
    if where == "best":
        assert searches(task_with(own=stated))[where]() == fast
        assert searches(task_with(own=error))[where](mode="max") == slow
    else:
        assert searches(task_with(own=stated))[where]().kept.tolist() == [False, True]
        found = searches(task_with(own=error))[where](mode="max")
        assert found.kept.tolist() == [True, False]
        assert found.best("own") == slow
