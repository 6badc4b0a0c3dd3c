"""Metrics: how good predictions are, over a whole set. Definitions are scikit-learn's.

Every metric is a pure function `metric(predictions, targets, *, weights=None) -> scalar`, jittable, with `weights`
per example; an example of weight 0 (padding) does not count. Where none does every metric is NaN (the counts of
`confusion_matrix` are 0): an error of 0 would be the best there is. What the Args do not allow is refused, a shape or a
number by a `ValueError`, class numbers that are no integers by a `TypeError`. A metric states in its attribute `mode`
whether small ("min") or large ("max") values are better; one of your own does so by `@fnn.metrics.metric("min")`.
"""
# ruff: noqa: F403

from fnn.metrics.classification import *
from fnn.metrics.confusion import *
from fnn.metrics.protocol import *
from fnn.metrics.regression import *

__all__ = sorted(
    name for name, value in globals().items() if getattr(value, "__module__", "").startswith(f"{__name__}.")
)
