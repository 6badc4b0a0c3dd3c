"""The small MLP as each library's documentation writes it, and the data it learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

HIDDEN = (128, 64)
CLASSES = 10
WIDTHS = "-".join(map(str, (64, *HIDDEN, CLASSES)))
LEARNING_RATE = 1e-3


def digits(quick: bool) -> tuple[Any, Any, Any, Any]:
    """x_train, y_train, x_test, y_test: 1,437 and 360 images of 64 pixels, float32 in 0 … 1."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x, y = (x / 16).astype(np.float32), y.astype(np.int32)
    x, x_test, y, y_test = train_test_split(x, y, test_size=360, stratify=y, random_state=0)
    return (x[:128], y[:128], x_test[:32], y_test[:32]) if quick else (x, y, x_test, y_test)


def fnn_mlp(hidden: Sequence[int] = HIDDEN, outputs: int = CLASSES) -> Any:
    import fnn

    layers: list[Any] = []
    for width in hidden:
        layers += [fnn.dense(width), fnn.relu]
    return fnn.serial(*layers, fnn.dense(outputs))


def linen_mlp(hidden: Sequence[int] = HIDDEN, outputs: int = CLASSES) -> Any:
    from flax import linen as nn

    class MLP(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            for width in hidden:
                x = nn.relu(nn.Dense(width)(x))
            return nn.Dense(outputs)(x)

    return MLP()


def nnx_mlp(features: int, hidden: Sequence[int] = HIDDEN, outputs: int = CLASSES) -> Any:
    from flax import nnx

    rngs, layers = nnx.Rngs(0), []
    for width in hidden:
        layers += [nnx.Linear(features, width, rngs=rngs), nnx.relu]
        features = width
    return nnx.Sequential(*layers, nnx.Linear(features, outputs, rngs=rngs))


def haiku_mlp(hidden: Sequence[int] = HIDDEN, outputs: int = CLASSES) -> Any:
    import haiku as hk

    return hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([*hidden, outputs])(x)))


def equinox_mlp(key: Any, features: int, hidden: Sequence[int] = HIDDEN, outputs: int = CLASSES) -> Any:
    """Acts on one example; `jax.vmap` it over a batch."""
    import equinox as eqx
    import jax

    layers: list[Any] = []
    for width in hidden:
        key, own = jax.random.split(key)
        layers += [eqx.nn.Linear(features, width, key=own), eqx.nn.Lambda(jax.nn.relu)]
        features = width
    return eqx.nn.Sequential([*layers, eqx.nn.Linear(features, outputs, key=key)])


def torch_mlp(features: int, hidden: Sequence[int] = HIDDEN, outputs: int = CLASSES) -> Any:
    from torch import nn

    layers: list[Any] = []
    for width in hidden:
        layers += [nn.Linear(features, width), nn.ReLU()]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, outputs))
