"""Weights from and to other libraries."""

from fnn.interop.flax import from_flax, to_flax
from fnn.interop.modules import module_layer
from fnn.interop.plain import plain
from fnn.interop.recurrent import (
    recurrent_from_flax,
    recurrent_from_torch,
    recurrent_to_flax,
    recurrent_to_torch,
)
from fnn.interop.torch import from_torch, to_torch

__all__ = [
    "from_flax",
    "from_torch",
    "module_layer",
    "plain",
    "recurrent_from_flax",
    "recurrent_from_torch",
    "recurrent_to_flax",
    "recurrent_to_torch",
    "to_flax",
    "to_torch",
]
