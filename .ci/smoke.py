"""A dense, a convolutional and a recurrent network, a cross-validation, a checkpoint and its resume, end to end."""

import tempfile

import jax
import numpy as np

import fnn

KEY, TASK = jax.random.key(0), fnn.tasks.multiclass(2)
NETWORKS = {
    "mlp": (fnn.models.mlp((16,), 2), (8,)),
    "cnn": (
        fnn.serial(fnn.conv(4, 3), fnn.batch_norm(), fnn.relu, fnn.max_pool(2), fnn.flatten(), fnn.dense(2)),
        (8, 8, 1),
    ),
    "lstm": (fnn.serial(fnn.lstm(8), fnn.dense(2)), (6, 3)),
}


def data(shape):
    """Two classes that differ in their mean."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=128).astype(np.int32)
    x = rng.normal(size=(128, *shape)) + y.reshape(-1, *[1] * len(shape))
    return x.astype(np.float32), y


for name, (model, shape) in NETWORKS.items():
    x, y = data(shape)
    run = fnn.trainer(model, fnn.optim.adam(1e-2), TASK, epochs=10, batch_size=32)
    trained, _ = run(KEY, (x, y))
    accuracy = float(fnn.evaluate(model, trained, (x, y), TASK)["accuracy"])
    print(f"{name}: accuracy {accuracy:.3f}")
    assert accuracy > 0.85, name

model, shape = NETWORKS["mlp"]
x, y = data(shape)
found = fnn.selection.cross_validate(
    model,
    fnn.optim.adam,
    TASK,
    (x, y),
    key=KEY,
    folds=4,
    epochs=5,
    over={"learning_rate": [1e-3, 1e-2]},
    progress=False,
)
print(found)
assert np.isfinite(found.scores["loss"]).all()

given, options = (model, fnn.optim.adam(1e-2), TASK, (x, y)), dict(key=KEY, batch_size=32, progress=False)
with tempfile.TemporaryDirectory() as folder:
    whole, _ = fnn.fit(*given, epochs=4, **options)
    fnn.fit(*given, epochs=2, checkpoint=folder, **options)
    resumed, history = fnn.fit(*given, epochs=4, checkpoint=folder, **options)
jax.tree.map(np.testing.assert_array_equal, whole, resumed)
print("resumed exactly after 2 of 4 epochs; fnn", fnn.__version__)
