"""Kernels configured as layers.

What holds for all of them, or for all of a kind, stands here. Settings are looked at when a layer is made, `x` when it
is used; an error names the layer and the argument: a TypeError for what is no number, or `x` of a dtype that is not
meant, a ValueError for a setting out of range and for shapes that do not fit each other or those of `init`.

- Layers that draw (dropout, noise, `drop_connect`) need a key in training, and are what they stand around, or the
  identity, at inference. A rate is in [0, 1] and may be traced; one of 1 is an error in training.
- Norms keep the shape of `x`; those that know no batch are alike in training and at inference.
- Convolutions are from (batch, *spatial, channels) to (batch, *outputs, features).
- Pooling is from (batch, *spatial, channels) to (batch, *fewer, channels). A window is no larger than the padded input,
  and sees more than padding.
- Recurrent layers are from (batch, time, in), or `Padded`, to (batch, features), or with `return_sequences=True` to
  (batch, time, features). A stateful one keeps to one size of the batch; noise in it needs a key in training.
- A layer around a layer has the parameters and the state of that one, to which it may add. The parameter `name` that it
  changes, "kernel" or "recurrent_kernel", must be there.
"""
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
