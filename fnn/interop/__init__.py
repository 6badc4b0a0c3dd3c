"""Weights from and to other libraries."""
# ruff: noqa: F401, F403

from fnn.interop import flax, modules, recurrent, torch
from fnn.interop.flax import *
from fnn.interop.modules import *
from fnn.interop.plain import plain
from fnn.interop.recurrent import *
from fnn.interop.torch import *

__all__ = sorted([*flax.__all__, *modules.__all__, "plain", *recurrent.__all__, *torch.__all__])
