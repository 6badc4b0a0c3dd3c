"""Data before and while training: scalers, windows of series, augmentation, images as published."""
# ruff: noqa: F403

from fnn.data import augmentation, datasets, scaling, windowing
from fnn.data.augmentation import *
from fnn.data.datasets import *
from fnn.data.scaling import *
from fnn.data.windowing import *

__all__ = [*augmentation.__all__, *datasets.__all__, *scaling.__all__, *windowing.__all__]
