"""Regression with scikit-learn's interface."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from fnn import checks, tasks
from fnn.estimators.base import Estimator
from fnn.estimators.checking import Score, float_type
from fnn.tasks import Task

__all__ = ["Regressor"]


class Regressor(Score, RegressorMixin, Estimator):
    r"""A network that predicts numbers, with scikit-learn's interface; every `fit` is one compiled run.

    Minimizes the squared error over all columns of y, rows weighted:
    $L = \frac{\sum_i w_i \lVert y_i - \hat y_i\rVert^2}{\sum_i w_i}$ up to the number of columns. The targets are
    taken as they are; `TransformedTargetRegressor` standardizes them.

    Arguments and attributes are those of `Classifier`, but for `class_weight` and `classes_`; rows held out are drawn.

    Attributes:
        n_outputs_: columns of y.

    Example:
        >>> import numpy as np
        >>> from fnn.estimators import Regressor
        >>> x = np.linspace(-1, 1, 40).reshape(20, 2)
        >>> fitted = Regressor(hidden=(16,), learning_rate=0.02, epochs=100, random_state=0).fit(x, 3 * x[:, 0])
        >>> fitted.score(x, 3 * x[:, 0]) > 0.99, fitted.n_iter_
        (True, 100)
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Regressor:
        """Train a new network on what `Classifier.fit` takes, and y of numbers, (rows,) or (rows, outputs)."""
        with self._as_before_unless_trained():
            x, targets, weights = self._check(X, y, sample_weight, reset=not self._goes_on())
            return self._start(x, targets, weights, None)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Regressor:
        """One epoch more over these rows, with the optimizer where it was; the first call begins a new network."""
        with self._as_before_unless_trained():
            x, targets, weights = self._check(X, y, sample_weight, reset=not hasattr(self, "trained_"))
            return self._go_on(x, targets, weights)

    def predict(self, X: Any) -> Any:
        """(rows,) or (rows, outputs), as y was."""
        outputs = self._outputs(X)
        return self._answer(X, outputs[:, 0] if self._flat else outputs)

    def _check(self, X: Any, y: Any, sample_weight: Any, reset: bool) -> tuple[Any, ...]:
        x, y = self._validate_both(X, y, y_numeric=True, reset=reset)
        if y.dtype.kind not in "biuf":
            raise ValueError(f"Regressor: expected y of numbers, got {y.dtype}; write y.astype(float), or a Classifier")
        targets = np.asarray(y).reshape(x.shape[0], -1)
        targets = checks.host_cast(self._name, "y", y, targets, float_type(), distinct=True)
        if reset:
            self.n_outputs_, self._flat = targets.shape[1], y.ndim == 1
        elif targets.shape[1] != self.n_outputs_:
            raise ValueError(f"Regressor: expected y with {self.n_outputs_} columns as before, got {targets.shape[1]}")
        return x, targets, self._weights(sample_weight, x)

    def _task(self) -> Task:
        return tasks.regression(self.n_outputs_)

    def _width(self) -> int:
        return self.n_outputs_
