"""How a run is trained: one set of options for every verb, defined and checked here."""

from __future__ import annotations

from typing import NamedTuple

from fnn import checks
from fnn.tasks.task import Task
from fnn.train import stopping
from fnn.train.step import require_functions
from fnn.train.stopping import EarlyStopping
from fnn.typing import Augmentation, DType, PenaltyFunction


class Options(NamedTuple):
    """How a run is trained, the same for every verb, search and estimator: `trainer` says what each option means."""

    epochs: int
    batch_size: int | None = 32
    penalty: PenaltyFunction | None = None
    augment: Augmentation | None = None
    early_stopping: EarlyStopping | None = None
    shuffle: bool = True
    training_metrics: bool = False
    compute_dtype: DType | None = None


def check_options(where: str, task: Task, options: Options) -> Options:
    """The options themselves, of the right kinds, early stopping in the direction that the task's metric states."""
    checks.integer(where, "epochs", options.epochs)
    if options.batch_size is not None:
        checks.integer(where, "batch_size", options.batch_size)
    checks.flags(where, shuffle=options.shuffle, training_metrics=options.training_metrics)
    require_functions(where, options.penalty, options.augment)
    checks.floating_dtype(where, "compute_dtype", options.compute_dtype)
    rule = options.early_stopping
    if rule is not None:
        checks.instance(where, "early_stopping", rule, EarlyStopping, "a rule", "write fnn.early_stopping(patience=10)")
    return options._replace(early_stopping=stopping.resolve(rule, task))
