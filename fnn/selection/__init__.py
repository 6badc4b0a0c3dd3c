"""Choosing between models: splits, cross-validation, sweeps, ensembles, learning curves; each one compiled program."""
# ruff: noqa: F401, F403

from fnn.selection import splits
from fnn.selection.bagging import ensemble
from fnn.selection.cross_validation import cross_validate
from fnn.selection.curves import LearningCurve, learning_curve
from fnn.selection.ensemble import Ensemble
from fnn.selection.rate_range import RateRange, rate_range
from fnn.selection.result import CrossValidation
from fnn.selection.snapshots import snapshots
from fnn.selection.splits import *
from fnn.selection.sweep import sweep

_VERBS = ("cross_validate", "ensemble", "learning_curve", "rate_range", "snapshots", "sweep")
__all__ = sorted(["CrossValidation", "Ensemble", "LearningCurve", "RateRange", *_VERBS, *splits.__all__])
