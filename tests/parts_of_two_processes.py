"""What each of two processes runs over its part of streams and memory maps; without a port, what one runs over all."""

import itertools
import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

import fnn
from fnn.train import feeding, processes

ROWS = 75
X = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
Y = (X.sum(1) > 0).astype(np.int32)
TASK = fnn.tasks.multiclass(2)
MODEL = fnn.dense(2)
UNDEFINED = TASK._replace(metrics={"none": lambda outputs, targets, weights=None: outputs.sum() * np.nan})
CUTS = {None: slice(0, 8), 0: slice(0, 5), 1: slice(5, 8)}


class Parts:
    """Of batches of 8 rows this process's 5 or 3, so many batches; the second process's may end earlier."""

    def __init__(self, own, first=0, last=64, ends=None):
        self.own, self.first, self.last, self.ends = own, first, last, ends

    def __iter__(self):
        for first in range(self.first, self.last, 8):
            cut = CUTS[self.own]
            if self.ends is not None and first >= self.ends:
                if self.own == 1:
                    return
                cut = slice(0, 5)
            yield X[first : first + 8][cut], Y[first : first + 8][cut]


class Ordered:
    """A new order of this process's rows each time, by a generator that it knows the state of."""

    def __init__(self, own, seed=0):
        self.own, self.rng = own, np.random.default_rng([seed, own or 0])

    def __iter__(self):
        rows = self.rng.permutation(np.arange(self.own or 0, 40, 1 if self.own is None else 2))
        for first in range(0, len(rows), 4):
            yield X[rows[first : first + 4]], Y[rows[first : first + 4]]

    def state_dict(self):
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state):
        self.rng.bit_generator.state = state["rng"]


def growing(own, epoch=0):
    """Batches that outgrow the first ones, in the second process alone."""
    for first, last in ((0, 8), (8, 16), (16, 24), (24, 32), (32, 40), (40, 59), (59, 75))[epoch:]:
        yield tuple(all[first:last][{None: slice(None), 0: slice(0, 5), 1: slice(5, None)}[own]] for all in (X, Y))


def fit(mesh, data, **options):
    options = {"key": jax.random.key(0), "epochs": 2, "progress": False, "mesh": mesh} | options
    return fnn.fit(MODEL, fnn.optim.adam(0.1), TASK, data, **options)


def numbers(run):
    trained, history = run
    return {name: value for name, value in history.items() if isinstance(value, list)} | {
        "kernel": np.asarray(trained.params["kernel"]).tolist()
    }


def files(folder):
    np.save(folder / "x.npy", X)
    return np.load(folder / "x.npy", mmap_mode="r"), Y


def trained():
    return fnn.Trained(*MODEL.init(jax.random.key(1), X[:1]))


def results(mesh, own, folder):
    """The same numbers whoever reads which part."""
    weighed = [(x, y, np.full(len(x), own != 1, np.float32)) for x, y in Parts(own)]
    if own is None:  # the second process's rows do not count
        weighed = [(x, y, (np.arange(8) < 5).astype(np.float32)) for x, y in Parts(None)]
    return {
        "stream": numbers(fit(mesh, Parts(own), validation=Parts(own, 40))),
        "local class": of_a_local_class(mesh, own),
        "ends": numbers(fit(mesh, Parts(own, ends=24), validation=Parts(own, ends=16))),
        "weights": numbers(fit(mesh, weighed, validation=weighed)),
        "maps": numbers(fit(mesh, files(folder), batch_size=8, validation=0.2)),
        "grows": numbers(fit(mesh, lambda: growing(own), validation=lambda: growing(own))),
        "none": numbers(fit(mesh, Parts(own, ends=0), validation=list(Parts(own, ends=0)))),
        "none at first": numbers(fit(mesh, lambda epoch: Parts(own, ends=24 * epoch))),
        "none at last": numbers(fit(mesh, lambda epoch: Parts(own, ends=24 - 24 * epoch))),
        "none evaluated": fnn.evaluate(MODEL, trained(), list(Parts(own, ends=0)), TASK, mesh=mesh),
        "few": numbers(fit(mesh, files(folder), batch_size=2, rows=list(range(5)), validation=files(folder))),
        "evaluate": fnn.evaluate(MODEL, trained(), lambda: Parts(own, ends=24), TASK, mesh=mesh),
        "arrays": fnn.evaluate(MODEL, trained(), (X, Y), TASK, mesh=mesh),
        "map evaluated": fnn.evaluate(MODEL, trained(), files(folder), TASK, [3, -1, *range(9, 30)], mesh=mesh),
        "map predicted": fnn.predict(MODEL, trained(), files(folder)[0], mesh=mesh, batch_size=16).tolist(),
    }


