"""How a run is trained: one set of options for every verb, defined, described and checked here."""

from __future__ import annotations

from typing import NamedTuple

from fnn import checks
from fnn.tasks.task import Task
from fnn.train import stopping
from fnn.train.precision import require_compute_dtype
from fnn.train.step import require_functions
from fnn.train.stopping import EarlyStopping
from fnn.typing import Augmentation, DType, PenaltyFunction


class Options(NamedTuple):
    """How a run is trained, the same for `fit`, `trainer`, every search and the estimators.

    - `epochs`: passes over the data.
    - `batch_size`: examples per step, at most as many as there are; None for all at once. A last partial batch is
      filled up with rows that do not count, so no row is dropped and nothing is compiled twice.
    - `penalty`: params -> scalar, added to the loss.
    - `augment`: `augment(key, x, targets) -> (x, targets)`, a random change of every training batch, for instance
      `fnn.data.random_flip()`; validation sees the data as they are.
    - `early_stopping`: a rule made by `fnn.early_stopping`; the best parameters are returned.
    - `shuffle`: a new order each epoch.
    - `training_metrics`: the learning rate of an epoch's last step, where the optimizer has one, and the task's metrics
      of the training batches, as entries of the history beside the validation's. As the training loss, they are means
      over the epoch of what each step saw, in training mode and with parameters that move: exact for a metric that is a
      mean over rows (accuracy, mean squared error), the mean of the batches' values for another (R², F1), batches on
      which it is not defined left out. They cost the metric, no further forward pass.
    - `compute_dtype`: `jnp.bfloat16` or `jnp.float16`: inputs and parameters are cast to it for the forward and
      backward pass. Parameters, optimizer and running statistics stay as they are, outputs, loss and sums are float32;
      norms and softmax sum in float32. float16 wants `fnn.optim.scale_loss` around the optimizer.
    """

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
    require_functions(where, options.penalty, options.augment)
    require_compute_dtype(where, options.compute_dtype)
    rule = options.early_stopping
    if rule is not None:
        checks.instance(where, "early_stopping", rule, EarlyStopping, "a rule", "write fnn.early_stopping(patience=10)")
    return options._replace(early_stopping=stopping.resolve(rule, task))
