"""Normalization of activations (over a batch, features, groups, neighbours) and of weights."""

from fnn.kernels.normalization.norms import (
    Moments,
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    normalize,
    rms_norm,
)
from fnn.kernels.normalization.reparametrization import spectral_norm, weight_norm
from fnn.kernels.normalization.response import local_response_norm, lp_normalize

__all__ = [
    "Moments",
    "batch_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "local_response_norm",
    "lp_normalize",
    "normalize",
    "rms_norm",
    "spectral_norm",
    "weight_norm",
]
