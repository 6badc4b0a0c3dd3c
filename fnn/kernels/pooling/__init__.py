"""Pooling: windows of one size, and windows that share the input into a number of outputs."""

from fnn.kernels.pooling.adaptive import adaptive_avg_pool, adaptive_max_pool, global_avg_pool, global_max_pool
from fnn.kernels.pooling.avg_pool import avg_pool
from fnn.kernels.pooling.lp_pool import lp_pool
from fnn.kernels.pooling.max_pool import max_pool

__all__ = [
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "avg_pool",
    "global_avg_pool",
    "global_max_pool",
    "lp_pool",
    "max_pool",
]