def resumed(mesh, own, folder):
    """A run in two pieces, and in one: each process has another directory, of which the first one's counts."""
    given = lambda: {"data": Ordered(own), "validation": Ordered(own, 7)}  # noqa: E731
    grown = lambda epoch: growing(own, epoch)  # noqa: E731
    whole = [numbers(fit(mesh, **given(), epochs=4)), numbers(fit(mesh, grown, epochs=4))]
    fit(mesh, **given(), epochs=2, checkpoint=folder / f"run {own}")
    fit(mesh, grown, epochs=2, checkpoint=folder / f"grown {own}")
    again = [numbers(fit(mesh, **given(), epochs=4, checkpoint=folder / f"run {own}"))]
    again.append(numbers(fit(mesh, grown, epochs=4, checkpoint=folder / f"grown {own}")))
    within, ends = fnn.checkpoints(folder / f"within {own}", steps=1), fnn.every(1, lambda end: end.step == 7)
    fit(mesh, **given(), epochs=4, checkpoint=within, callbacks=[ends])
    again.append(numbers(fit(mesh, **given(), epochs=4, checkpoint=within)))
    whole.append(whole[0])
    return {"whole": whole, "again": again, "files": len(list(folder.glob(f"run {own}/*.npz")))}


def listed(mesh, own, folder):
    """The same of a list of files, which have other names in each process."""
    files = []
    for place, (x, y) in enumerate(Parts(own)):
        files.append(str(folder / f"{own} {place}.npz"))
        np.savez(files[-1], x=x, y=y)
    whole = numbers(fit(mesh, files, validation=files[:2]))
    fit(mesh, files, validation=files[:2], epochs=1, checkpoint=folder / f"listed {own}")
    return {
        "whole": whole,
        "again": numbers(fit(mesh, files, validation=files[:2], checkpoint=folder / f"listed {own}")),
    }


def said(run, *given, **options):
    try:
        run(*given, **options)
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def fails(own, at):
    for place, batch in enumerate(Parts(own)):
        if own == 1 and place == at:
            raise OSError("gone")
        yield batch


def exits(own):
    yield from Parts(own, last=16)
    if own == 1:
        sys.exit(3)


def moved(mesh, own, folder):
    """A validation that gives other rows in the second process once the run is resumed, where a warning is an error."""
    parts, options = list(Parts(own)), {"checkpoint": folder / f"moved {own}"}
    fit(mesh, Ordered(own), validation=parts, epochs=1, **options)
    return said(fit, mesh, Ordered(own), validation=[(x + own, y) for x, y in parts], **options)


def kept(mesh, own, at):
    """What a run keeps of a stream that fails in the second process."""
    try:
        fit(mesh, lambda: fails(own, at))
    except fnn.StreamError as error:
        return np.asarray(error.trained.params["kernel"]).tolist(), str(error)


def errors(mesh, own, folder):
    second = own == 1
    return {
        "empty": said(fit, mesh, lambda: Parts(own, last=0)),
        "empty later": said(fit, mesh, lambda epoch: Parts(own, last=0) if epoch else Parts(own, ends=24)),
        "len": said(fit, mesh, Short(own) if second else list(Parts(own))),
        "form": said(fit, mesh, lambda: [(x[:, : 3 + second], y) for x, y in Parts(own)]),
        "kind": said(fit, mesh, (X, Y) if second else lambda: Parts(own)),
        "nothing counts": said(fit, mesh, lambda: [(x, y, 0 * x[:, 0]) for x, y in Parts(own)]),
        "validation": said(fit, mesh, lambda: Parts(own), validation=lambda: fails(own, 2)),
        "exit": said(fit, mesh, lambda: exits(own)),
        **alone(mesh, own),
    }


