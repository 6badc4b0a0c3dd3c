"""Choosing between models: splits, and cross-validation as one compiled program."""

from fnn.selection.cross_validation import CrossValidation, cross_validate
from fnn.selection.splits import (
    Folds,
    bootstrap,
    group_k_fold,
    hold_out,
    k_fold,
    leave_one_out,
    leave_p_out,
    repeated,
    stratified_k_fold,
    time_series,
    using,
)

__all__ = [
    "CrossValidation",
    "Folds",
    "bootstrap",
    "cross_validate",
    "group_k_fold",
    "hold_out",
    "k_fold",
    "leave_one_out",
    "leave_p_out",
    "repeated",
    "stratified_k_fold",
    "time_series",
    "using",
]
