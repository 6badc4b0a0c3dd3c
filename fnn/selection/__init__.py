"""Choosing between models: splits, cross-validation, sweeps and ensembles as compiled programs."""

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
    "Folds",
    "bootstrap",
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
