"""The trainer against a loop written by hand, and everything a run promises about rows, keys and stopping."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

KEY = jax.random.key(0)


def line(rows=23, features=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features)).astype(np.float32)
    return x, (x @ np.arange(1, features + 1)).astype(np.float32)


def classes(rows=60, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 3
    return (rng.normal(size=(rows, 2)) + 3 * np.eye(3)[y][:, :2]).astype(np.float32), y


MODEL = fnn.serial(fnn.dense(8), fnn.tanh, fnn.dense(1))
TASK = fnn.tasks.regression()


def close(a, b, tolerance=1e-6):
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=tolerance, atol=tolerance), a, b)


def by_hand(model, optimizer, task, key, x, y, epochs, batch_size):
    """The run as a Python loop: batches are sliced, the last one is short."""
    from fnn.train.loop import keys_of
    from fnn.train.rows import shuffle

    step, sources = fnn.train_step(model, optimizer, task), keys_of(key)
    state, losses, number = step.init(sources.init, x), [], 0
    for epoch in range(epochs):
        order = np.asarray(shuffle(jax.random.fold_in(sources.shuffle, epoch), jnp.arange(len(x)))[0])
        total = 0.0
        for first in range(0, len(x), batch_size):
            rows = order[first : first + batch_size]
            batch = (jnp.asarray(x[rows]), task.encode(y[rows]))
            state, loss = step.update(state, jax.random.fold_in(sources.train, number), batch)
            total, number = total + float(loss) * len(rows), number + 1
        losses.append(total / len(x))
    return state.trained, np.array(losses)


def test_trainer_is_the_loop_written_by_hand():
    x, y = line()
    given = (MODEL, fnn.optim.adam(0.05), TASK)
    trained, history = fnn.trainer(*given, epochs=3, batch_size=8)(KEY, (x, y))
    expected, losses = by_hand(*given, KEY, x, y, 3, 8)
    close(trained, expected, 1e-5)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-5)


def test_fit_gives_the_numbers_of_trainer():
    x, y = line()
    options = dict(epochs=4, batch_size=8)
    given = (MODEL, fnn.optim.adam(0.05), TASK)
    trained, history = fnn.trainer(*given, **options)(KEY, (x, y), validation=(x[:5], y[:5]))
    same, rows = fnn.fit(*given, (x, y), key=KEY, validation=(x[:5], y[:5]), progress=False, **options)
    close(trained, same)
    for name in ("loss", "validation_loss", "validation_r2"):
        np.testing.assert_allclose(history[name], rows[name], rtol=1e-5)
    assert rows["epochs"] == 4
    assert rows["diverged_at"] == -1


def test_every_row_is_seen_once_an_epoch():
    """One feature per row and plain gradient descent: the gradient of each row's weight tells how often it was seen."""
    rows = 11
    model = fnn.serial(fnn.dense(1, use_bias=False, kernel_init=fnn.initializers.zeros))
    loss = lambda outputs, targets: outputs[:, 0] * targets  # noqa: E731
    for batch_size in (1, 4, 11, None):
        run = fnn.trainer(model, fnn.optim.sgd(1.0), loss, epochs=1, batch_size=batch_size)
        trained, _ = run(KEY, (jnp.eye(rows), jnp.ones(rows)))
        size = batch_size or rows
        sizes = np.array([min(size, rows - first) for first in range(0, rows, size)])
        moved = -np.asarray(trained.params[0]["kernel"])[:, 0]
        expected = np.sort(np.repeat(1 / sizes, sizes))
        np.testing.assert_allclose(np.sort(moved), expected, rtol=1e-6)


def test_empty_slots_change_nothing():
    x, y = line()
    run = fnn.trainer(MODEL, fnn.optim.adam(0.05), TASK, epochs=3, batch_size=4)
    alone, _ = run(KEY, (x, y), np.arange(10))
    padded, _ = run(KEY, (x, y), np.r_[np.arange(10), [-1, -1, -1, -1, -1]])
    close(alone, padded, 1e-5)


@pytest.mark.thorough
def test_vmap_over_rows_keys_and_rates_is_the_loop():
    x, y = line()
    folds = np.stack([np.arange(0, 12), np.arange(11, 23)])

    def score(key, rate, rows):
        trained, history = fnn.trainer(MODEL, fnn.optim.adam(rate), TASK, epochs=2, batch_size=4)(key, (x, y), rows)
        return history["loss"]

    keys, rates = jax.random.split(KEY, 2), jnp.array([0.01, 0.1])
    together = jax.vmap(jax.vmap(score, (0, None, 0)), (None, 0, None))(keys, rates, folds)
    for i, rate in enumerate(rates):
        for j in range(2):
            np.testing.assert_allclose(together[i, j], score(keys[j], rate, folds[j]), rtol=1e-4)


