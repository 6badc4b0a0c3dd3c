"""The compiled cores: pure functions of arrays, with their own gradients. No parameters, no layers."""

from fnn.kernels.convolution import conv, conv_transpose
from fnn.kernels.dropout import alpha_dropout, dropout, keep_mask
from fnn.kernels.normalization import (
    Moments,
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    lp_normalize,
    normalize,
    rms_norm,
    spectral_norm,
    weight_norm,
)
from fnn.kernels.pooling import (
    adaptive_avg_pool,
    adaptive_max_pool,
    avg_pool,
    global_avg_pool,
    global_max_pool,
    lp_pool,
    max_pool,
)
from fnn.kernels.recurrence import LSTMState, gru, lstm, reverse_sequences, rnn, scan_cell
from fnn.kernels.sliding_windows import conv_output_size
from fnn.precision import wide_dtype, widen

__all__ = [
    "LSTMState",
    "Moments",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "alpha_dropout",
    "avg_pool",
    "batch_norm",
    "conv",
    "conv_output_size",
    "conv_transpose",
    "dropout",
    "global_avg_pool",
    "global_max_pool",
    "group_norm",
    "gru",
    "instance_norm",
    "keep_mask",
    "layer_norm",
    "local_response_norm",
    "lp_normalize",
    "lp_pool",
    "lstm",
    "max_pool",
    "normalize",
    "reverse_sequences",
    "rms_norm",
    "rnn",
    "scan_cell",
    "spectral_norm",
    "weight_norm",
    "wide_dtype",
    "widen",
]
