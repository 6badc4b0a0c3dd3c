"""What each of two processes runs where the second one presses Ctrl-C, or gives a search wrong arguments."""

import itertools
import json
import os
import signal
import sys
import threading
from pathlib import Path

import jax
import numpy as np
from parts_of_two_processes import MODEL, TASK, Parts, X, Y, diverge, evaluate, fit, predict, said, strictly, train

import fnn

OVER = {"learning_rate": [0.1, 0.2]}


def press(own):
    """Once: what is traced is run more than once."""
    if own == 1 and not getattr(signal.getsignal(signal.SIGINT), "asked", threading.Event()).is_set():
        os.kill(os.getpid(), signal.SIGINT)


def endless(own):
    for place, batch in enumerate(itertools.cycle(Parts(own))):
        if place == 20:
            press(own)
        yield batch


def silent(own):
    """The second process waits for its first batch."""
    press(own)
    if own == 1:
        threading.Event().wait(600)
    yield from Parts(own)


def pressing(own):
    """A metric, which is computed on outputs while it is traced."""

    def metric(outputs, targets, weights=None):
        press(own)
        return outputs.sum()

    return TASK._replace(metrics={"sum": metric})


def penalty(own):
    def penalty(params):
        press(own)
        return params["kernel"].sum()

    return penalty


def ended(mesh, own):
    return {
        "evaluate a stream": said(evaluate, mesh, lambda: endless(own)),
        "evaluate a silent stream": said(evaluate, mesh, lambda: silent(own)),
        "evaluate arrays": said(evaluate, mesh, (X, Y), task=pressing(own)),
        "predict a stream": said(predict, mesh, lambda: endless(own)),
        "predict arrays": said(predict, mesh, Pressing(own)),
        "trainer": said(train, mesh, X, penalty=penalty(own)),
        "fit, first batch": said(fit, mesh, lambda: silent(own)),
    }


class Pressing:
    """Inputs that press Ctrl-C while they are looked at."""

    def __init__(self, own):
        self.own = own

    def __array__(self, *given, **options):
        press(self.own)
        return X


def kept(mesh, own):
    """After how many epochs what was trained is returned."""
    return {
        "first step": fit(mesh, (X, Y), penalty=penalty(own))[1]["epochs"],
        "callback": fit(mesh, (X, Y), callbacks=[lambda end: (press(own), evaluate(mesh, Parts(own)))])[1]["epochs"],
    }


def search(name, **options):
    given = {"key": jax.random.key(0), "epochs": 1, "progress": False} | options
    optimizer = fnn.optim.sgd if "over" in given else fnn.optim.sgd(0.1)
    return getattr(fnn.selection, name)(MODEL, optimizer, TASK, (X, Y), **given)


def searches(mesh, own):
    """Without a mesh they are over the devices of all processes."""
    wrong = lambda **options: options if own == 1 else {}  # noqa: E731
    return {
        "cross_validate": said(search, "cross_validate", **wrong(epochs=0)),
        "cross_validate, mesh": said(search, "cross_validate", mesh=mesh, **wrong(epochs=0)),
        "cross_validate, word": said(search, "cross_validate", **wrong(epoch=1)),
        "sweep": said(search, "sweep", over=OVER, **wrong(trials=2)),
        "ensemble": said(search, "ensemble", **wrong(members=0)),
        "learning_curve": said(search, "learning_curve", **wrong(sizes=[])),
    }


def rates(**options):
    given = {"key": jax.random.key(0), "rates": 4, "seeds": 1, "steps": 2, "low": 1e-3} | options
    return fnn.selection.rate_range(MODEL, fnn.optim.sgd, TASK, (X, Y), **given)


def snapshots(**options):
    given = {"key": jax.random.key(0), "learning_rate": 0.1, "members": 2, "epochs": 1} | options
    return fnn.selection.snapshots(MODEL, fnn.optim.sgd, TASK, (X, Y), **given)


def alone(own):
    """What the second process calls while the first one calls nothing."""
    if own == 0:
        return {}
    here = fnn.devices.data_mesh(jax.local_devices())
    return {
        "rate_range, wrong": said(rates, steps=0),
        "rate_range": rates().losses.shape,
        "snapshots, wrong": said(snapshots, epochs=0),
        "snapshots": np.shape(snapshots().trained.params["kernel"]),
        "ensemble": np.shape(search("ensemble", members=1, mesh=here).trained.params["kernel"]),
    }


def trained(own):
    """Fewer members than devices; a warning at the end of a search that is an error in the second process; Ctrl-C."""
    bag = {"members": 1, "bootstrap": False}
    return {
        "few": np.asarray(search("ensemble", **bag).trained.params["kernel"]).tolist(),
        "warning": strictly(own == 1, search, "cross_validate", folds=2, penalty=diverge),
        "interrupted": interrupted_between_rungs(own),
    }


def interrupted_between_rungs(own):
    """Ctrl-C where the second process writes down the scores of a rung: those that reached it are kept in both."""
    sweep = sys.modules["fnn.selection.sweep"]
    update = sweep._update

    def pressing(*given):
        press(own)
        return update(*given)

    sweep._update = pressing
    try:
        found = search(
            "sweep", over={"learning_rate": [0.1, 0.2, 0.3, 0.4]}, how="halving", factor=2, epochs=4, folds=2
        )
    finally:
        sweep._update = update
    return found.epochs[:, 0, 0].tolist()


if __name__ == "__main__":
    port, own, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, own, heartbeat_timeout_seconds=10)
    mesh = fnn.devices.data_mesh()
    if sys.argv[4] == "searches":
        told = trained(own)
    else:
        told = {"errors": ended(mesh, own) | searches(mesh, own), "kept": kept(mesh, own), "alone": alone(own)}
    told["nothing"] = said(evaluate, mesh, (X, Y))
    (folder / f"{own}.json").write_text(json.dumps(told))
    sys.stdout.flush()
    os._exit(0)
