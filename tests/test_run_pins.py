"""Short trajectories of every kind of network, recorded: what a run computes does not change by accident.

`fit` and `trainer` give the same bits, searches the same but for rounding; recorded losses hold within what other
compilers and processors round.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import datasets as sklearn_datasets

import fnn

KEY = jax.random.key(3)
ROWS, VALID = 45, 15
DRAWN = np.random.default_rng(12).random((ROWS + VALID, 8, 8), np.float32)
LABELS = (DRAWN[:, :4].sum((1, 2)) > DRAWN[:, 4:].sum((1, 2))).astype(np.int64) + (DRAWN[:, :, 0].sum(1) > 4)
TASK = fnn.tasks.multiclass(3)

FLAT = DRAWN.reshape(-1, 64)
IMAGES = DRAWN[..., None]


def mirrored(key, x, targets):
    return jnp.where(jax.random.bernoulli(key, 0.5, (x.shape[0], 1)), x[:, ::-1], x), targets


CASES = {
    "mlp": (fnn.serial(fnn.dense(16), fnn.relu, fnn.dense(3)), FLAT, fnn.optim.adam(0.01), {}),
    "cnn": (
        fnn.serial(fnn.conv(4, 3), fnn.relu, fnn.max_pool(2), fnn.flatten(), fnn.dense(3)),
        IMAGES, fnn.optim.sgd(0.1, momentum=0.9), {},
    ),
    "lstm": (fnn.serial(fnn.lstm(6), fnn.dense(3)), DRAWN, fnn.optim.adam(0.02), {}),
    "dropout": (
        fnn.serial(fnn.dense(16), fnn.tanh, fnn.dropout(0.4), fnn.dense(3)), FLAT, fnn.optim.adam(0.01),
        {"penalty": fnn.optim.l2(1e-3)},
    ),
    "batch norm": (
        fnn.serial(fnn.dense(8, use_bias=False), fnn.batch_norm(), fnn.relu, fnn.dense(3)),
        FLAT, fnn.optim.sgd(0.1), {},
    ),
    "early stopping": (
        fnn.serial(fnn.dense(16), fnn.relu, fnn.dense(3)), FLAT, fnn.optim.adam(0.1),
        {"early_stopping": fnn.early_stopping("validation_loss", patience=1)},
    ),
    "augment": (fnn.serial(fnn.dense(8), fnn.relu, fnn.dense(3)), FLAT, fnn.optim.adam(0.01), {"augment": mirrored}),
    "in order": (fnn.dense(3), FLAT, fnn.optim.adam(0.01), {"shuffle": False}),
}  # fmt: skip
RECORDED: dict[str, tuple[list[float], list[float], float]] = {
    "mlp": (
        [1.225703, 1.105866, 1.070833, 1.052688],
        [0.8906137, 0.9548709, 0.9966475, 0.9901574],
        115.2306,
    ),
    "cnn": (
        [1.703237, 1.162201, 1.112283, 1.094495],
        [1.027985, 1.148718, 1.111998, 1.076775],
        35.1442,
    ),
    "lstm": (
        [1.180136, 1.087555, 1.087395, 1.08626],
        [1.072014, 1.06153, 1.059062, 1.048638],
        130.0828,
    ),
    "dropout": (
        [1.474429, 1.177797, 1.139905, 1.072885],
        [0.914863, 1.205486, 1.3941, 1.213917],
        109.7778,
    ),
    "batch norm": (
        [1.25327, 1.026376, 0.9226978, 0.8293088],
        [1.022303, 0.9846017, 0.9477986, 0.9235796],
        72.54305,
    ),
    "early stopping": (
        [2.040589, 1.099495],
        [1.081796, 1.168912],
        179.675,
    ),
    "augment": (
        [1.1088, 1.070024, 1.072194, 1.053399],
        [1.003853, 1.053251, 1.057666, 1.020343],
        61.25357,
    ),
    "in order": (
        [1.022284, 0.9845824, 0.9294105, 0.88998],
        [0.9532784, 0.9492734, 0.973013, 0.9516124],
        22.59898,
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_the_trajectory_is_the_recorded_one_in_trainer_and_in_fit(name):
    model, x, optimizer, options = CASES[name]
    data, held = (x[:ROWS], LABELS[:ROWS]), (x[ROWS:], LABELS[ROWS:])
    given = (model, optimizer, TASK)
    options = dict(epochs=4, batch_size=16) | options
    trained, history = fnn.trainer(*given, **options)(KEY, data, validation=held)
    same, rows = fnn.fit(*given, data, key=KEY, validation=held, progress=False, **options)
    ran = int(history["epochs"])
    jax.tree.map(np.testing.assert_array_equal, trained, same)
    assert rows["epochs"] == ran
    for column in ("loss", "validation_loss", "validation_accuracy"):
        np.testing.assert_array_equal(history[column][:ran], rows[column])
    norm = float(sum(np.abs(leaf).sum() for leaf in jax.tree.leaves(trained)))
    losses, scores, size = RECORDED[name]
    np.testing.assert_allclose(rows["loss"], losses, rtol=2e-4)
    np.testing.assert_allclose(rows["validation_loss"], scores, rtol=2e-4)
    np.testing.assert_allclose(norm, size, rtol=2e-4)


@pytest.mark.thorough
def test_a_short_last_batch_is_that_batch_alone():
    """45 rows by 16: the run fills the last batch up, and takes the steps of 16, 16 and 13 rows."""
    model, x, optimizer, _ = CASES["batch norm"]
    data = x[:ROWS], LABELS[:ROWS]
    _, history = fnn.trainer(model, optimizer, TASK, epochs=4, batch_size=16, shuffle=False)(KEY, data)
    step = fnn.train_step(model, optimizer, TASK)
    update, state = jax.jit(step.update), step.init(jax.random.split(KEY)[0], x[:16])
    for loss in history["loss"]:
        total = 0.0
        for first in range(0, ROWS, 16):
            rows = slice(first, min(first + 16, ROWS))
            state, mean = update(state, KEY, (jnp.asarray(x[rows]), jnp.asarray(LABELS[rows])))
            total += float(mean) * (rows.stop - rows.start)
        np.testing.assert_allclose(loss, total / ROWS, rtol=1e-5)


DIGITS = sklearn_datasets.load_digits()
PIXELS, FIGURES = (DIGITS.data[:400] / 16).astype(np.float32), DIGITS.target[:400]
TEN, ADAM = fnn.tasks.multiclass(10), fnn.optim.adam(1e-2)
PERCEPTRON = fnn.serial(fnn.dense(32), fnn.relu, fnn.dense(10))
NETS = {
    "perceptron": (PERCEPTRON, PIXELS),
    "cnn": (
        fnn.serial(fnn.conv(4, 3), fnn.relu, fnn.max_pool(2), fnn.flatten(), fnn.dense(10)),
        PIXELS.reshape(-1, 8, 8, 1),
    ),
    "lstm": (fnn.serial(fnn.lstm(8), fnn.dense(10)), PIXELS.reshape(-1, 8, 8)),
}
DIGITS_RECORDED = {
    "perceptron": ([2.0759671, 1.4407456, 0.86117393], [1.8534464, 1.2863302, 0.88261205]),
    "cnn": ([2.2022512, 1.7499919, 1.2393795], [1.9805173, 1.5448244, 1.1856227]),
    "lstm": ([2.3432055, 2.2181633, 2.1013522], [2.2701983, 2.2096221, 2.1186562]),
}


@pytest.mark.parametrize(
    "name", ["perceptron", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("cnn", "lstm"))]
)
def test_digits_are_learned_as_recorded(name):
    """The losses of three epochs to five digits, also with another jax; parameters are those of the first releases."""
    model, x = NETS[name]
    run = fnn.trainer(model, ADAM, TEN, epochs=3, batch_size=32)
    _, history = run(KEY, (x[:300], FIGURES[:300]), validation=(x[300:], FIGURES[300:]))
    for column, recorded in zip(("loss", "validation_loss"), DIGITS_RECORDED[name], strict=True):
        np.testing.assert_allclose(history[column], recorded, rtol=1e-5)


@pytest.mark.thorough
def test_a_cross_validation_of_digits_is_the_recorded_one():
    found = fnn.selection.cross_validate(
        PERCEPTRON, fnn.optim.adam, TEN, (PIXELS, FIGURES), key=KEY, epochs=3, batch_size=32,
        over={"learning_rate": [1e-2, 1e-3]}, folds=3, progress=False,
    )  # fmt: skip
    np.testing.assert_allclose(
        found.scores["loss"].ravel()[:4], [0.70019126, 0.71983688, 0.72614574, 2.1047130], rtol=1e-5
    )
    np.testing.assert_allclose(found.scores["accuracy"].ravel()[:3], [122 / 134, 125 / 133, 123 / 133], rtol=1e-6)


@pytest.mark.thorough
def test_every_verb_takes_the_same_steps_but_for_rounding():
    model, optimizer, data = fnn.dense(3), fnn.optim.sgd(0.1), (FLAT, LABELS)
    options = dict(epochs=3, batch_size=16)
    train, valid = (side[1] for side in fnn.selection.k_fold(len(FLAT), 3, seed=0))
    _, history = fnn.trainer(model, optimizer, TASK, **options)(
        jax.random.split(KEY, 1)[0], data, train, validation=valid
    )
    _, driven = fnn.fit(
        model, optimizer, TASK, data, key=jax.random.split(KEY, 1)[0], rows=train, validation=valid, progress=False,
        **options,
    )  # fmt: skip
    searched = dict(key=KEY, folds=fnn.selection.k_fold(len(FLAT), 3, seed=0), together=False, progress=False)
    folds = fnn.selection.cross_validate(model, optimizer, TASK, data, **searched, **options)
    swept = fnn.selection.sweep(
        model, lambda rate: fnn.optim.sgd(rate), TASK, data, over={"rate": [0.1]}, **searched, **options
    )
    for column in ("loss", "validation_loss"):
        for found in (driven[column], *(one.curves[column][0, 1, 0] for one in (folds, swept))):
            np.testing.assert_allclose(found, history[column], rtol=1e-6)
