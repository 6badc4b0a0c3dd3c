"""Every layer and model there is, small, for tests of what must hold for all of them."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import fnn


class Case(NamedTuple):
    """A layer, the shape of one example, and facts.

    `free` are the axes of the example that may have any length; `loops` says that it runs over time or iterates;
    `least` is their smallest length, `target` the shape of one example's second input.
    """

    layer: Any
    shape: tuple[int, ...]
    free: tuple[int, ...] = ()
    dtype: str = "float32"
    loops: bool = False
    target: tuple[int, ...] | None = None
    least: int = 1

    def x(self, batch, sizes=()):
        """Shapes and dtype of a batch; `sizes` stand in the place of the free axes."""
        shape = [*self.shape]
        for axis, size in zip(self.free, sizes, strict=False):
            shape[axis] = size
        x = jax.ShapeDtypeStruct((batch, *shape), jnp.dtype(self.dtype))
        return x if self.target is None else (x, jax.ShapeDtypeStruct((batch, *self.target), x.dtype))


FLAT, SERIES, IMAGE = (6,), (7, 3), (9, 8, 6)


def flat(layer, **facts):
    return Case(layer, FLAT, **facts)


def image(layer, **facts):
    return Case(layer, IMAGE, (0, 1), **facts)


def series(layer, **facts):
    return Case(layer, SERIES, (0,), loops=True, **facts)


LAYERS = {
    "activity_penalty": flat(fnn.activity_penalty(l2=0.1)),
    "adaptive_avg_pool": Case(fnn.adaptive_avg_pool((3, 2)), IMAGE),
    "adaptive_max_pool": Case(fnn.adaptive_max_pool((3, 2)), IMAGE),
    "alpha_dropout": flat(fnn.alpha_dropout(0.3)),
    "avg_pool": image(fnn.avg_pool(2), least=2),
    "avg_pool, overlapping": image(fnn.avg_pool(3, 2, "SAME")),
    "avg_pool, without padding": image(fnn.avg_pool(3, 2, "SAME", count_include_pad=False)),
    "batch_norm": image(fnn.batch_norm()),
    "bidirectional": series(fnn.bidirectional(fnn.lstm(3))),
    "bidirectional, sequences": series(fnn.bidirectional(fnn.gru(3, return_sequences=True))),
    "conv": image(fnn.conv(20, 3)),
    "conv, one channel": Case(fnn.conv(8, 3), (9, 8, 1), (0, 1)),
    "conv, strides": image(fnn.conv(8, 3, stride=2, padding="VALID"), least=3),
    "conv, groups": image(fnn.conv(8, (3, 2), groups=2, padding=[(1, 0), (0, 2)]), least=2),
    "conv, 1×1": image(fnn.conv(8, 1)),
    "conv, around": image(fnn.conv(8, 3, padding="CIRCULAR", dilation=2), least=2),
    "conv, mirrored": image(fnn.conv(8, 3, padding="REFLECT", input_dilation=2), least=2),
    "conv, one axis": Case(fnn.conv(8, 3, padding="CAUSAL"), SERIES, (0,)),
    "conv, three axes": Case(fnn.conv(8, 2, flip=True), (4, 5, 3, 6), (0, 1, 2)),
    "conv_transpose": image(fnn.conv_transpose(8, 3, stride=2)),
    "conv_transpose, groups": image(fnn.conv_transpose(8, (2, 3), padding="VALID", groups=2)),
    "dense": flat(fnn.dense(5)),
    "depthwise_conv": image(fnn.depthwise_conv(3)),
    "depthwise_conv, multiplied": image(fnn.depthwise_conv(3, multiplier=2, stride=2)),
    "drop_connect": flat(fnn.drop_connect(fnn.dense(5), 0.3)),
    "dropout": image(fnn.dropout(0.3)),
    "embedding": Case(fnn.embedding(10, 4), (7,), (0,), "int32"),
    "flatten": Case(fnn.flatten(), IMAGE),
    "gaussian_noise": flat(fnn.gaussian_noise(0.3)),
    "global_avg_pool": image(fnn.global_avg_pool()),
    "global_max_pool": image(fnn.global_max_pool()),
    "group_norm": image(fnn.group_norm(2)),
    "gru": series(fnn.gru(3)),
    "gru, reset before": series(fnn.gru(3, reset="before", return_sequences=True)),
    "gru, noisy": series(fnn.gru(3, recurrent_dropout=0.3, zoneout=0.1)),
    "instance_norm": image(fnn.instance_norm()),
    "layer_norm": flat(fnn.layer_norm()),
    "lp_pool": image(fnn.lp_pool(2), least=2),
    "lstm": series(fnn.lstm(3)),
    "lstm, sequences": series(fnn.lstm(3, return_sequences=True, reverse=True, unroll=2)),
    "lstm, stateful": series(fnn.lstm(3, stateful=True)),
    "lstm, variants": series(fnn.lstm(3, peephole=True, coupled=True, projection=2, layer_norm=True)),
    "lstm, in segments": series(fnn.lstm(3, remat=3)),
    "max_pool": image(fnn.max_pool(2), least=2),
    "max_pool, overlapping": image(fnn.max_pool(3, 2, "SAME")),
    "mc_dropout": flat(fnn.mc_dropout(fnn.dropout(0.3))),
    "prelu": image(fnn.prelu()),
    "reshape": Case(fnn.reshape(3, -1), FLAT),
    "rms_norm": flat(fnn.rms_norm()),
    "rnn": series(fnn.rnn(3)),
    "rnn, rectified": series(fnn.rnn(3, activation="relu", return_sequences=True)),
    "rrelu": image(fnn.rrelu()),
    "separable_conv": image(fnn.separable_conv(8, 3)),
    "spatial_dropout": image(fnn.spatial_dropout(0.3)),
    "spectral_norm": image(fnn.spectral_norm(fnn.conv(8, 3)), loops=True),
    "stacked": series(fnn.stacked(fnn.gru(3, return_sequences=True), fnn.lstm(3), dropout=0.3)),
    "time_distributed": Case(fnn.time_distributed(fnn.dense(4)), SERIES, (0,)),
    "variational_dropout": Case(fnn.variational_dropout(0.3), SERIES, (0,)),
    "weight_norm": flat(fnn.weight_norm(fnn.dense(5))),
}

MODELS = {
    "encoder_decoder": series(fnn.models.encoder_decoder(3, 2, steps=3), target=(3, 2)),
    "forecaster": series(fnn.models.forecaster(2, (3,), dropout=0.3)),
    "language_model": Case(fnn.models.language_model(10, (3,)), (7,), (0,), "int32", loops=True),
    "lenet5": Case(fnn.models.lenet5(3), (12, 12, 1)),
    "linear_regression": flat(fnn.models.linear_regression(2)),
    "logistic_regression": flat(fnn.models.logistic_regression()),
    "mlp": flat(fnn.models.mlp((5,), 2, dropout=0.3)),
    "resnet": image(fnn.models.resnet(10, blocks=(1, 1), width=4)),
    "sequence_classifier": series(fnn.models.sequence_classifier(3, (4,), bidirectional=True)),
    "small_cnn": Case(fnn.models.small_cnn(10), (8, 8, 1), (0, 1), least=4),
    "softmax_regression": flat(fnn.models.softmax_regression(3)),
    "vgg": Case(fnn.models.vgg(10, stages=((4, 1), (4, 2))), (8, 8, 3)),
}


def constructors(room):
    """The names of a room that give a layer."""
    return {name for name in room.__all__ if inspect.signature(getattr(room, name)).return_annotation == "Layer"}
