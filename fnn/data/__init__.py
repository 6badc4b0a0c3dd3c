"""Data before and while training: scalers, windows of series, augmentation, images from files, and as published."""
# ruff: noqa: F403

from fnn.data.augmentation import *
from fnn.data.datasets import *
from fnn.data.image_files import *
from fnn.data.image_folder import *
from fnn.data.scaling import *
from fnn.data.statistics import *
from fnn.data.windowing import *

__all__ = sorted(
    name for name, value in globals().items() if getattr(value, "__module__", "").startswith(f"{__name__}.")
)
