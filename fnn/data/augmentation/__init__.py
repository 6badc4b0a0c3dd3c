"""Random changes of training batches, inside the compiled step: `fnn.fit(…, augment=…)`.

An augmentation is a pure function of a whole batch, `augment(key, x, targets) -> (x, targets)`. Images are channels
last, (batch, height, width, channels); time series are (batch, time, features). What is drawn for an example depends
on the key and its place in the batch alone, so the numbers do not depend on how many devices share the work.
"""
# ruff: noqa: F403, F405

from fnn.data.augmentation.images import *
from fnn.data.augmentation.mixing import *
from fnn.data.augmentation.protocol import *
from fnn.data.augmentation.series import *

__all__ = [
    "compose", "cutmix", "cutout", "gaussian_noise", "jitter", "mixup", "random_crop", "random_flip", "random_rotation",
    "random_shift", "random_window",
]  # fmt: skip
