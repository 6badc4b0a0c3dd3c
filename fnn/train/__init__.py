"""Training: the step, the compiled run, the run driven from the host, inference.

What cannot be trained on, scored or predicted, and a setting that is none, is a `ValueError` or a `TypeError` that says
what to write. `fit`, `predict` and `evaluate`, called again with a model, an optimizer, a task and options that say the
same, also when they were built anew, compile nothing for data of the same shapes: see `fnn.programs`.
"""

from fnn.train.callbacks import EpochEnd, Every, StepEnd, every
from fnn.train.checkpoint import Checkpoints, checkpoints
from fnn.train.fit import fit
from fnn.train.predict import evaluate, predict
from fnn.train.step import TrainStep, train_step
from fnn.train.stopping import EarlyStopping, early_stopping
from fnn.train.stream import StreamError
from fnn.train.trained import Trained, TrainState
from fnn.train.trainer import trainer
from fnn.train.transfer import Transfer, transfer

# Written out, because type checkers take the names of `fnn` from here and follow no list that is computed.
__all__ = [
    "Checkpoints", "EarlyStopping", "EpochEnd", "Every", "StepEnd", "StreamError", "TrainState", "TrainStep", "Trained",
    "Transfer", "checkpoints", "early_stopping", "evaluate", "every", "fit", "predict", "train_step", "trainer",
    "transfer",
]  # fmt: skip
