"""A training step of a small convolutional network: two convolutions, two pools, two dense layers."""

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


def images(quick: bool) -> tuple[int, ...]:
    return (4, 8, 8, 1) if quick else (128, 28, 28, 1)


def channels_first(quick: bool) -> tuple[int, ...]:
    batch, height, width, channels = images(quick)
    return batch, channels, height, width


def operations(quick: bool) -> float:
    """Forward, the gradient of every kernel, and of every input but the images."""
    batch, height, width, _ = images(quick)
    first = 2 * batch * height * width * 9 * 32
    second = 2 * batch * (height // 2) * (width // 2) * 9 * 32 * 64
    dense = 2 * batch * ((height // 4) * (width // 4) * 64 * 128 + 128 * CLASSES)
    return 2 * first + 3 * (second + dense)


def fnn_cnn() -> Any:
    import fnn

    return fnn.serial(
        fnn.conv(32, 3), fnn.relu, fnn.max_pool(2), fnn.conv(64, 3), fnn.relu, fnn.max_pool(2),
        fnn.flatten(), fnn.dense(128), fnn.relu, fnn.dense(CLASSES),
    )  # fmt: skip


def linen_cnn(dtype: Any = None) -> Any:
    from flax import linen as nn

    class CNN(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            for channels in (32, 64):
                x = nn.relu(nn.Conv(channels, (3, 3), dtype=dtype)(x))
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
            x = nn.relu(nn.Dense(128, dtype=dtype)(x.reshape(len(x), -1)))
            return nn.Dense(CLASSES, dtype=dtype)(x)

    return CNN()


def _nnx(x: Any) -> Any:
    from functools import partial

    from flax import nnx

    rngs, pool = nnx.Rngs(0), partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2))
    inputs = (x.shape[1] // 4) * (x.shape[2] // 4) * 64
    return nnx.Sequential(
        nnx.Conv(1, 32, (3, 3), rngs=rngs), nnx.relu, pool, nnx.Conv(32, 64, (3, 3), rngs=rngs), nnx.relu, pool,
        lambda x: x.reshape(len(x), -1), nnx.Linear(inputs, 128, rngs=rngs), nnx.relu,
        nnx.Linear(128, CLASSES, rngs=rngs),
    )  # fmt: skip


def _keras(keras: Any) -> Any:
    layers: list[Any] = []
    for channels in (32, 64):
        layers += [keras.layers.Conv2D(channels, 3, padding="same", activation="relu"), keras.layers.MaxPooling2D()]
    return keras.Sequential(
        [*layers, keras.layers.Flatten(), keras.layers.Dense(128, activation="relu"), keras.layers.Dense(CLASSES)]
    )


def _haiku() -> Any:
    import haiku as hk
    import jax

    def network(x: Any) -> Any:
        for channels in (32, 64):
            x = hk.max_pool(jax.nn.relu(hk.Conv2D(channels, 3)(x)), (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return hk.nets.MLP([128, CLASSES])(hk.Flatten()(x))

    return hk.without_apply_rng(hk.transform(network))


def _equinox(quick: bool) -> Any:
    import equinox as eqx
    import jax

    def make(key: Any) -> Any:
        keys, (_, height, width, _) = jax.random.split(key, 4), images(quick)
        relu, pool = eqx.nn.Lambda(jax.nn.relu), eqx.nn.MaxPool2d(2, 2)
        return eqx.nn.Sequential([
            eqx.nn.Conv2d(1, 32, 3, padding=1, key=keys[0]), relu, pool,
            eqx.nn.Conv2d(32, 64, 3, padding=1, key=keys[1]), relu, pool,
            eqx.nn.Lambda(jax.numpy.ravel), eqx.nn.Linear((height // 4) * (width // 4) * 64, 128, key=keys[2]), relu,
            eqx.nn.Linear(128, CLASSES, key=keys[3]),
        ])  # fmt: skip

    return make


def torch_cnn() -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.LazyLinear(128), nn.ReLU(), nn.Linear(128, CLASSES),
    )  # fmt: skip


def channels_last(model: Any, x: Any) -> tuple[Any, Any]:
    import torch

    return model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)


def _first_layout(model: Any, x: Any) -> tuple[Any, Any]:
    model(x[:1])  # the lazy layer takes its shape
    return model, x


def last_layout(model: Any, x: Any) -> tuple[Any, Any]:
    return channels_last(*_first_layout(model, x))


def _equinox_begin(x: Any) -> Any:
    return equinox_model(_equinox(x.shape[-1] == 8))(x)


WORKLOAD = Workload(
    title="28×28×1, twice (conv 3×3, relu, max-pool 2) with 32 and 64 channels, dense 128, dense 10; batch 128, Adam",
    cases=CASES,
    contenders={
        "fnn": on_jax(fnn_model(fnn_cnn), images),
        "fnn, 2 devices": on_jax(fnn_model(fnn_cnn), images, devices=2),
        "flax linen": on_jax(pure_model(linen_cnn), images, "flax", "optax"),
        "flax linen, 2 devices": on_jax(pure_model(linen_cnn), images, "flax", "optax", devices=2),
        "flax nnx": on_jax(lambda x: nnx_model(lambda: _nnx(x))(x), images, "flax", "optax"),
        "haiku": on_jax(pure_model(_haiku), images, "haiku", "optax"),
        "equinox": on_jax(_equinox_begin, channels_first, "equinox", "optax"),
        "keras": on_jax(keras_model(_keras), images, "keras", "optax"),
        "torch NCHW": on_torch(torch_cnn, channels_first, _first_layout),
        "torch channels-last": on_torch(torch_cnn, channels_first, last_layout),
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
