"""Models: functions that return a layer, and linear models solved in closed form."""

from fnn.models.convolutional import lenet5, resnet, small_cnn, vgg
from fnn.models.encoder_decoder import encoder_decoder
from fnn.models.language import generate, language_model
from fnn.models.linear import LassoFit, lasso, least_squares
from fnn.models.mlp import linear_regression, logistic_regression, mlp, softmax_regression
from fnn.models.perceptron import PerceptronFit, perceptron
from fnn.models.recurrent import forecaster, sequence_classifier

__all__ = [
    "LassoFit",
    "PerceptronFit",
    "encoder_decoder",
    "forecaster",
    "generate",
    "language_model",
    "lasso",
    "least_squares",
    "lenet5",
    "linear_regression",
    "logistic_regression",
    "mlp",
    "perceptron",
    "resnet",
    "sequence_classifier",
    "small_cnn",
    "softmax_regression",
    "vgg",
]
