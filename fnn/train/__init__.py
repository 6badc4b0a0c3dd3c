"""Training: the step, the compiled run, the run driven from the host, inference."""

from fnn.train.drive import EpochEnd
from fnn.train.fit import fit
from fnn.train.predict import evaluate, predict
from fnn.train.step import TrainStep, train_step
from fnn.train.stopping import EarlyStopping, early_stopping
from fnn.train.trained import Trained, TrainState
from fnn.train.trainer import trainer

__all__ = [
    "EarlyStopping",
    "EpochEnd",
    "TrainState",
    "TrainStep",
    "Trained",
    "early_stopping",
    "evaluate",
    "fit",
    "predict",
    "train_step",
    "trainer",
]
