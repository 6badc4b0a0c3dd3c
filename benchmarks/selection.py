"""Many trainings at once: leave-one-out, sweeps, seeds, compilation included."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.compilation import CompileClock
from benchmarks.contender import PEAK_MEMORY, Contender, Job, Workload
from benchmarks.peaks import torch_device
from benchmarks.steps import use_cpu_devices

BATCH = 32
HIDDEN = 16
LOOPED, LOOPED_SLOWLY = 20, 6
"""Trainings a loop does before its time is scaled up to all of them: of perceptrons; of other nets."""


class Study(NamedTuple):
    """What is trained: every fold × rate × seed."""

    data: str
    kind: str
    folds: str | int
    rates: tuple[float, ...]
    seeds: int
    epochs: int


RATES = (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2)
STUDIES = {
    "leave-one-out, iris: 150 MLPs": Study("iris", "mlp", "leave one out", (1e-2,), 1, 40),
    "leave-one-out, breast cancer: 569 MLPs": Study("breast_cancer", "mlp", "leave one out", (1e-2,), 1, 10),
    "5 folds × 5 seeds × 6 rates, breast cancer: 150 MLPs": Study("breast_cancer", "mlp", 5, RATES, 5, 20),
    "16 seeds, digits: 16 CNNs": Study("digits", "cnn", "hold out", (1e-3,), 16, 5),
    "16 seeds, digits by rows: 16 LSTMs": Study("digits", "lstm", "hold out", (1e-3,), 16, 5),
} | {
    f"seeds, iris: {members:,} MLP{'s' * (members > 1)}": Study("iris", "mlp", "hold out", (1e-2,), members, 40)
    for members in (1, 4, 16, 64, 256, 1024)
}


def arrays(study: Study, quick: bool) -> tuple[Any, Any, int]:
    """x scaled, y, number of classes."""
    import numpy as np
    import sklearn.datasets

    x, y = getattr(sklearn.datasets, f"load_{study.data}")(return_X_y=True)
    if quick:
        order = np.random.default_rng(0).permutation(len(x))[:40]
        x, y = x[order], y[order]
    x = ((x - x.mean(0)) / np.maximum(x.std(0), 1e-3)).astype(np.float32)
    shape = {"mlp": (-1, x.shape[-1]), "cnn": (-1, 8, 8, 1), "lstm": (-1, 8, 8)}[study.kind]
    return x.reshape(shape), y.astype(np.int32), int(y.max()) + 1


def folds_of(study: Study, y: Any) -> Any:
    import fnn

    if study.folds == "leave one out":
        return fnn.selection.leave_one_out(len(y))
    if study.folds == "hold out":
        return fnn.selection.hold_out(len(y), 0.2, seed=0)
    return fnn.selection.stratified_k_fold(y, study.folds, seed=0)


def _members(study: Study, y: Any) -> list[tuple[Any, float, int]]:
    """(training rows, rate, seed) of every training."""
    rows = [train[train >= 0] for train in folds_of(study, y).train]
    return [(train, rate, seed) for rate in study.rates for train in rows for seed in range(study.seeds)]


def _study(case: str, quick: bool) -> Study:
    study = STUDIES[case]
    if not quick:
        return study
    return study._replace(
        epochs=1, seeds=min(study.seeds, 2), folds=2 if study.folds == "leave one out" else study.folds
    )


def network(kind: str, classes: int) -> Any:
    import fnn

    if kind == "cnn":
        return fnn.serial(
            *(fnn.conv(16, 3), fnn.relu, fnn.max_pool(2), fnn.conv(32, 3), fnn.relu, fnn.max_pool(2)),
            *(fnn.flatten(), fnn.dense(classes)),
        )
    if kind == "lstm":
        return fnn.serial(fnn.lstm(32), fnn.dense(classes))
    return fnn.serial(fnn.dense(HIDDEN), fnn.relu, fnn.dense(classes))


def _compiling(run: Callable[[], Any]) -> Job:
    clock = CompileClock()

    def restarted() -> Any:
        clock.restart()
        return run()

    return Job(restarted, report=lambda _: {"compile_seconds": clock.seconds()})


def _fnn(devices: int | None = None) -> Contender:
    def build(case: str, quick: bool) -> Job:
        import jax

        import fnn

        if devices:
            use_cpu_devices(devices)
        study = _study(case, quick)
        x, y, classes = arrays(study, quick)
        model, task, folds = network(study.kind, classes), fnn.tasks.multiclass(classes), folds_of(study, y)
        over = {"learning_rate": study.rates}
        return _compiling(
            lambda: fnn.selection.cross_validate(
                model, fnn.optim.adam, task, (x, y), key=jax.random.key(0), folds=folds, seeds=study.seeds, over=over,
                epochs=study.epochs, batch_size=BATCH, progress=False,
            )
        )  # fmt: skip

    return Contender(build, needs=("sklearn",))


def _few(study: Study, members: list[Any]) -> tuple[list[Any], float]:
    """The trainings a loop does, evenly taken from all, and their share."""
    count = min(len(members), LOOPED if study.kind == "mlp" else LOOPED_SLOWLY)
    return members[:: len(members) // count][:count], count / len(members)


def _fnn_loop(case: str, quick: bool) -> Job:
    """One compiled run, called again and again; it is compiled before the clock starts."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import fnn

    study = _study(case, quick)
    x, y, classes = arrays(study, quick)
    task, model, few = fnn.tasks.multiclass(classes), network(study.kind, classes), _members(study, y)
    chosen, share = _few(study, few)
    width = max(len(rows) for rows, *_ in few)

    @jax.jit
    def one(key: Any, rate: Any, rows: Any) -> Any:
        run = fnn.trainer(model, fnn.optim.adam(rate), task, epochs=study.epochs, batch_size=BATCH)
        return run(key, (jnp.asarray(x), jnp.asarray(y)), rows)

    def train(members: list[Any]) -> None:
        for rows, rate, seed in members:
            padded = np.pad(rows, (0, width - len(rows)), constant_values=-1)
            jax.block_until_ready(one(jax.random.key(seed), rate, padded))

    clock = CompileClock()
    train(chosen[:1])
    compiling = clock.seconds()
    return Job(lambda: train(chosen), calls=share, report=lambda _: {"compile_seconds": compiling})


