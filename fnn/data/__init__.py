"""Data before and while training."""
# ruff: noqa: F403

from fnn.data import scaling
from fnn.data.scaling import *

__all__ = [*scaling.__all__]
