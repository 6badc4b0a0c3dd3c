"""Data before and while training."""
# ruff: noqa: F403

from fnn.data import augmentation, datasets, scaling
from fnn.data.augmentation import *
from fnn.data.datasets import *
from fnn.data.scaling import *

__all__ = [*augmentation.__all__, *datasets.__all__, *scaling.__all__]
