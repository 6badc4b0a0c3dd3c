"""scikit-learn estimators: a compiled training run behind `fit`, for pipelines, grid searches, cross-validation.

A fit is one compiled program, kept by what it computes (see `fnn.programs`). Learning rate, strength of the penalty,
number of epochs, weights, seed and data are its arguments, and rows are filled up to a multiple of 32 or of the batch:
the fits of a grid search compile once. What cannot be used is an error of `fit`. Ctrl-C keeps what is trained so far in
the estimator, and ends the search around it.
"""

from fnn import checks

checks.package("sklearn", "fnn.estimators", "scikit-learn 1.6 or newer", "data")

from fnn.estimators.classifier import Classifier  # noqa: E402
from fnn.estimators.regressor import Regressor  # noqa: E402

__all__ = ["Classifier", "Regressor"]
