"""Tasks: the output activation, loss, target encoding and metrics that belong together.

| task          | the model's last layer  | loss                                   | decode            |
|---------------|-------------------------|----------------------------------------|-------------------|
| `binary`      | `dense(1)`              | sigmoid binary cross-entropy           | 0 or 1            |
| `multiclass`  | `dense(classes)`        | softmax cross-entropy                  | class number      |
| `multilabel`  | `dense(labels)`         | sigmoid binary cross-entropy per label | 0 or 1 per label  |
| `regression`  | `dense(outputs)`        | mean squared error                     | value             |
| `quantile`    | `dense(levels)`         | pinball loss                           | quantiles, sorted |
| `distribution`| `dense(2)` (per output) | negative log-likelihood                | mean              |

A row has one target, or one at every step or pixel: then the outputs are (batch, …, width), every step is a row of its
own to the loss and the metrics, and the padding of `fnn.Padded` outputs is none. On targets out of range there is a
`ValueError` that names the row.

A model ends in a plain `dense`: the task applies the output activation itself, in a form that is exact for large
logits. A model that ends in its own softmax or sigmoid is refused with a message that says what to remove.
"""
# ruff: noqa: F403

from fnn.tasks.classification import *
from fnn.tasks.regression import *
from fnn.tasks.task import *

__all__ = sorted(
    name for name, value in globals().items() if getattr(value, "__module__", "").startswith(f"{__name__}.")
)
