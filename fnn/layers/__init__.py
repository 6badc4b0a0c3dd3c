"""Kernels configured as layers."""

from fnn.layers.activation import activity_penalty, prelu, rrelu
from fnn.layers.batch_norm import batch_norm
from fnn.layers.conv import conv, conv_transpose
from fnn.layers.dense import dense, embedding, flatten, reshape
from fnn.layers.depthwise_conv import depthwise_conv, separable_conv
from fnn.layers.dropout import (
    alpha_dropout,
    dropout,
    gaussian_noise,
    mc_dropout,
    spatial_dropout,
    variational_dropout,
)
from fnn.layers.elman import rnn
from fnn.layers.folding import fold_batch_norm
from fnn.layers.gru import gru
from fnn.layers.lstm import lstm
from fnn.layers.norm import group_norm, instance_norm, layer_norm, rms_norm
from fnn.layers.pool import (
    adaptive_avg_pool,
    adaptive_max_pool,
    avg_pool,
    global_avg_pool,
    global_max_pool,
    lp_pool,
    max_pool,
)
from fnn.layers.recurrent import Padded
from fnn.layers.recurrent_combinators import bidirectional, stacked, time_distributed
from fnn.layers.reparametrization import drop_connect, spectral_norm, weight_norm

__all__ = [
    "Padded",
    "activity_penalty",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "alpha_dropout",
    "avg_pool",
    "batch_norm",
    "bidirectional",
    "conv",
    "conv_transpose",
    "dense",
    "depthwise_conv",
    "drop_connect",
    "dropout",
    "embedding",
    "flatten",
    "fold_batch_norm",
    "gaussian_noise",
    "global_avg_pool",
    "global_max_pool",
    "group_norm",
    "gru",
    "instance_norm",
    "layer_norm",
    "lp_pool",
    "lstm",
    "max_pool",
    "mc_dropout",
    "prelu",
    "reshape",
    "rms_norm",
    "rnn",
    "rrelu",
    "separable_conv",
    "spatial_dropout",
    "spectral_norm",
    "stacked",
    "time_distributed",
    "variational_dropout",
    "weight_norm",
]
