"""Data before and while training: scalers, windows of series, augmentation, images from files, and as published."""
# ruff: noqa: F403

from fnn.data import augmentation, datasets, image_files, image_folder, scaling, windowing
from fnn.data.augmentation import *
from fnn.data.datasets import *
from fnn.data.image_files import *
from fnn.data.image_folder import *
from fnn.data.scaling import *
from fnn.data.windowing import *

__all__ = [
    *augmentation.__all__,
    *datasets.__all__,
    *image_files.__all__,
    *image_folder.__all__,
    *scaling.__all__,
    *windowing.__all__,
]
