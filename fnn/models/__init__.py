"""Models: functions that return a layer, and linear models solved in closed form."""

from fnn.models.linear import LassoFit, lasso, least_squares
from fnn.models.mlp import linear_regression, logistic_regression, mlp, softmax_regression
from fnn.models.perceptron import PerceptronFit, perceptron

__all__ = [
    "LassoFit",
    "PerceptronFit",
    "lasso",
    "least_squares",
    "linear_regression",
    "logistic_regression",
    "mlp",
    "perceptron",
    "softmax_regression",
]
