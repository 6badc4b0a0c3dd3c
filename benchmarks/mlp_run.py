"""A whole training run of a small MLP on scikit-learn's digits, end to end, compilation included."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from benchmarks import networks
from benchmarks.compilation import CompileClock
from benchmarks.contender import Contender, Job, Workload
from benchmarks.networks import HIDDEN, LEARNING_RATE
from benchmarks.peaks import torch_device

BATCH = 32

Train = Callable[[Any, Any, int], Callable[[Any], Any]]
"""(x, y, epochs) -> the trained predictor of classes."""


def _contender(library: Callable[[], Train], on_jax: bool, *needs: str) -> Contender:
    def build(_: str, quick: bool) -> Job:
        train = library()  # imports: not timed here, see startup
        x, y, x_test, y_test = networks.digits(quick)
        clock = CompileClock() if on_jax else None

        def run() -> Callable[[Any], Any]:
            if clock is not None:
                clock.restart()
            return train(x, y, 2 if quick else 20)

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
    title=f"digits, MLP {networks.WIDTHS}, Adam, 20 epochs, batch {BATCH}: from arrays to a trained model",
    cases=("whole run",),
    contenders={
        "fnn trainer": _contender(_fnn_trainer, True),
        "fnn fit": _contender(_fnn_fit, True),
        "torch loop": _contender(_torch, False, "torch"),
        "scikit-learn": _contender(_sklearn, False),
        "flax + optax loop": _contender(_linen, True, "flax", "optax"),
    },
    baseline="fnn trainer",
    unit="s",
    repeats=5,
    fresh=True,
    columns=(("of it compiling, s", "compile_seconds", ".2f"), ("test accuracy", "accuracy", ".1%")),
    notes=(
        "Every repetition in a new process, imports done, nothing compiled. Same architecture, optimizer, split and "
        "number of\nepochs; each with its own initialization and order of rows. flax skips the last 29 rows of an "
        "epoch, as its example does."
    ),
)
