"""Random changes of training batches: what an augmentation is says `fnn.data`."""
# ruff: noqa: F403, F405

from fnn.data.augmentation.images import *
from fnn.data.augmentation.mixing import *
from fnn.data.augmentation.protocol import *
from fnn.data.augmentation.series import *

__all__ = [
    "compose", "cutmix", "cutout", "gaussian_noise", "jitter", "mixup", "random_crop", "random_flip", "random_rotation",
    "random_shift", "random_window",
]  # fmt: skip
