"""Data before and while training: scalers, windows of series, augmentation, images from files, and as published.

An augmentation changes training batches at random inside the compiled step, `fnn.fit(…, augment=…)`: a pure function
of a whole batch, `augment(key, x, targets) -> (x, targets)`. `random_flip`, `mixup` and their like return one. Images
are channels last, (batch, height, width, channels), time series (batch, time, features). x keeps its dtype, integers
are rounded; targets stay as they are but for `mixup` and `cutmix`. A setting outside its range, another rank of x and,
where pixels move, targets that belong to pixels are a ValueError. What is drawn for an example depends on the key and
its place in the batch alone, so the numbers do not depend on how many devices share the work.
"""
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
