"""Short trajectories of every kind of network, recorded: what a run computes does not change by accident.

`fit` and `trainer` give the same bits; the recorded losses hold within what compilers round differently.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
        [1.260286, 1.045487, 0.894273, 0.8152697],
        [1.020705, 0.9719605, 0.9444131, 0.9209737],
        72.54386,
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
