"""A training step of ResNet-18 on small images."""

from __future__ import annotations

from typing import Any

from benchmarks.cnn import channels_last
from benchmarks.contender import PEAK_MEMORY, Workload
from benchmarks.steps import ALONE, CLASSES, RATE, Step, fnn_model, limit, on_jax, on_torch

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
"""Features and first stride; two blocks each."""


def images(quick: bool) -> tuple[int, ...]:
    return (2, 8, 8, 3) if quick else (32, 32, 32, 3)


def channels_first(quick: bool) -> tuple[int, ...]:
    batch, height, width, channels = images(quick)
    return batch, channels, height, width


def operations(quick: bool) -> float:
    """Forward, the gradient of every kernel, and of every input but the images."""
    batch, side, _, channels = images(quick)
    first = 2 * batch * side**2 * 9 * channels * 64
    rest, inputs = 0, 64
    for features, stride in STAGES:
        side //= stride
        taps = 9 * inputs + 3 * 9 * features + (inputs if stride > 1 else 0)
        rest += 2 * batch * side**2 * features * taps
        inputs = features
    return 2 * first + 3 * (rest + 2 * batch * inputs * CLASSES)


def _fnn(x: Any) -> tuple[Any, Step]:
    import fnn

    quick = {"blocks": (1, 1), "width": 8} if x.shape[1] == 8 else {}
    return fnn_model(lambda: fnn.models.resnet(CLASSES, **quick))(x)


def _linen(x: Any) -> tuple[Any, Step]:
    import jax
    import optax
    from flax import linen as nn

    class ResNet(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            def conv_norm(x: Any, features: int, size: int = 3, stride: int = 1) -> Any:
                x = nn.Conv(features, (size, size), (stride, stride), use_bias=False)(x)
                return nn.BatchNorm(use_running_average=False)(x)

            x = nn.relu(conv_norm(x, 64))
            for features, first in STAGES:
                for stride in (first, 1):
                    y = conv_norm(nn.relu(conv_norm(x, features, stride=stride)), features)
                    x = nn.relu(y + (conv_norm(x, features, 1, stride) if stride > 1 else x))
            return nn.Dense(CLASSES)(x.mean((1, 2)))

    model, rule = ResNet(), optax.adam(RATE)
    variables = model.init(jax.random.key(0), x)

    def step(kept: Any, x: Any, y: Any) -> Any:
        params, statistics, state = kept

        def loss(params: Any) -> Any:
            outputs, changed = model.apply({"params": params, "batch_stats": statistics}, x, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean(), changed["batch_stats"]

        gradients, statistics = jax.grad(loss, has_aux=True)(params)
        updates, state = rule.update(gradients, state, params)
        return optax.apply_updates(params, updates), statistics, state

    return (variables["params"], variables["batch_stats"], rule.init(variables["params"])), step


def _torch() -> Any:
    from torch import nn

    def conv_norm(inputs: int, features: int, size: int = 3, stride: int = 1) -> Any:
        conv = nn.Conv2d(inputs, features, size, stride, size // 2, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(features))

    class Block(nn.Module):
        def __init__(self, inputs: int, features: int, stride: int) -> None:
            super().__init__()
            first, second = conv_norm(inputs, features, stride=stride), conv_norm(features, features)
            self.body = nn.Sequential(first, nn.ReLU(), second)
            self.shortcut = conv_norm(inputs, features, 1, stride) if stride > 1 else nn.Identity()

        def forward(self, x: Any) -> Any:
            return nn.functional.relu(self.body(x) + self.shortcut(x))

    layers, inputs = [conv_norm(3, 64), nn.ReLU()], 64
    for features, stride in STAGES:
        layers += [Block(inputs, features, stride), Block(features, features, 1)]
        inputs = features
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, CLASSES))


WORKLOAD = Workload(
    title="ResNet-18, 32×32×3, batch 32, batch norm, Adam",
    cases=(ALONE,),
    contenders={
        "fnn": on_jax(_fnn, images),
        "fnn, 2 devices": on_jax(_fnn, images, devices=2),
        "flax linen": on_jax(_linen, images, "flax", "optax"),
        "flax linen, 2 devices": on_jax(_linen, images, "flax", "optax", devices=2),
        "torch NCHW": on_torch(_torch, channels_first),
        "torch channels-last": on_torch(_torch, channels_first, channels_last),
        "arithmetic limit": limit(operations),
    },
    repeats=5,
    columns=(PEAK_MEMORY,),
    compare=(("of the limit", "fraction", "arithmetic limit"),),
    notes=(
        "arithmetic limit: the same number of operations in 2048 × 2048 matrix products. 'first' holds the compilation."
    ),
)
