"""A whole training run of a small MLP on scikit-learn's digits, end to end, compilation included."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import networks
from benchmarks.compilation import CompileClock
from benchmarks.contender import Contender, Job, Workload
from benchmarks.networks import HIDDEN, LEARNING_RATE
from benchmarks.peaks import torch_device

BATCH, EPOCHS = 32, 20

Train = Callable[[Any, Any, int], Callable[[Any], Any]]
"""(x, y, epochs) -> the trained predictor of classes."""


WHOLE, NEXT = "whole run", "the next process"
Keep = Callable[[Path], Any]
"""What makes a library keep its programs in a directory."""


def _kept(process: int) -> Path:
    """Where the processes that this one starts keep their programs."""
    return Path(tempfile.gettempdir()) / f"benchmarks-{process}"


atexit.register(shutil.rmtree, _kept(os.getpid()), ignore_errors=True)


def _keep_programs(directory: Path) -> None:
    import fnn

    fnn.devices.cache_programs(directory)


def _keep_compiled(directory: Path) -> None:
    """JAX's persistent cache, of programs of any size."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    directory.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.reset_cache()  # what was compiled before has settled that there is none


def before(library: str, keep: str, directory: str) -> None:
    """The run of the process before the one that is timed."""
    globals()[keep](Path(directory))
    x, y, x_test, _ = networks.digits(False)
    globals()[library]()(x, y, EPOCHS)(x_test)


def _use_what_another_process_kept(library: Callable[[], Train], keep: Keep) -> None:
    directory = _kept(os.getppid()) / f"{library.__name__}{keep.__name__}"
    if not directory.exists():
        call = f"before({library.__name__!r}, {keep.__name__!r}, {str(directory)!r})"
        subprocess.run([sys.executable, "-c", f"from benchmarks.mlp_run import before; {call}"], check=True)
    keep(directory)


def _contender(library: Callable[[], Train], keep: Keep | None, *needs: str, cases: str = WHOLE + NEXT) -> Contender:
    on_jax = keep is not None

    def build(case: str, quick: bool) -> Job | None:
        if case not in cases or (case == NEXT and keep is None):
            return None
        if case == NEXT and keep is not None:
            _use_what_another_process_kept(library, keep)
        train = library()  # imports: not timed here, see startup
        x, y, x_test, y_test = networks.digits(quick)
        clock = CompileClock() if on_jax else None

        def run() -> Callable[[Any], Any]:
            if clock is not None:
                clock.restart()
            return train(x, y, 2 if quick else EPOCHS)

        def report(predict: Callable[[Any], Any]) -> dict[str, Any]:
            compiling = {} if clock is None else {"compile_seconds": clock.seconds()}
            return {"accuracy": float((predict(x_test) == y_test).mean()), **compiling}

        return Job(run, report=report)

    return Contender(build, needs=("sklearn", *needs))


def _fnn_trainer() -> Train:
    import jax

    import fnn

    def train(x: Any, y: Any, epochs: int) -> Callable[[Any], Any]:
        model, task = networks.fnn_mlp(), fnn.tasks.multiclass(networks.CLASSES)
        run = fnn.trainer(model, fnn.optim.adam(LEARNING_RATE), task, epochs=epochs, batch_size=BATCH)
        trained, _ = jax.block_until_ready(run(jax.random.key(0), (x, y)))
        return lambda x: fnn.predict(model, trained, x, task)

    return train


def _fnn_fit() -> Train:
    import jax

    import fnn

    def train(x: Any, y: Any, epochs: int) -> Callable[[Any], Any]:
        model, task, optimizer = (
            networks.fnn_mlp(),
            fnn.tasks.multiclass(networks.CLASSES),
            fnn.optim.adam(LEARNING_RATE),
        )
        key = jax.random.key(0)
        trained, _ = fnn.fit(model, optimizer, task, (x, y), key=key, epochs=epochs, batch_size=BATCH, progress=False)
        jax.block_until_ready(trained)
        return lambda x: fnn.predict(model, trained, x, task)

    return train


