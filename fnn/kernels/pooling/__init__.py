"""Pooling: windows of one size, and windows that share the input into a number of outputs."""
# ruff: noqa: F403

from fnn.kernels.pooling.adaptive import *
from fnn.kernels.pooling.avg_pool import *
from fnn.kernels.pooling.lp_pool import *
from fnn.kernels.pooling.max_pool import *

__all__ = sorted(
    name for name, value in globals().items() if getattr(value, "__module__", "").startswith(f"{__name__}.")
)