def errors_of_checkpoints(mesh, own, folder):
    checkpoint = folder / f"run {own}"
    return {
        "checkpoint": said(fit, mesh, lambda: Parts(own), checkpoint=checkpoint if own == 1 else None),
        "state": said(fit, mesh, Strange(own), checkpoint=folder / f"strange {own}"),
        "other": said(fit, mesh, Ordered(own), key=jax.random.key(5), checkpoint=checkpoint),
        "warning": moved(mesh, own, folder),
        "unwritable": said(unwritable, mesh, own, folder),
        "unwritable at last": said(unwritable, mesh, own, folder / "last", every=5),
    }


def evaluate(mesh, data, own_trained=None, task=TASK, **options):
    return fnn.evaluate(MODEL, own_trained or trained(), data, task, mesh=mesh, **options)


def predict(mesh, x):
    return fnn.predict(MODEL, trained(), x, mesh=mesh)


def train(mesh, x, **options):
    return make(mesh, **options)(jax.random.key(0), (x, Y))


def make(mesh, **options):
    return fnn.trainer(MODEL, fnn.optim.sgd(0.1), TASK, **{"epochs": 1} | options, mesh=mesh)


def unwritable(mesh, own, folder, **options):
    """A run of which a checkpoint cannot be written, where a warning is an error."""
    place = folder / f"unwritable {own}"

    def occupy(end):
        (place / "epoch-000002.npz").mkdir(parents=True, exist_ok=True)

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        return fit(mesh, (X, Y), callbacks=[occupy], checkpoint=fnn.checkpoints(place, **options))


def alone(mesh, own):
    """What the second process alone does wrong, outside of any stream."""
    second = own == 1

    def fails(end):
        if second:
            raise KeyError("gone")

    bad, other = np.where(second, np.nan, X), fnn.Trained(*fnn.dense(3).init(jax.random.key(1), X[:1]))
    return {
        "option": said(fit, mesh, (X, Y), epochs=0 if second else 2),
        "word": said(fit, mesh, (X, Y), **{"epoch": 2} if second else {}),
        "data": said(fit, mesh, (bad, Y)),
        "stream and rows": said(fit, mesh, list(Parts(own)), rows=[1] if second else None),
        "callback": said(fit, mesh, (X, Y), callbacks=[fails]),
        "callback of a stream": said(fit, mesh, Parts(own), callbacks=[fails], validation=Parts(own)),
        "at a step": said(fit, mesh, (X, Y), callbacks=[fnn.every(2, fails)]),
        "exit in a callback": said(fit, mesh, (X, Y), callbacks=[lambda end: second and sys.exit(3)]),
        "evaluate in a callback": said(
            fit, mesh, (X, Y), callbacks=[lambda end: evaluate(mesh, (X, Y), rows=[75 if second else 1])]
        ),
        "evaluate": said(evaluate, mesh, (bad, Y)),
        "evaluate, trained": said(evaluate, mesh, (X, Y), other if second else None),
        "evaluate, trained, stream": said(evaluate, mesh, Parts(own), other if second else None),
        "predict": said(predict, mesh, bad),
        "trainer": said(train, mesh, bad),
        "words of a connection": said(fit, mesh, (X, Y), callbacks=[lambda end: second and hears_no_heartbeat()]),
        "verbs": said(fit, mesh, (X, Y)) if second else said(evaluate, mesh, (X, Y)),
        "calls": said(processes.meet, 1) if second else said(processes.gather, mesh, 1),
        "warning at the end of fit": strictly(second, fit, mesh, (X, Y), penalty=diverge),
        "warning at the end of evaluate": strictly(second, evaluate, mesh, (X[:1], Y[:1]), task=UNDEFINED),
        "warning at the end of a run": strictly(second, train, mesh, X, penalty=diverge),
        "nothing": said(evaluate, mesh, (X, Y)),
    }


