"""Ctrl-C, callbacks and threads: what ends a run, and what is left of it."""

import os
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.train.console import interruption

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
TASK = fnn.tasks.regression()


def fit(**options):
    options = dict(epochs=3, batch_size=4, validation=[0, 1], progress=False) | options
    return fnn.fit(fnn.dense(1), fnn.optim.sgd(0.1), TASK, (X, X[:, 0]), key=KEY, **options)


def press(end=None):
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def handler():
    """The handler of Ctrl-C, put back after the test."""
    before = signal.getsignal(signal.SIGINT)
    yield before
    signal.signal(signal.SIGINT, before)


def test_who_ignores_ctrl_c_goes_on_ignoring_it(handler):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert fit(callbacks=[press])[1]["epochs"] == 3
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("own", [signal.SIG_DFL, signal.default_int_handler])
def test_the_handler_there_was_is_there_again(handler, own):
    signal.signal(signal.SIGINT, own)
    assert fit(callbacks=[press])[1]["epochs"] == 1
    assert signal.getsignal(signal.SIGINT) == own


def test_a_handler_that_is_not_pythons_is_left_alone(monkeypatch):
    """Set from C by a program that embeds Python: it is no handler that could be put back."""

    def refuse(number, handler):
        raise AssertionError("the handler is replaced")

    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    monkeypatch.setattr(signal, "signal", refuse)
    assert fit()[1]["epochs"] == 3


def test_a_second_ctrl_c_ends_all_at_once(handler):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with interruption() as asked:
        press()
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            press()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_fit_runs_in_a_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(fit()))
    thread.start()
    thread.join()
    jax.tree.map(np.testing.assert_array_equal, results[0], fit())


def test_ctrl_c_in_the_first_epoch_leaves_a_history_with_all_its_columns(monkeypatch, handler):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    whole = fit()[1]
    plain = fnn.train.drive._plain
    monkeypatch.setattr("fnn.train.drive._plain", lambda scores: press() or plain(scores))
    rule = fnn.early_stopping("validation_loss")
    trained, history = fit(early_stopping=rule)
    assert {*history} == {*whole, "best_epoch"}
    assert (history["epochs"], history["best_epoch"]) == (0, -1)
    for name in ("loss", "validation_loss", "validation_r2"):
        assert history[name] == []
    assert np.isfinite(trained.params["kernel"]).all()


def test_ctrl_c_before_the_first_batch_of_a_stream_ends_fit(handler):
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def silent():
        press()
        ended.wait(60)
        yield X, X[:, 0]

    ended = threading.Event()
    with pytest.raises(KeyboardInterrupt, match="before the first batch was read"):
        fnn.fit(fnn.dense(1), fnn.optim.sgd(0.1), TASK, silent, key=KEY, epochs=1, progress=False)
    ended.set()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("answer", [True, np.True_, jnp.array(True), np.array(True)])
def test_a_callback_that_answers_true_ends_the_run(answer):
    assert fit(callbacks=[lambda end: answer])[1]["epochs"] == 1


@pytest.mark.parametrize(
    "answer", [None, False, np.False_, jnp.array(False), 1, "yes", [1], np.ones(3, bool), np.ones(3)]
)
def test_what_a_callback_returns_by_the_way_ends_nothing(answer):
    assert fit(callbacks=[lambda end: answer])[1]["epochs"] == 3
