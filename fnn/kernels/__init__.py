"""The compiled cores: pure functions of arrays, with their own gradients. No parameters, no layers.

A kernel computes, from given parameters, what the layer of its name does, and has its formula from there. It returns
an array in the dtype of `x`, of the shape of `x` where nothing else is said; sums and statistics are in float32 or
better. It raises a ValueError for shapes that do not fit, and a TypeError for values that are not floating-point.
"""
# ruff: noqa: F403

from fnn.kernels import convolution, normalization, pooling, recurrence
from fnn.kernels.convolution import *
from fnn.kernels.dropout import alpha_dropout, dropout, keep_mask
from fnn.kernels.normalization import *
from fnn.kernels.pooling import *
from fnn.kernels.recurrence import *
from fnn.kernels.sliding_windows import conv_output_size
from fnn.precision import wide_dtype, widen

__all__ = ["alpha_dropout", "conv_output_size", "dropout", "keep_mask", "wide_dtype", "widen"]
__all__ += convolution.__all__ + normalization.__all__ + pooling.__all__ + recurrence.__all__
