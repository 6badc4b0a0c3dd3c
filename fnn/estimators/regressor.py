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

    Args:
        model: a layer, or a function from the number of outputs to one; by default `models.mlp(hidden, outputs)`.
        hidden: widths of the hidden layers.
        activation: its name in `fnn.activations`, or a function.
        optimizer: its name in `fnn.optim`, a function of the learning rate, `fnn.optim.adam` by default; or one that is
            built.
        learning_rate: a number, 0.001 by default, or a schedule of `fnn.schedules`; not beside an optimizer that is
            built already.
        epochs: passes over the data.
        batch_size: rows per step, None for all of them.
        l2: $\lambda$ of the penalty $\lambda \sum w^2$ on weights, not on biases.
        early_stopping: True, or a `fnn.early_stopping(...)`: hold out rows and keep the best epoch.
        validation_fraction: share of the rows held out for it.
        random_state: seed of the split, the first parameters, the order of the rows and dropout.
        warm_start: `fit` goes on from the parameters of the last `fit`, with a new optimizer.
        verbose: show a bar over the epochs (needs tqdm).
        compute_dtype: what `fit` and `predict` compute in, `jnp.bfloat16` or its name, as for `fnn.trainer`.

    Attributes:
        trained_, model_: what `fnn.predict(model_, trained_, x)` needs.
        history_: name -> one number per epoch.
        loss_curve_, best_loss_, validation_scores_, best_validation_score_: of the history, as lists and numbers.
        n_iter_: epochs that were run.
        n_outputs_: columns of y.
        n_features_in_, feature_names_in_: of the columns of X.

    Example:
        >>> import numpy as np
        >>> from fnn.estimators import Regressor
        >>> x = np.linspace(-1, 1, 40).reshape(20, 2)
        >>> fitted = Regressor(hidden=(16,), learning_rate=0.02, epochs=100, random_state=0).fit(x, 3 * x[:, 0])
        >>> fitted.score(x, 3 * x[:, 0]) > 0.99, fitted.n_iter_
        (True, 100)

    References:
        Buitinck et al., API design for machine learning software: experiences from the scikit-learn project, 2013.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Regressor:
        """Train a new network.

        Args:
            X: (rows, columns), array, frame or sparse matrix; or (rows, …) for a model of images or sequences.
            y: (rows,) or (rows, outputs).
            sample_weight: (rows,), not negative; a row of weight 0 is left out.
        """
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