@pytest.mark.thorough
def test_a_run_can_be_differentiated_by_its_learning_rate():
    x, y = line()

    def final(rate):
        run = fnn.trainer(fnn.dense(1), fnn.optim.sgd(rate), TASK, epochs=3, batch_size=8)
        return run(KEY, (x, y))[1]["loss"][-1]

    slope = jax.grad(final)(0.01)
    difference = (final(0.0101) - final(0.0099)) / 0.0002
    np.testing.assert_allclose(slope, difference, rtol=0.02)


def test_early_stopping_returns_the_best_epoch():
    x, y = classes()
    rule = fnn.early_stopping("validation_loss", patience=2)
    model = fnn.serial(fnn.dense(32), fnn.relu, fnn.dense(3))
    given = (model, fnn.optim.adam(0.1), fnn.tasks.multiclass(3))
    hold = (x[:20], np.random.default_rng(1).permutation(y[:20]))
    run = fnn.trainer(*given, epochs=40, batch_size=20, early_stopping=rule)
    trained, history = run(KEY, (x, y), validation=hold)
    epochs, best = int(history["epochs"]), int(history["best_epoch"])
    assert epochs == best + 3 < 40
    assert best == int(np.nanargmin(history["validation_loss"]))
    assert np.isnan(history["loss"][epochs:]).all()
    score = fnn.evaluate(model, trained, hold, given[2])["loss"]
    np.testing.assert_allclose(score, history["validation_loss"][best], rtol=1e-5)
    same, rows = fnn.fit(
        *given, (x, y), key=KEY, epochs=40, batch_size=20, early_stopping=rule, validation=hold, progress=False
    )
    close(trained, same, 1e-5)
    assert (rows["epochs"], rows["best_epoch"]) == (epochs, best)


def test_divergence_is_reported_and_the_parameters_before_it_kept():
    x, y = line()
    run = fnn.trainer(fnn.dense(1), fnn.optim.sgd(1e30), TASK, epochs=2, batch_size=8)
    with pytest.warns(RuntimeWarning, match=r"epoch 1, step \d; the parameters before"):
        trained, history = run(KEY, (x, y))
    assert int(history["diverged_at"]) in (0, 1, 2)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trained))
    with pytest.warns(RuntimeWarning, match="fit: the loss was not finite"):
        same, rows = fnn.fit(
            fnn.dense(1), fnn.optim.sgd(1e30), TASK, (x, y), key=KEY, epochs=2, batch_size=8, progress=False
        )
    close(trained, same)
    assert rows["diverged_at"] == int(history["diverged_at"])


def test_nothing_is_compiled_twice(compilations):
    x, y = line()
    run = fnn.trainer(fnn.serial(fnn.dense(1), fnn.tanh), fnn.optim.sgd(0.1), TASK, epochs=2, batch_size=8)
    run(KEY, (x, y))
    keys, first = jax.random.key(1), compilations()
    run(keys, (np.asarray(x) + 1, y))
    assert compilations() == first


def test_dropout_draws_anew_each_step_and_keys_are_used_once():
    x, y = line()
    model = fnn.serial(fnn.dense(8), fnn.dropout(0.5), fnn.relu, fnn.dropout(0.5), fnn.dense(1))
    run = fnn.trainer(model, fnn.optim.sgd(0.01), TASK, epochs=2, batch_size=8)
    with jax.debug_key_reuse(True):
        first, _ = run(KEY, (x, y))
    second, _ = run(KEY, (x, y))
    other, _ = run(jax.random.key(1), (x, y))
    close(first, second)
    assert not np.allclose(first.params[0]["kernel"], other.params[0]["kernel"])


def test_callbacks_see_every_epoch_and_can_stop():
    x, y = line()
    seen = []

    def stop_after_three(end):
        seen.append((end.epoch, end.row["loss"], float(jnp.sum(end.train_state.params[0]["kernel"]))))
        return end.epoch == 2

    _, history = fnn.fit(
        MODEL,
        fnn.optim.sgd(0.01),
        TASK,
        (x, y),
        key=KEY,
        epochs=9,
        batch_size=8,
        callbacks=[stop_after_three],
        progress=False,
    )
    assert [epoch for epoch, *_ in seen] == [0, 1, 2]
    assert history["epochs"] == 3


