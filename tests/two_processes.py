"""What each of two processes runs; the last thing the second one does is to die in the middle of the work."""

import os
import sys

import jax
import numpy as np

import fnn

TASK = fnn.tasks.multiclass(2)
MODEL = fnn.serial(fnn.dense(8, use_bias=False), fnn.batch_norm(), fnn.relu, fnn.dropout(0.2), fnn.dense(2))
OPTIMIZER = fnn.optim.sgd(0.1)


def data():
    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    return x, (x.sum(1) > 0).astype(np.int32)


def parts(mesh, rows):
    """Every process reads its own half of each batch; of the last one, where only 4 rows are left, one has none."""
    x, y = data()
    halves = [slice(0, 8)] if mesh is None else [slice(0, 4), slice(4, 8)]

    def batches():
        for first in range(0, rows, 8):
            batch = x[first : min(first + 8, rows)], y[first : min(first + 8, rows)]
            part = tuple(array[halves[jax.process_index()]] for array in batch)
            if len(part[0]):
                yield part

    return batches


def streamed(model, mesh, rows):
    """The losses of a run whose data is read in parts."""
    _, history = fnn.fit(
        model, OPTIMIZER, TASK, parts(mesh, rows), key=jax.random.key(0), epochs=2, progress=False, mesh=mesh
    )
    return history["loss"]


def results(mesh):
    """The numbers of a run, a driven run and a cross-validation."""
    x, y = data()
    options = dict(epochs=2, batch_size=8, mesh=mesh)
    trained, history = fnn.trainer(MODEL, OPTIMIZER, TASK, **options)(jax.random.key(0), (x, y), validation=(x, y))
    _, driven = fnn.fit(MODEL, OPTIMIZER, TASK, (x, y), key=jax.random.key(0), progress=False, **options)
    folds = fnn.selection.cross_validate(
        MODEL, OPTIMIZER, TASK, (x, y), key=jax.random.key(1), folds=4, epochs=2, batch_size=8, progress=False
    )
    return {
        "loss": np.asarray(history["loss"]),
        "validation_loss": np.asarray(history["validation_loss"]),
        "driven": driven["loss"],
        "streamed": streamed(MODEL, mesh, 40),
        "uneven": streamed(fnn.dense(2), mesh, 36),  # without what sees the rows that fill a batch up
        "predicted": np.asarray(fnn.predict(MODEL, trained, x)),
        "folds": folds.scores["loss"],
    }


if __name__ == "__main__":
    port, index, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, index, heartbeat_timeout_seconds=10)
    mesh = fnn.devices.data_mesh()
    np.savez(os.path.join(folder, f"{index}.npz"), devices=mesh.size, **results(mesh))
    print("saved", flush=True)
    if index == 1:
        os._exit(9)
    results(mesh)
    print("never reached", flush=True)
