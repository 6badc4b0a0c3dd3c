"""The history of a fit under the names that scikit-learn's networks have for it."""

from __future__ import annotations

from typing import Any

from sklearn.utils.validation import check_is_fitted


class Curves:
    """Losses and scores by epoch, read from `history_`.

    Example:
        >>> import numpy as np
        >>> from fnn.estimators import Regressor
        >>> x = np.linspace(-1, 1, 40).reshape(40, 1)
        >>> fitted = Regressor(hidden=(), epochs=3, random_state=0).fit(x, x[:, 0])
        >>> len(fitted.loss_curve_), fitted.best_loss_ == fitted.loss_curve_[-1] < fitted.loss_curve_[0]
        (3, True)
        >>> fitted = fitted.set_params(early_stopping=True).fit(x, x[:, 0])
        >>> len(fitted.validation_scores_), fitted.best_validation_score_ == max(fitted.validation_scores_)
        (3, True)
    """

    history_: dict[str, Any]
    early_stopping: Any

    @property
    def loss_curve_(self) -> list[float]:
        """Training loss of each epoch."""
        check_is_fitted(self)
        return [float(loss) for loss in self.history_["loss"]]

    @property
    def best_loss_(self) -> float | None:
        """The smallest training loss; None with early stopping, where a score is what counts."""
        return None if self.early_stopping else min(self.loss_curve_, default=None)

    @property
    def validation_scores_(self) -> list[float] | None:
        """Accuracy or R² of each epoch on the rows held out; None without early stopping."""
        check_is_fitted(self)
        found = [name for name in ("validation_accuracy", "validation_r2") if name in self.history_]
        return [float(score) for score in self.history_[found[0]]] if found else None

    @property
    def best_validation_score_(self) -> float | None:
        """The largest of `validation_scores_`."""
        scores = self.validation_scores_
        return None if scores is None else max(scores, default=None)