def _linen() -> Train:
    """As in flax's MNIST example: a jitted step in a Python loop, an incomplete batch skipped."""
    import jax
    import numpy as np
    import optax
    from flax.training.train_state import TrainState

    @jax.jit
    def train_step(state: Any, x: Any, y: Any) -> tuple[Any, Any]:
        def loss_fn(params: Any) -> Any:
            logits = state.apply_fn({"params": params}, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        loss, grads = jax.value_and_grad(loss_fn)(state.params)
        return state.apply_gradients(grads=grads), loss

    def train(x: Any, y: Any, epochs: int) -> Callable[[Any], Any]:
        model = networks.linen_mlp()
        params = model.init(jax.random.key(0), x[:1])["params"]
        state = TrainState.create(apply_fn=model.apply, params=params, tx=optax.adam(LEARNING_RATE))
        steps, order = len(x) // BATCH, np.random.default_rng(0)
        for _ in range(epochs):
            for rows in order.permutation(len(x))[: steps * BATCH].reshape(steps, BATCH):
                state, _ = train_step(state, x[rows], y[rows])
        jax.block_until_ready(state.params)
        return lambda x: model.apply({"params": state.params}, x).argmax(-1)

    return train


def _torch() -> Train:
    """As in torch's quickstart: DataLoader, loss, zero_grad, backward, step."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    def train(x: Any, y: Any, epochs: int) -> Callable[[Any], Any]:
        torch.manual_seed(0)
        device = torch_device()
        model, loss_fn = networks.torch_mlp(x.shape[1]).to(device), nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
        data = TensorDataset(torch.from_numpy(x), torch.from_numpy(y).long())
        loader = DataLoader(data, batch_size=BATCH, shuffle=True)
        for _ in range(epochs):
            for inputs, targets in loader:
                loss = loss_fn(model(inputs.to(device)), targets.to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        with torch.no_grad():
            return lambda x: model(torch.from_numpy(x).to(device)).argmax(-1).cpu().numpy()

    return train


def _sklearn() -> Train:
    from sklearn.neural_network import MLPClassifier

    def train(x: Any, y: Any, epochs: int) -> Callable[[Any], Any]:
        model = MLPClassifier(
            HIDDEN, solver="adam", learning_rate_init=LEARNING_RATE, batch_size=BATCH, max_iter=epochs, alpha=0, tol=0,
            n_iter_no_change=epochs, random_state=0,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that it has not converged in so few epochs
            return model.fit(x, y).predict

    return train


WORKLOAD = Workload(
    title=f"digits, MLP {networks.WIDTHS}, Adam, {EPOCHS} epochs, batch {BATCH}: from arrays to a trained model",
    cases=(WHOLE, NEXT),
    quick_cases=(WHOLE,),
    contenders={
        "fnn trainer": _contender(_fnn_trainer, _keep_programs),
        "fnn fit": _contender(_fnn_fit, _keep_programs),
        "fnn fit, JAX's cache": _contender(_fnn_fit, _keep_compiled, cases=NEXT),
        "torch loop": _contender(_torch, None, "torch"),
        "scikit-learn": _contender(_sklearn, None),
        "flax + optax loop": _contender(_linen, _keep_compiled, "flax", "optax"),
    },
    baseline="fnn trainer",
    unit="s",
    repeats=5,
    fresh=True,
    columns=(("of it compiling, s", "compile_seconds", ".2f"), ("test accuracy", "accuracy", ".1%")),
    notes=(
        "Every repetition in a new process, imports done, nothing compiled; the next process: one before it kept its "
        "programs,\nfnn by cache_programs, flax in JAX's persistent cache. Same architecture, optimizer, split and "
        "number of epochs;\neach with its own initialization and order of rows. flax skips the last 29 rows of an "
        "epoch, as its example does."
    ),
)
