"""Data before and while training."""
# ruff: noqa: F403

from fnn.data import augmentation, scaling
from fnn.data.augmentation import *
from fnn.data.scaling import *

__all__ = [*augmentation.__all__, *scaling.__all__]
