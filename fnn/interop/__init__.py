"""Weights from and to other libraries."""

from fnn.interop.recurrent import (
    recurrent_from_flax,
    recurrent_from_torch,
    recurrent_to_flax,
    recurrent_to_torch,
)

__all__ = ["recurrent_from_flax", "recurrent_from_torch", "recurrent_to_flax", "recurrent_to_torch"]
