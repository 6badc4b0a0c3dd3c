"""Kernels configured as layers."""
# ruff: noqa: F403, F405

from fnn.layers.activation import *
from fnn.layers.batch_norm import *
from fnn.layers.conv import *
from fnn.layers.dense import *
from fnn.layers.depthwise_conv import *
from fnn.layers.dropout import *
from fnn.layers.elman import *
from fnn.layers.folding import *
from fnn.layers.gru import *
from fnn.layers.lstm import *
from fnn.layers.norm import *
from fnn.layers.pool import *
from fnn.layers.recurrent_combinators import *
from fnn.layers.reparametrization import *

# Written out, because type checkers take the names of `fnn` from here and follow no list that is computed.
__all__ = [
    "activity_penalty", "adaptive_avg_pool", "adaptive_max_pool", "alpha_dropout", "avg_pool", "batch_norm",
    "bidirectional", "conv", "conv_transpose", "dense", "depthwise_conv", "drop_connect", "dropout", "embedding",
    "flatten", "fold_batch_norm", "gaussian_noise", "global_avg_pool", "global_max_pool", "group_norm", "gru",
    "instance_norm", "layer_norm", "lp_pool", "lstm", "max_pool", "mc_dropout", "prelu", "reshape", "rms_norm", "rnn",
    "rrelu", "separable_conv", "spatial_dropout", "spectral_norm", "stacked", "time_distributed", "variational_dropout",
    "weight_norm",
]  # fmt: skip
