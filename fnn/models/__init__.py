"""Models: functions that return a layer, and linear models solved in closed form.

Networks of images are layers from (batch, height, width, channels) to logits (batch, classes). Sizes that are to come
in a sequence and do not are a `TypeError`, data of other shapes a `ValueError`.
"""
# ruff: noqa: F403

from fnn.models.convolutional import *
from fnn.models.encoder_decoder import *
from fnn.models.linear import *
from fnn.models.mlp import *
from fnn.models.recurrent import *

__all__ = sorted(
    name for name, value in globals().items() if getattr(value, "__module__", "").startswith(f"{__name__}.")
)
