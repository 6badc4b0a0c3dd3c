"""Training epochs fed by a torch `DataLoader`, a generator, a memory map, a list of batches, and arrays in memory."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import cnn, networks
from benchmarks.contender import CPU_TIME, PEAK_MEMORY, Contender, Job, Workload
from benchmarks.peaks import torch_device
from benchmarks.steps import CLASSES, RATE

BATCH = 128
MLP = "-".join(map(str, (784, *networks.HIDDEN, CLASSES)))
STEPS, QUICK_STEPS = {"MLP": 200, "CNN": 20}, 3
EPOCHS = {"MLP": 3, "CNN": 1}


def _data(case: str, quick: bool) -> tuple[Any, Any]:
    """Random images (rows, 28, 28, 1) of an epoch of whole batches, and their classes."""
    import numpy as np

    random, rows = np.random.default_rng(0), BATCH * (QUICK_STEPS if quick else STEPS[case])
    side = 8 if quick else 28
    return random.standard_normal((rows, side, side, 1), dtype=np.float32), random.integers(0, CLASSES, rows)


def _loader(x: Any, y: Any) -> Any:
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    return DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=BATCH, shuffle=True)


def _batches(x: Any, y: Any) -> list[tuple[Any, Any]]:
    return [(x[first : first + BATCH], y[first : first + BATCH]) for first in range(0, len(x), BATCH)]


def _generator(x: Any, y: Any) -> Callable[[int], Iterator[tuple[Any, Any]]]:
    """Batches of rows in an order of their epoch's own."""
    import numpy as np

    def batches(epoch: int) -> Iterator[tuple[Any, Any]]:
        order = np.random.default_rng(epoch).permutation(len(x))
        for first in range(0, len(x), BATCH):
            rows = order[first : first + BATCH]
            yield x[rows], y[rows]

    return batches


def _memory_map(x: Any, y: Any) -> tuple[Any, Any]:
    import numpy as np

    folder = Path(tempfile.mkdtemp(prefix="fnn-streams-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "x.npy"
    np.save(path, x)
    return np.load(path, mmap_mode="r"), y


def _fnn(feed: Callable[[Any, Any], Any], *needs: str) -> Contender:
    def build(case: str, quick: bool) -> Job:
        import jax

        import fnn

        x, y = _data(case, quick)
        model = fnn.serial(fnn.flatten(), networks.fnn_mlp()) if case == "MLP" else cnn.fnn_cnn()
        task, optimizer, data = fnn.tasks.multiclass(CLASSES), fnn.optim.adam(RATE), feed(x, y)
        arrays = {"batch_size": BATCH} if isinstance(data, tuple) else {}

        def run() -> Any:
            key, epochs = jax.random.key(0), EPOCHS[case]
            return fnn.fit(model, optimizer, task, data, key=key, epochs=epochs, progress=False, **arrays)[0]

        return Job(run, calls=EPOCHS[case] * len(x) // BATCH)

    return Contender(build, needs=needs)


def _keras(feed: Callable[[Any, Any], Any], *needs: str) -> Contender:
    def build(case: str, quick: bool) -> Job:
        import os

        os.environ["KERAS_BACKEND"] = "jax"
        import keras

        x, y = _data(case, quick)
        layers = [keras.layers.Dense(width, activation="relu") for width in networks.HIDDEN]
        mlp = [keras.layers.Flatten(), *layers, keras.layers.Dense(CLASSES)]
        model = keras.Sequential(mlp) if case == "MLP" else cnn._keras(keras)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=keras.optimizers.Adam(RATE), loss=loss, metrics=["accuracy"])
        steps, data = len(x) // BATCH, feed(x, y)

        def run() -> None:
            # Keras knows a generator by its type, and reads one of them in all epochs.
            endless = (batch for epoch in itertools.count() for batch in data(epoch)) if callable(data) else data
            model.fit(endless, epochs=EPOCHS[case], steps_per_epoch=steps, verbose=0)

        return Job(run, calls=EPOCHS[case] * steps)

    return Contender(build, needs=("keras", *needs))


def _torch(case: str, quick: bool) -> Job:
    """As in torch's quickstart."""
    import torch
    from torch import nn

    x, y = _data(case, quick)
    device = torch_device()
    model = nn.Sequential(nn.Flatten(), networks.torch_mlp(x[0].size)) if case == "MLP" else cnn.torch_cnn()
    model = model.to(device)
    loader, loss_fn = _loader(x.transpose(0, 3, 1, 2).copy(), y), nn.CrossEntropyLoss()
    model(next(iter(loader))[0][:1].to(device))  # a lazy layer takes its shape
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)

    def run() -> None:
        for inputs, targets in itertools.chain.from_iterable(itertools.repeat(loader, EPOCHS[case])):
            loss = loss_fn(model(inputs.to(device)), targets.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return Job(run, calls=EPOCHS[case] * len(x) // BATCH)


def _loader_alone(case: str, quick: bool) -> Job:
    x, y = _data(case, quick)
    loader = _loader(x, y)
    return Job(lambda: [None for _ in loader] and None, calls=len(x) // BATCH)


def _generator_alone(case: str, quick: bool) -> Job:
    x, y = _data(case, quick)
    batches = _generator(x, y)
    return Job(lambda: [None for _ in batches(0)] and None, calls=len(x) // BATCH)


WORKLOAD = Workload(
    title=f"a training step of epochs from a stream, 28×28×1, batch {BATCH}, Adam: MLP {MLP}, CNN of `cnn`",
    cases=("MLP", "CNN"),
    contenders={
        "fnn": _fnn(lambda x, y: (x, y)),
        "fnn, list of batches": _fnn(_batches),
        "fnn, generator": _fnn(_generator),
        "fnn, memory map": _fnn(_memory_map),
        "fnn, DataLoader": _fnn(_loader, "torch"),
        "keras (JAX), generator": _keras(_generator),
        "keras (JAX), DataLoader": _keras(_loader, "torch"),
        "torch loop, DataLoader": Contender(_torch, needs=("torch",)),
        "generator alone": Contender(_generator_alone),
        "DataLoader alone": Contender(_loader_alone, needs=("torch",)),
    },
    repeats=7,
    columns=(CPU_TIME, PEAK_MEMORY),
    notes=(
        "fnn: arrays in memory, shuffled on the way. A call of `fit` trains 3 epochs of 200 steps of the MLP, one of "
        "20 of the CNN:\nits time by the number of steps. The generator takes rows of the same arrays in an order of "
        "its own; the memory map is\nof a file that the system holds in memory; the DataLoader has a TensorDataset, "
        "shuffles and has no workers. torch: NCHW.\nA source is faster than a step where its CPU time is free beside "
        "it: cores × the time of the step from arrays, less the\nCPU time of that step."
    ),
)
