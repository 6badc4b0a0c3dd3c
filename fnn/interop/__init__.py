"""Weights from and to other libraries."""
# ruff: noqa: F403, F405

from fnn.interop.flax import *
from fnn.interop.modules import *
from fnn.interop.plain import plain
from fnn.interop.recurrent import *
from fnn.interop.torch import *

__all__ = [
    "from_flax", "from_torch", "module_layer", "plain", "recurrent_from_flax", "recurrent_from_torch",
    "recurrent_to_flax", "recurrent_to_torch", "to_flax", "to_torch",
]  # fmt: skip
