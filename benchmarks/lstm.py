"""A training step of an LSTM that reads a sequence and classifies its last state."""

from __future__ import annotations

from typing import Any

from benchmarks.contender import PEAK_MEMORY, Workload
from benchmarks.steps import (
    CASES,
    CLASSES,
    STEPS,
    equinox_model,
    fnn_model,
    keras_model,
    limit,
    nnx_model,
    on_jax,
    on_torch,
    pure_model,
)

FEATURES, HIDDEN = 64, 256


def sequences(quick: bool) -> tuple[int, ...]:
    return (4, 6, FEATURES) if quick else (64, 100, FEATURES)


def operations(quick: bool) -> float:
    """Forward, the gradient of every kernel and of every state; none of the inputs."""
    batch, time, _ = sequences(quick)
    recurrent, inputs = (2 * batch * time * size * 4 * HIDDEN for size in (HIDDEN, FEATURES))
    return 3 * recurrent + 2 * inputs + 3 * 2 * batch * HIDDEN * CLASSES


def fnn_classifier() -> Any:
    import fnn

    return fnn.serial(fnn.lstm(HIDDEN), fnn.dense(CLASSES))


def linen_classifier(dtype: Any = None) -> Any:
    from flax import linen as nn

    class Classifier(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            core = nn.RNN(nn.OptimizedLSTMCell(HIDDEN, dtype=dtype))
            return nn.Dense(CLASSES, dtype=dtype)(core(x)[:, -1])

    return Classifier()


def _nnx() -> Any:
    from flax import nnx

    class Classifier(nnx.Module):
        def __init__(self) -> None:
            rngs = nnx.Rngs(0)
            self.core = nnx.RNN(nnx.OptimizedLSTMCell(FEATURES, HIDDEN, rngs=rngs), rngs=rngs)
            self.head = nnx.Linear(HIDDEN, CLASSES, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            return self.head(self.core(x)[:, -1])

    return Classifier()


def _keras(keras: Any) -> Any:
    return keras.Sequential([keras.layers.LSTM(HIDDEN), keras.layers.Dense(CLASSES)])


def _haiku() -> Any:
    import haiku as hk

    def network(x: Any) -> Any:
        core = hk.LSTM(HIDDEN)
        outputs, _ = hk.dynamic_unroll(core, x, core.initial_state(len(x)), time_major=False)
        return hk.Linear(CLASSES)(outputs[:, -1])

    return hk.without_apply_rng(hk.transform(network))


def _equinox(key: Any) -> Any:
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    class Classifier(eqx.Module):
        cell: eqx.nn.LSTMCell
        head: eqx.nn.Linear

        def __call__(self, x: Any) -> Any:
            start = (jnp.zeros(HIDDEN), jnp.zeros(HIDDEN))
            (h, _), _ = jax.lax.scan(lambda carry, row: (self.cell(row, carry), None), start, x)
            return self.head(h)

    first, second = jax.random.split(key)
    return Classifier(eqx.nn.LSTMCell(FEATURES, HIDDEN, key=first), eqx.nn.Linear(HIDDEN, CLASSES, key=second))


def torch_classifier() -> Any:
    from torch import nn

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core, self.head = nn.LSTM(FEATURES, HIDDEN, batch_first=True), nn.Linear(HIDDEN, CLASSES)

        def forward(self, x: Any) -> Any:
            return self.head(self.core(x)[0][:, -1])

    return Classifier()


WORKLOAD = Workload(
    title=f"batch 64, 100 steps of {FEATURES} features, hidden {HIDDEN}, dense {CLASSES} on the last state; Adam",
    cases=CASES,
    contenders={
        "fnn": on_jax(fnn_model(fnn_classifier), sequences),
        "fnn, 2 devices": on_jax(fnn_model(fnn_classifier), sequences, devices=2),
        "flax linen": on_jax(pure_model(linen_classifier), sequences, "flax", "optax"),
        "flax linen, 2 devices": on_jax(pure_model(linen_classifier), sequences, "flax", "optax", devices=2),
        "flax nnx": on_jax(nnx_model(_nnx), sequences, "flax", "optax"),
        "haiku": on_jax(pure_model(_haiku), sequences, "haiku", "optax"),
        "equinox": on_jax(equinox_model(_equinox), sequences, "equinox", "optax"),
        "keras": on_jax(keras_model(_keras), sequences, "keras", "optax"),
        "torch": on_torch(torch_classifier, sequences),
        "arithmetic limit": limit(operations),
    },
    repeats=9,
    columns=(PEAK_MEMORY,),
    compare=(("of the limit", "fraction", "arithmetic limit"),),
    notes=(
        f"Times per training step; the second form scans {STEPS} steps over {STEPS} batches (torch: its loop).\n"
        "arithmetic limit: the same number of operations in 2048 × 2048 matrix products. 'first' is a whole repetition "
        "with its compilation."
    ),
)
