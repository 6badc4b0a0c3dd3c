"""Tasks: the output activation, loss, target encoding and metrics that belong together.

| task          | the model's last layer  | loss                                   | decode            |
|---------------|-------------------------|----------------------------------------|-------------------|
| `binary`      | `dense(1)`              | sigmoid binary cross-entropy           | 0 or 1            |
| `multiclass`  | `dense(classes)`        | softmax cross-entropy                  | class number      |
| `multilabel`  | `dense(labels)`         | sigmoid binary cross-entropy per label | 0 or 1 per label  |
| `regression`  | `dense(outputs)`        | mean squared error                     | value             |
| `quantile`    | `dense(levels)`         | pinball loss                           | quantiles, sorted |
| `distribution`| `dense(2)` (per output) | negative log-likelihood                | mean              |

A model ends in a plain `dense`: the task applies the output activation itself, in a form that is exact for large
logits. A model that ends in its own softmax or sigmoid is refused with a message that says what to remove.
"""

from fnn.tasks.classification import binary, multiclass, multilabel
from fnn.tasks.regression import distribution, quantile, regression
from fnn.tasks.task import Task, as_task, check_pairing

__all__ = [
    "Task",
    "as_task",
    "binary",
    "check_pairing",
    "distribution",
    "multiclass",
    "multilabel",
    "quantile",
    "regression",
]
