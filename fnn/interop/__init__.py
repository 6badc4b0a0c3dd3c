"""Weights from and to other libraries.

Of a whole model convolutions, dense layers and embeddings, batch norms, other norms, recurrent layers: each kind of
layer takes the modules of that kind in their order, and every shape must fit. What does not is a ValueError that names
layers and modules, with both shapes; so are arrays whose names are not those of the module that was asked for.
"""
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
