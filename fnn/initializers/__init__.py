"""Initializers: `(key, shape, dtype) -> array`, with the names, arguments and numbers of `jax.nn.initializers`.

The same key gives the same array as there. A kernel has shape (…, in, out): what stands before the last two axes is the
receptive field of a convolution and counts in both fans.

Equal weights never separate: units that start alike get equal gradients and stay alike, so a network whose kernels
start from `constant` learns as if each hidden layer had one unit.
"""
# ruff: noqa: F403

from fnn.initializers.orthogonal import *
from fnn.initializers.plain import *
from fnn.initializers.scaled import *

__all__ = sorted(
    name for name, value in globals().items() if getattr(value, "__module__", "").startswith(f"{__name__}.")
)