def hears_no_heartbeat():
    raise ValueError("the sensor has no heartbeat")


def diverge(params):
    return params["kernel"].sum() * np.nan


def strictly(second, run, *given, **options):
    """What is a warning in the first process is an error in the second."""
    with warnings.catch_warnings():
        warnings.simplefilter("error" if second else "ignore", RuntimeWarning)
        return said(run, *given, **options)


def of_a_local_class(mesh, own):
    """Inputs that no other process is lent, as none is without a batch."""

    class Pair(NamedTuple):
        a: np.ndarray
        b: np.ndarray

    model = fnn.serial(lambda x: x.a + x.b, MODEL)
    return fnn.fit(
        model, fnn.optim.adam(0.1), TASK, [(Pair(x, x), y) for x, y in Parts(own)], key=jax.random.key(0), epochs=1,
        progress=False, mesh=mesh,
    )[1]["loss"]  # fmt: skip


def pressing(own, at):
    """Ctrl-C in the second process, in the middle of an epoch without an end."""

    def stream(epoch):
        for place, batch in enumerate(Parts(own) if epoch < at else itertools.cycle(Parts(own))):
            if own == 1 and epoch == at and place == 20:
                os.kill(os.getpid(), signal.SIGINT)
            yield batch

    return stream


def interrupted(mesh, own):
    """After how many epochs."""
    return {
        "training": fit(mesh, pressing(own, 1), epochs=3)[1]["epochs"],
        "validation": fit(mesh, Parts(own), validation=pressing(own, 1), epochs=3)[1]["epochs"],
    }


def sources(own):
    """What two processes begin and one goes on with."""
    return {
        "function": lambda epoch: Parts(own, 8 * epoch),
        "list": list(Parts(own)),
        "state": Ordered(own),
        "no state": Parts(own),
    }


def split_files(own, folder):
    """Of four files every process has each second one, as it reads them."""
    files = [str(folder / f"part {place}.npz") for place in range(4)]
    for name, (x, y) in zip(files, Parts(None), strict=False):
        np.savez(name, x=x, y=y)
    return files if own is None else files[own::2]


def begun(mesh, own, folder):
    fit(mesh, split_files(own, folder / str(own)), epochs=1, checkpoint=folder / f"files {own}")
    for name, data in sources(own).items():
        fit(mesh, data, epochs=1, checkpoint=folder / f"{name} {own}")
    return str(folder)


class Short(Parts):
    """Gives nothing of what it says it has."""

    def __iter__(self):
        return iter(())

    def __len__(self):
        return 8


class Strange(Ordered):
    def state_dict(self):
        return {"rng": self.rng if self.own == 1 else 0}


if __name__ == "__main__":
    port, own, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    feeding.CHUNK_BYTES = 300  # a few batches, not the same number in both
    warnings.simplefilter("error", UserWarning)
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, own, heartbeat_timeout_seconds=10)
    mesh = fnn.devices.data_mesh()
    (folder / str(own)).mkdir()
    if sys.argv[4] == "checkpoints":
        told = {
            "resumed": resumed(mesh, own, folder),
            "listed": listed(mesh, own, folder),
            "errors": errors_of_checkpoints(mesh, own, folder),
            "begun": begun(mesh, own, folder),
        }
    else:
        told = {
            "results": results(mesh, own, folder / str(own)),
            "predicted of none": np.shape(fnn.predict(MODEL, trained(), list(Parts(own, ends=0)), mesh=mesh)),
            "predicted": fnn.predict(MODEL, trained(), lambda: Parts(own, ends=24), mesh=mesh).tolist(),
            "errors": errors(mesh, own, folder),
            "made": said(make, mesh, epochs=0) if own == 1 else "nothing",
            "kept": kept(mesh, own, 5),
            "interrupted": interrupted(mesh, own),
        }
    (folder / f"{own}.json").write_text(json.dumps(told))
    sys.stdout.flush()
    os._exit(0)
