"""Classification with scikit-learn's interface."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from scipy.sparse import issparse
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from fnn import checks, tasks
from fnn.estimators.base import Estimator
from fnn.estimators.checking import Score
from fnn.layer.parts import output_shape
from fnn.layer.protocol import Layer
from fnn.tasks import Task
from fnn.train.rows import check_weights

__all__ = ["Classifier"]


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class Classifier(Score, ClassifierMixin, Estimator):
    r"""A network that tells classes apart, with scikit-learn's interface; every `fit` is one compiled run.

    Two classes minimize the binary cross-entropy of one logit, more the cross-entropy of a softmax, a 0/1 matrix of
    labels one binary cross-entropy per label. Each row's loss is multiplied by its sample weight and its class's
    weight, and the mean is over the weights: $L = \frac{\sum_i w_i c_{y_i} \ell_i}{\sum_i w_i c_{y_i}}$.

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
        class_weight: None, "balanced" ($n / (K n_k)$) or {class: weight}, in training alone: scores of rows held out
            count rows by their sample weights.
        early_stopping: True, or a `fnn.early_stopping(...)`: hold out rows and keep the best epoch.
        validation_fraction: share of the rows held out for it, stratified.
        random_state: seed of the split, the first parameters, the order of the rows and dropout.
        warm_start: `fit` goes on from the parameters of the last `fit`, with a new optimizer.
        verbose: show a bar over the epochs (needs tqdm).
        compute_dtype: what `fit` and `predict` compute in, `jnp.bfloat16` or its name, as for `fnn.trainer`.

    Attributes:
        classes_: the labels, sorted.
        trained_, model_: what `fnn.predict(model_, trained_, x)` needs.
        history_: name -> one number per epoch.
        loss_curve_, best_loss_, validation_scores_, best_validation_score_: of the history, as lists and numbers.
        n_iter_: epochs that were run.
        n_features_in_, feature_names_in_: of the columns.

    Example:
        >>> import numpy as np
        >>> from fnn.estimators import Classifier
        >>> x = np.linspace(-1, 1, 40).reshape(20, 2)
        >>> y = np.where(x[:, 0] > 0, "right", "left")
        >>> fitted = Classifier(hidden=(8,), learning_rate=0.05, epochs=50, random_state=0).fit(x, y)
        >>> fitted.predict([[0.8, 0.9], [-0.8, -0.9]]).tolist(), fitted.predict_proba(x).shape
        (['right', 'left'], (20, 2))

    References:
        Buitinck et al., API design for machine learning software: experiences from the scikit-learn project, 2013.
    """

    class_weight: Any = None

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Classifier:
        """Train a new network.

        Args:
            X: (rows, columns), array, frame or sparse matrix; or (rows, …) for a model of images or sequences.
            y: (rows,) labels of any kind, or (rows, labels) of 0 and 1.
            sample_weight: (rows,), not negative; a row of weight 0 is left out.
        """
        with self._as_before_unless_trained():
            x, y = self._check(X, y, reset=not self._goes_on())
            weights = self._weights(sample_weight, x)
            if not self._goes_on():
                self._learn_classes(x, y, y)
            targets = self._encode(y)
            factors = self._class_weights(targets, weights)
            self._require_two_classes(targets[weights * factors > 0])
            return self._start(x, targets, weights, None if self._multilabel else targets, factors)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Classifier:
        """One epoch more over these rows, with the optimizer where it was; the first call begins a new network.

        Args:
            X, y, sample_weight: as for `fit`.
            classes: every class there will be, in the first call.
        """
        with self._as_before_unless_trained():
            first = not hasattr(self, "classes_")
            x, y = self._check(X, y, reset=first)
            weights = self._weights(sample_weight, x)
            if first:
                if classes is None:
                    raise ValueError(
                        "Classifier: expected classes=, every class there is, in the first call of partial_fit"
                    )
                self._learn_classes(x, y, classes)
            elif classes is not None and not self._multilabel and not np.array_equal(np.unique(classes), self.classes_):
                raise ValueError(f"Classifier: expected classes {self.classes_} as before, got {np.unique(classes)}")
            if isinstance(self.class_weight, str):
                raise ValueError(
                    "Classifier: the balance of the classes is not known to partial_fit; "
                    "write class_weight={class: weight, ...}"
                )
            targets = self._encode(y)
            return self._go_on(x, targets, weights * self._class_weights(targets, weights))

    def predict(self, X: Any) -> Any:
        """The likeliest class of each row, or 0/1 per label."""
        logits = self._logits(X)
        if self._multilabel:
            return self._answer(X, (logits > 0).astype(int))
        chosen = (logits > 0).astype(int) if logits.ndim == 1 else logits.argmax(axis=1)
        return self._answer(X, self.classes_[chosen])

    def decision_function(self, X: Any) -> Any:
        """Logits: (rows,) of the second of two classes, else (rows, classes or labels)."""
        return self._answer(X, self._logits(X))

    def predict_log_proba(self, X: Any) -> Any:
        """Logarithms of `predict_proba`, from the logits."""
        return self._answer(X, self._log_probabilities(X))

    def predict_proba(self, X: Any) -> Any:
        """(rows, classes) probabilities in the order of `classes_`, or (rows, labels) of each label."""
        return self._answer(X, np.exp(self._log_probabilities(X)))

    def _logits(self, X: Any) -> np.ndarray:
        outputs = self._outputs(X)
        if self._multilabel or len(self.classes_) > 2:
            return outputs
        return outputs[:, 1] - outputs[:, 0] if self._pair else outputs[:, 0]

    def _log_probabilities(self, X: Any) -> np.ndarray:
        z = self._logits(X)
        if z.ndim == 1:
            return np.stack([-np.logaddexp(0, z), -np.logaddexp(0, -z)], axis=1)
        if self._multilabel:
            return -np.logaddexp(0, -z)
        return z - np.logaddexp.reduce(z, axis=1, keepdims=True)

    def _check(self, X: Any, y: Any, reset: bool) -> tuple[Any, np.ndarray]:
        x, y = self._validate_both(X, y, reset=reset)
        y = y.toarray() if issparse(y) else y
        check_classification_targets(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if type_of_target(y) == "multiclass-multioutput":
            raise ValueError(
                "Classifier: Unknown label type: several columns of more than two classes; "
                "write sklearn.multioutput.MultiOutputClassifier(Classifier())"
            )
        return x, y

    def _learn_classes(self, x: Any, y: np.ndarray, classes: Any) -> None:
        self._multilabel = type_of_target(y).startswith("multilabel")
        self.classes_ = np.arange(y.shape[1]) if self._multilabel else np.unique(classes)
        self._pair = self._has_two_outputs(x)

    def _encode(self, y: np.ndarray) -> np.ndarray:
        """Class numbers, in the order of `classes_`."""
        if self._multilabel:
            if y.shape[1:] != (len(self.classes_),):
                raise ValueError(f"Classifier: expected y with {len(self.classes_)} labels as before, got {y.shape}")
            return y.astype(np.int32)
        if y.ndim > 1:
            raise ValueError(f"Classifier: expected y (rows,) of classes as before, got {y.shape}")
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"Classifier: y contains {unknown.tolist()[0]!r}, which is none of the classes {self.classes_}"
            )
        return np.searchsorted(self.classes_, y).astype(np.int32)

    def _require_two_classes(self, targets: np.ndarray) -> None:
        if targets.ndim == 1 and (targets == targets[0]).all():
            raise ValueError(
                f"Classifier: expected at least two classes, got one class, {self.classes_[targets[0]]}, "
                "in the rows whose weight is not 0"
            )

    def _class_weights(self, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The weight of each row's class; "balanced": $n / (K n_k)$, rows counted by their weights."""
        if self.class_weight is None:
            return np.ones(len(weights), weights.dtype)
        if self._multilabel:
            raise ValueError("Classifier: class_weight is for classes that exclude each other; write sample_weight=")
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            counts = np.bincount(targets, weights, len(self.classes_))
            each = weights.sum() / (np.count_nonzero(counts) * np.where(counts > 0, counts, 1))
        elif isinstance(self.class_weight, Mapping):
            unknown = [label for label in self.class_weight if label not in self.classes_]
            if unknown:
                raise ValueError(f"Classifier: class_weight names {unknown[0]!r}, which is none of {self.classes_}")
            for label, weight in self.class_weight.items():
                checks.in_range(self._name, f"class_weight of {label!r}", weight, 0, np.inf, open="high")
            each = np.array([self.class_weight.get(label, 1) for label in self.classes_], float)
        else:
            raise ValueError(
                'Classifier: expected class_weight to be None, "balanced" or {class: weight}, '
                f"got {self.class_weight!r}"
            )
        factors = each[targets].astype(weights.dtype)
        check_weights(f"{self._name}, sample_weight times class_weight", weights * factors, len(weights))
        return factors

    def _has_two_outputs(self, x: Any) -> bool:
        """Whether a layer that was given tells two classes apart by two outputs and not by one."""
        if self._multilabel or len(self.classes_) != 2 or not isinstance(self.model, Layer):
            return False
        example = jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
        params, state = jax.eval_shape(lambda key: self.model.init(key, example), jax.random.key(0))
        return output_shape(self.model, params, state, example).shape[-1] == 2

    def _task(self) -> Task:
        classes = len(self.classes_)
        if self._multilabel:
            return tasks.multilabel(classes)
        return tasks.binary() if classes == 2 and not self._pair else tasks.multiclass(classes)

    def _width(self) -> int:
        return 1 if len(self.classes_) == 2 and not (self._pair or self._multilabel) else len(self.classes_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
