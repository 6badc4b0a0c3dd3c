"""Normalization of activations (over a batch, features, groups, neighbours) and of weights."""
# ruff: noqa: F403, F405

from fnn.kernels.normalization.norms import *
from fnn.kernels.normalization.reparametrization import *
from fnn.kernels.normalization.response import *

__all__ = [
    "Moments", "batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "lp_normalize",
    "normalize", "rms_norm", "spectral_norm", "weight_norm",
]  # fmt: skip
