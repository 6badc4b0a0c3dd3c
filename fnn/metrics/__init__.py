"""Metrics: how good predictions are, over a whole set. Definitions are scikit-learn's.

Every metric is a pure function `metric(predictions, targets, *, weights=None) -> scalar`, jittable, with `weights`
per example; an example of weight 0 (padding) does not count. Where none does every metric is NaN (the counts of
`confusion_matrix` are 0): an error of 0 would be the best there is. A metric states in its attribute `mode` whether
small ("min") or large ("max") values are better; one of your own does so by `@fnn.metrics.metric("min")`.
"""
# ruff: noqa: F403

from fnn.metrics import classification, confusion, protocol, ranking, regression
from fnn.metrics.classification import *
from fnn.metrics.confusion import *
from fnn.metrics.protocol import *
from fnn.metrics.ranking import *
from fnn.metrics.regression import *

__all__ = sorted(classification.__all__ + confusion.__all__ + protocol.__all__ + ranking.__all__ + regression.__all__)
