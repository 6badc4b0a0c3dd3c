"""Initializers: `(key, shape, dtype) -> array`, with the names, arguments and numbers of `jax.nn.initializers`.

The same key gives the same array as there. A kernel has shape (…, in, out): what stands before the last two axes is the
receptive field of a convolution and counts in both fans.

Equal weights never separate: units that start alike get equal gradients and stay alike, so a network whose kernels
start from `constant` learns as if each hidden layer had one unit.
"""

from fnn.initializers.constants import constant, identity, ones, zeros
from fnn.initializers.orthogonal import delta_orthogonal, orthogonal, per_gate
from fnn.initializers.plain import normal, truncated_normal, uniform
from fnn.initializers.scaled import (
    gain,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    variance_scaling,
    xavier_normal,
    xavier_uniform,
)

__all__ = [
    "constant",
    "delta_orthogonal",
    "gain",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "per_gate",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]
