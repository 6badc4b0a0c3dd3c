"""Targets at every step or pixel: each is a row of its own, and the padding of sequences is none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

T = fnn.tasks
RNG = np.random.default_rng(0)
ROWS, TIME = 6, 5
LENGTHS = np.array([5, 1, 3, 2, 5, 4], np.int32)
REAL = np.arange(TIME) < LENGTHS[:, None]


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


TASKS = {
    "binary": (T.binary(), 1, RNG.integers(0, 2, (ROWS, TIME))),
    "multilabel": (T.multilabel(3), 3, RNG.integers(0, 2, (ROWS, TIME, 3))),
    "regression": (T.regression(), 1, normal(ROWS, TIME)),
    "regression of two": (T.regression(2), 2, normal(ROWS, TIME, 2)),
    "mae": (T.regression(2, loss=fnn.losses.mae), 2, normal(ROWS, TIME, 2)),
    "own loss": (T.regression(2, loss=lambda p, y: jnp.square(p - y).sum(-1)), 2, normal(ROWS, TIME, 2)),
    "quantile": (T.quantile(), 3, normal(ROWS, TIME)),
    "distribution": (T.distribution("laplace", 2), 4, normal(ROWS, TIME, 2)),
    "multiclass": (T.multiclass(4), 4, RNG.integers(0, 4, (ROWS, TIME))),
}


def case(name):
    """The task, outputs and encoded targets at every step, and both as rows."""
    task, width, targets = TASKS[name]
    outputs, encoded = normal(ROWS, TIME, width), task.encode(targets)
    return task, outputs, encoded, outputs.reshape(-1, width), task.encode(targets.reshape(-1, *targets.shape[2:]))


def close(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_every_step_is_a_row(name):
    task, outputs, targets, flat, rows = case(name)
    close(jnp.reshape(task.loss(outputs, targets), -1), task.loss(flat, rows))
    decoded = task.decode(outputs)
    close(decoded, task.decode(flat).reshape(decoded.shape))
    weights = np.arange(1.0, ROWS + 1, dtype=np.float32)
    for measure in task.metrics.values():
        close(measure(outputs, targets), measure(flat, rows))
        close(measure(outputs, targets, weights=weights), measure(flat, rows, weights=np.repeat(weights, TIME)))
    if task.probabilities is not None:
        close(task.probabilities(outputs).sum(-1) if name != "multilabel" else 1.0, 1.0)


@pytest.mark.parametrize("name", TASKS)
def test_every_pixel_is_a_row(name):
    task, outputs, targets, flat, rows = case(name)
    images = outputs.reshape(ROWS // 2, 2, TIME, -1)
    labels = targets.reshape(ROWS // 2, 2, *targets.shape[1:])
    close(jnp.reshape(jax.jit(task.loss)(images, labels), -1), task.loss(flat, rows))
    assert task.decode(images).shape[:3] == (ROWS // 2, 2, TIME)
    for measure in task.metrics.values():
        close(measure(images, labels), measure(flat, rows))


@pytest.mark.parametrize("name", TASKS)
def test_the_padding_of_sequences_does_not_count_and_may_hold_anything(name):
    task, outputs, targets, flat, rows = case(name)
    noisy = fnn.Padded(jnp.where(REAL[..., None], outputs, jnp.nan), jnp.asarray(LENGTHS))
    kept = REAL.ravel()
    losses, counts = task.loss(noisy, targets)
    np.testing.assert_array_equal(counts, REAL)
    close(losses.sum() / counts.sum(), jnp.mean(task.loss(flat[kept], rows[kept])))
    slope = jax.grad(lambda z: task.loss(fnn.Padded(z, noisy.lengths), targets)[0].sum())(noisy.values)
    assert np.isfinite(slope).all()
    assert (np.asarray(slope)[~REAL] == 0).all()
    for measure in task.metrics.values():
        close(measure(noisy, targets), measure(flat[kept], rows[kept]))
    decoded = task.decode(noisy)
    np.testing.assert_array_equal(decoded.lengths, LENGTHS)
    close(np.asarray(decoded.values)[REAL], task.decode(flat)[kept])


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["binary", "regression"])
def test_padded_sequences_train_as_their_steps_do(name):
    task, _, width = TASKS[name][0], None, TASKS[name][1]
    x, y = normal(ROWS, TIME, 3), TASKS[name][2]
    model, rule = fnn.serial(fnn.dense(4), fnn.tanh, fnn.dense(width)), fnn.optim.sgd(0.1)
    how = dict(key=jax.random.key(0), epochs=3, batch_size=None, shuffle=False, progress=False)
    trained, history = fnn.fit(model, rule, task, (fnn.Padded(x, LENGTHS), y), **how)
    apart, expected = fnn.fit(model, rule, task, (x[REAL], y[REAL]), **how)
    jax.tree.map(close, trained.params, apart.params)
    close(history["loss"], expected["loss"])
    scores = fnn.evaluate(model, trained, (fnn.Padded(x, LENGTHS), y), task)
    for score, value in fnn.evaluate(model, trained, (x[REAL], y[REAL]), task).items():
        close(scores[score], value)


def test_targets_of_which_none_counts_are_no_perfect_score():
    model, task = fnn.dense(3), T.multiclass(3, ignore_index=-1)
    data = normal(ROWS, TIME, 2), np.full((ROWS, TIME), -1)
    how = dict(key=jax.random.key(0), progress=False)
    with pytest.warns(UserWarning, match="fit: no target counted in any epoch.*ignore_index"):
        trained, history = fnn.fit(model, fnn.optim.sgd(0.1), task, data, epochs=2, **how)
    assert np.isnan(history["loss"]).all()
    assert np.isnan(list(fnn.evaluate(model, trained, data, task).values())).all()
    with pytest.warns(UserWarning, match="trainer: no target counted"):
        fnn.trainer(model, fnn.optim.sgd(0.1), task, epochs=2)(jax.random.key(0), data)


def leave_out(reduction):
    return lambda p, y: fnn.losses.mse(p, y, where=y > 0, reduction=reduction)


def test_a_loss_of_values_that_leaves_some_out_says_which_or_is_warned_of():
    task, outputs, targets, flat, rows = case("regression")
    task = T.regression(loss=leave_out("pair"))
    losses, counts = task.loss(outputs, targets)
    expected, counted = task.loss(flat, rows)
    close((jnp.ravel(losses), jnp.ravel(counts)), (jnp.ravel(expected), jnp.ravel(counted)))
    lengths = jnp.asarray(LENGTHS)
    for given in (outputs, fnn.Padded(outputs, lengths)):
        with pytest.warns(UserWarning, match=r"regression\(1\): not all entries of the loss count alike"):
            T.regression(loss=leave_out("none")).loss(given, targets)
        with pytest.raises(
            ValueError, match=r"one value per example, shape \(6, …\), got \(\); write reduction=\"none\""
        ):
            T.regression(loss=leave_out("mean")).loss(given, targets)


@pytest.mark.parametrize("name", ["binary", "regression", "quantile"])
def test_an_axis_of_length_one_may_be_missing_or_too_many(name):
    task, outputs, targets, *_ = case(name)
    for shape in ((ROWS, TIME), (ROWS, TIME, 1)):
        close(task.loss(outputs, jnp.reshape(targets, shape)), task.loss(outputs, targets))
    one = outputs[:, :1], jnp.reshape(targets, (ROWS, TIME))[:, :1]
    close(jnp.ravel(task.loss(*one)), jnp.ravel(task.loss(one[0][:, 0], one[1])))


MISFITS = {
    "one value for many steps": (T.regression(), (ROWS, TIME, 1), (ROWS,), "flatten"),
    "many values for one step": (T.regression(), (ROWS, 1), (ROWS, TIME), "return_sequences"),
    "another number of steps": (T.binary(), (ROWS, TIME, 1), (ROWS, TIME - 1), r"\(6, 5\), got \(6, 4\)"),
    "steps and rows": (T.regression(), (ROWS, TIME, 1), (TIME, ROWS), r"\(6, 5, 1\), got \(5, 6\)"),
    "one-hot rows": (T.binary(), (ROWS, 1), (ROWS, 2), "argmax"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_targets_that_do_not_fit_the_outputs_say_what_to_write(name):
    task, outputs, targets, message = MISFITS[name]
    outputs, targets = np.zeros(outputs, np.float32), task.encode(np.zeros(targets))
    for use in (task.loss, *task.metrics.values()):
        with pytest.raises(ValueError, match=message):
            use(outputs, targets)


@pytest.mark.devices(2)
def test_several_devices_with_explicit_axes_agree():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    for name in TASKS:
        task, outputs, targets, *_ = case(name)
        there = jax.device_put((jnp.asarray(outputs), targets, jnp.asarray(LENGTHS)), split)
        with jax.set_mesh(mesh):
            losses = jax.jit(task.loss)(*there[:2])
            padded = jax.jit(task.loss)(fnn.Padded(there[0], there[2]), there[1])
            scores = {key: jax.jit(measure)(*there[:2]) for key, measure in task.metrics.items()}
            decoded = jax.jit(task.decode)(there[0])
        close(losses, task.loss(outputs, targets))
        close(padded[0], task.loss(fnn.Padded(outputs, jnp.asarray(LENGTHS)), targets)[0])
        close(decoded, task.decode(outputs))
        for key, measure in task.metrics.items():
            close(scores[key], measure(outputs, targets))