def test_interrupt_returns_what_is_trained_so_far():
    import os
    import signal

    x, y = line()

    def interrupt(end):
        if end.epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    trained, history = fnn.fit(
        MODEL,
        fnn.optim.sgd(0.01),
        TASK,
        (x, y),
        key=KEY,
        epochs=50,
        callbacks=[interrupt],
        batch_size=8,
        progress=False,
    )
    assert history["epochs"] == 2
    assert np.isfinite(trained.params[0]["kernel"]).all()
    assert signal.getsignal(signal.SIGINT) is before


def test_start_goes_on_from_trained_parameters():
    x, y = line()
    run = fnn.trainer(MODEL, fnn.optim.sgd(0.0), TASK, epochs=1, batch_size=8)
    start, _ = run(jax.random.key(7), (x, y))
    close(run(KEY, (x, y), start=start)[0], start)
    kept, _ = fnn.fit(
        MODEL, fnn.optim.sgd(0.0), TASK, (x, y), key=KEY, epochs=1, batch_size=8, start=start, progress=False
    )
    close(kept, start)
    with pytest.raises(ValueError, match=r"^start: layer 0, dense\(8\): kernel is missing"):
        run(KEY, (x, y), start=fnn.Trained((), ()))


def test_weights_of_examples_count():
    x, y = line(rows=6)
    run = fnn.trainer(fnn.dense(1), fnn.optim.sgd(0.1), TASK, epochs=5, batch_size=None)
    weighted, _ = run(KEY, (x, y, np.array([2.0, 1, 1, 1, 1, 0])))
    repeated, _ = run(KEY, (np.r_[x[:1], x[:5]], np.r_[y[:1], y[:5]]))
    close(weighted, repeated, 1e-5)


def test_penalty_and_state_penalty_join_the_loss():
    x, y = line()
    plain = fnn.train_step(MODEL, fnn.optim.sgd(0.1), TASK)
    fined = fnn.train_step(MODEL, fnn.optim.sgd(0.1), TASK, penalty=lambda params: 2.5)
    batch = (x, TASK.encode(y))
    state = plain.init(KEY, x)
    difference = fined.update(state, KEY, batch)[1] - plain.update(state, KEY, batch)[1]
    np.testing.assert_allclose(difference, 2.5, rtol=1e-5)


@pytest.mark.thorough
def test_optax_drives_the_same_run():
    optax = pytest.importorskip("optax")
    x, y = line()
    ours, _ = fnn.trainer(MODEL, fnn.optim.adam(0.05), TASK, epochs=2, batch_size=8)(KEY, (x, y))
    with jax.numpy_dtype_promotion("standard"):  # optax relies on it
        theirs, _ = fnn.trainer(MODEL, optax.adam(0.05), TASK, epochs=2, batch_size=8)(KEY, (x, y))
    close(ours, theirs, 1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 23, 1000])
def test_predict_and_evaluate_do_not_depend_on_the_batch_size(batch_size):
    x, y = line()
    trained = fnn.Trained(*MODEL.init(KEY, x))
    whole = MODEL.apply(*trained, x)[0]
    np.testing.assert_allclose(fnn.predict(MODEL, trained, x, batch_size=batch_size), whole, rtol=1e-5, atol=1e-6)
    scores = fnn.evaluate(MODEL, trained, (x, y), TASK, batch_size=batch_size)
    np.testing.assert_allclose(scores["mse"], np.mean((whole[:, 0] - y) ** 2), rtol=1e-5)


@pytest.mark.devices(2)
@pytest.mark.parametrize("batch_size", [4, 10])
def test_two_devices_give_the_numbers_of_one(batch_size):
    x, y = line()
    # No bias before batch norm: its gradient is 0, and Adam would make steps of the rounding that is left.
    model = fnn.serial(fnn.dense(8, use_bias=False), fnn.batch_norm(), fnn.relu, fnn.dropout(0.3), fnn.dense(1))
    given, options = (model, fnn.optim.adam(0.05), TASK), dict(epochs=3, batch_size=batch_size)
    mesh = fnn.devices.data_mesh(jax.devices()[:2])
    one, _ = fnn.trainer(*given, **options)(KEY, (x, y))
    two, _ = fnn.trainer(*given, mesh=mesh, **options)(KEY, (x, y))
    close(one, two, 1e-4)
    driven, _ = fnn.fit(*given, (x, y), key=KEY, mesh=mesh, progress=False, **options)
    close(one, driven, 1e-4)
    with pytest.raises(ValueError, match="2 devices divide, got 5"):
        fnn.trainer(*given, mesh=mesh, epochs=1, batch_size=5)(KEY, (x, y))
