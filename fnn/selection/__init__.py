"""Choosing between models: splits, cross-validation, sweeps, ensembles, learning curves; each one compiled program.

Each gives back the named tuple that its signature says. Folds that do not fit the rows, settings nobody takes, options
out of range and data that cannot be trained on are errors that say what to write.
"""
# ruff: noqa: F403, F405

from fnn.selection.bagging import ensemble
from fnn.selection.cross_validation import cross_validate
from fnn.selection.curves import LearningCurve, learning_curve
from fnn.selection.ensemble import Ensemble
from fnn.selection.rate_range import RateRange, rate_range
from fnn.selection.result import CrossValidation
from fnn.selection.snapshots import snapshots
from fnn.selection.splits import *
from fnn.selection.sweep import sweep

__all__ = [
    "CrossValidation", "Ensemble", "Folds", "LearningCurve", "RateRange", "bootstrap", "cross_validate", "ensemble",
    "group_k_fold", "hold_out", "k_fold", "learning_curve", "leave_one_out", "leave_p_out", "rate_range", "repeated",
    "snapshots", "stratified_k_fold", "sweep", "time_series", "using",
]  # fmt: skip
