"""What each of two processes runs: the same calls, but for one thing that the second one does otherwise."""

import os
import signal
import sys

import jax
import numpy as np

import fnn
from fnn.selection import members

TASK = fnn.tasks.multiclass(2)
X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
Y = (X.sum(1) > 0).astype(np.int32)
GIVEN = {"model": fnn.dense(2), "optimizer": fnn.optim.sgd(0.1), "key": 0, "x": X, "epochs": 2, "batch_size": 8}
OTHER = {
    "model": fnn.serial(fnn.relu, fnn.dense(2)),
    "optimizer": fnn.optim.sgd(0.2),
    "key": 1,
    "x": X + 1,
    "epochs": 3,
    "batch_size": 4,
}


def fit(mesh, callbacks=(), **changed):
    given = GIVEN | changed
    return fnn.fit(
        given["model"], given["optimizer"], TASK, (given["x"], Y), key=jax.random.key(given["key"]),
        epochs=given["epochs"], batch_size=given["batch_size"], mesh=mesh, progress=False, callbacks=callbacks,
    )  # fmt: skip


def trainer(mesh, **changed):
    given = GIVEN | changed
    run = fnn.trainer(
        given["model"], given["optimizer"], TASK, epochs=given["epochs"], batch_size=given["batch_size"], mesh=mesh
    )
    return run(jax.random.key(given["key"]), (given["x"], Y))


def cross_validate(mesh, **changed):
    given = GIVEN | changed
    return fnn.selection.cross_validate(
        given["model"], given["optimizer"], TASK, (given["x"], Y), key=jax.random.key(given["key"]), folds=2,
        epochs=given["epochs"], batch_size=8, mesh=mesh, progress=False,
    )  # fmt: skip


def interrupted_in_folds(mesh, index):
    clock = members.clock

    def pressing():
        """Ctrl-C between two pieces of the program, where the host looks at its clock."""
        os.kill(os.getpid(), signal.SIGINT)
        return clock()

    members.clock = pressing if index == 1 else clock
    try:
        cross_validate(mesh, epochs=1_000_000)
    except KeyboardInterrupt:
        return "KeyboardInterrupt"
    finally:
        members.clock = clock


def said(run, *given, **changed):
    try:
        run(*given, **changed)
    except ValueError as error:
        return error
    return "nothing"


def interrupted(mesh, index):
    """Ctrl-C in the second process, in the middle of a run that would take hours."""

    def press(end):
        if index == 1 and end.epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    return fit(mesh, [press], epochs=1_000_000)[1]["epochs"]


def stopped_by_a_callback(mesh, index):
    return fit(mesh, [lambda end: index == 1 and end.epoch == 2], epochs=1_000_000)[1]["epochs"]


def killed(mesh, index):
    return fit(mesh, [lambda end: index == 1 and end.epoch == 2 and os._exit(9)], epochs=1_000_000)


if __name__ == "__main__":
    port, index = int(sys.argv[1]), int(sys.argv[2])
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, index, heartbeat_timeout_seconds=10)
    mesh = fnn.devices.data_mesh()
    for name, value in OTHER.items():
        print(name, "|", said(fit, mesh, **({name: value} if index == 1 else {})), flush=True)
    print("trainer", "|", said(trainer, mesh, **({"epochs": 3} if index == 1 else {})), flush=True)
    for name in ("key", "x", "epochs"):
        print(
            f"folds, {name} | {said(cross_validate, mesh, **({name: OTHER[name]} if index == 1 else {}))}", flush=True
        )
    print("folds", "|", interrupted_in_folds(mesh, index), flush=True)
    print("interrupted", "|", interrupted(mesh, index), flush=True)
    print("callback", "|", stopped_by_a_callback(mesh, index), flush=True)
    try:
        killed(mesh, index)
    except RuntimeError as error:
        print("killed", "|", error, flush=True)
    os._exit(0)  # an orderly end would wait for the one that is gone