def _torch_model(kind: str, x: Any, classes: int) -> Any:
    from torch import nn

    if kind == "cnn":
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, classes),
        )  # fmt: skip
    if kind == "lstm":

        class Classifier(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.core, self.head = nn.LSTM(8, 32, batch_first=True), nn.Linear(32, classes)

            def forward(self, x: Any) -> Any:
                return self.head(self.core(x)[0][:, -1])

        return Classifier()
    return nn.Sequential(nn.Linear(x.shape[-1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes))


def _torch(case: str, quick: bool) -> Job:
    import torch
    from torch import nn

    study = _study(case, quick)
    x, y, classes = arrays(study, quick)
    chosen, share = _few(study, _members(study, y))
    device = torch_device()
    xs, ys = torch.from_numpy(x).to(device), torch.from_numpy(y).long().to(device)
    xs = xs.permute(0, 3, 1, 2).contiguous() if study.kind == "cnn" else xs

    def run() -> None:
        for rows, rate, seed in chosen:
            torch.manual_seed(seed)
            model, loss_fn = _torch_model(study.kind, x, classes).to(device), nn.CrossEntropyLoss()
            optimizer = torch.optim.Adam(model.parameters(), lr=rate)
            for _ in range(study.epochs):
                for part in torch.from_numpy(rows)[torch.randperm(len(rows))].split(BATCH):
                    optimizer.zero_grad()
                    loss_fn(model(xs[part]), ys[part]).backward()
                    optimizer.step()

    return Job(run, calls=share)


def _sklearn(case: str, quick: bool) -> Job | None:
    from joblib import Parallel, delayed
    from sklearn.neural_network import MLPClassifier

    study = _study(case, quick)
    if study.kind != "mlp":
        return None
    x, y, _ = arrays(study, quick)
    chosen, share = _few(study, _members(study, y))

    def one(rows: Any, rate: float, seed: int) -> Any:
        warnings.simplefilter("ignore")  # it says that it has not converged in so few epochs
        model = MLPClassifier(
            (HIDDEN,), learning_rate_init=rate, batch_size=BATCH, max_iter=study.epochs, alpha=0, tol=0,
            n_iter_no_change=study.epochs, random_state=seed,
        )  # fmt: skip
        return model.fit(x[rows], y[rows]).loss_

    workers = Parallel(n_jobs=1 if quick else -1)
    workers(delayed(abs)(1) for _ in range(4))  # the worker processes have started
    return Job(lambda: workers(delayed(one)(*member) for member in chosen) and None, calls=share)


WORKLOAD = Workload(
    title="from arrays to every member trained and scored, compilation included",
    cases=tuple(STUDIES),
    quick_cases=tuple(STUDIES)[2:3],
    contenders={
        "fnn": _fnn(),
        "fnn, 2 devices": _fnn(2),
        "loop over fnn's run": Contender(_fnn_loop, needs=("sklearn",)),
        "torch loop": Contender(_torch, needs=("torch", "sklearn")),
        "scikit-learn, all cores": Contender(_sklearn, needs=("sklearn",)),
    },
    unit="s",
    repeats=2,
    fresh=True,
    columns=(("of it compiling, s", "compile_seconds", ".2f"), PEAK_MEMORY),
    notes=(
        "Every repetition in a new process, imports done, nothing compiled; only the loop over fnn's run is compiled\n"
        f"before its time starts. Loops do {LOOPED} trainings of MLPs, {LOOPED_SLOWLY} of other nets, taken evenly\n"
        f"from all, and their time is scaled up to all. MLPs: one hidden layer of {HIDDEN}; Adam, batch {BATCH}.\n"
        "fnn also scores every member after every epoch."
    ),
)
