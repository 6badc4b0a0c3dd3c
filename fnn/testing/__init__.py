"""Checks for your own layers and optimizers: one line each, the ones fnn's own pass.

A check that fails raises an `AssertionError` that names what failed, where, and by how much.
"""

from fnn.testing import strategies
from fnn.testing.gradients import check_gradients
from fnn.testing.layers import check_layer
from fnn.testing.swap import check_swap
from fnn.testing.transforms import check_transform

__all__ = ["check_gradients", "check_layer", "check_swap", "check_transform", "strategies"]
