"""Kernels configured as layers."""
# ruff: noqa: F403

from fnn.layers.activation import *
from fnn.layers.batch_norm import *
from fnn.layers.conv import *
from fnn.layers.dense import *
from fnn.layers.depthwise_conv import *
from fnn.layers.dropout import *
from fnn.layers.elman import *
from fnn.layers.folding import *
from fnn.layers.gru import *
from fnn.layers.lstm import *
from fnn.layers.norm import *
from fnn.layers.pool import *
from fnn.layers.recurrent import *
from fnn.layers.recurrent_combinators import *
from fnn.layers.reparametrization import *

__all__ = sorted(
    name for name, value in globals().items() if getattr(value, "__module__", "").startswith(f"{__name__}.")
)
