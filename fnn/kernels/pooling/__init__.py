"""Pooling: windows of one size, and windows that share the input into a number of outputs."""
# ruff: noqa: F403, F405

from fnn.kernels.pooling.adaptive import *
from fnn.kernels.pooling.windows import *

__all__ = [
    "adaptive_avg_pool", "adaptive_max_pool", "avg_pool", "global_avg_pool", "global_max_pool", "lp_pool", "max_pool",
]  # fmt: skip
