"""What both estimators share: checked parameters, the fit, going on, predicting, pickling."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import inspect
import numbers
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fnn import activations, checks, models, optim
from fnn.estimators.checking import Checking, float_type
from fnn.estimators.curves import Curves
from fnn.estimators.pickling import Carried
from fnn.estimators.program import Description, Numbers, ceiling, pad_rows, train
from fnn.estimators.sparse import Entries, entries_of, of_entries
from fnn.layer import Layer
from fnn.layer.protocol import require_no_module
from fnn.optim.learning_rate import require_constructor
from fnn.tasks import Task
from fnn.train import stopping
from fnn.train.divergence import warn_of_divergence
from fnn.train.inputs import Inputs
from fnn.train.loop import EVALUATION_ROWS
from fnn.train.options import Options
from fnn.train.predict import predict
from fnn.train.stopping import EarlyStopping, early_stopping, warn_if_never_scored

STEP = 32
"""Numbers of rows are rounded up to a multiple of it: data sets of nearly the same size share a program."""

ROWS = 4096
"""Rows of a sparse matrix that are dense at once for a prediction."""

CARRIED = ("model", "optimizer", "activation", "learning_rate")
"""Parameters that may be closures."""


def _takes_a_rate(rule: Any) -> bool:
    return inspect.isfunction(rule) and next(iter(inspect.signature(rule).parameters), "") == "learning_rate"


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class Estimator(Checking, Curves, BaseEstimator, abc.ABC):
    """A network as a scikit-learn estimator; `Classifier` and `Regressor` say what targets are."""

    model: Any = None
    hidden: Any = (100,)
    activation: Any = "relu"
    optimizer: Any = None
    learning_rate: Any = None
    epochs: int = 200
    batch_size: int | None = 32
    l2: float = 0.0
    early_stopping: Any = False
    validation_fraction: float = 0.1
    random_state: Any = None
    warm_start: bool = False
    verbose: bool = False
    compute_dtype: Any = None

    @abc.abstractmethod
    def _task(self) -> Task:
        """The task of the fitted targets."""

    @abc.abstractmethod
    def _width(self) -> int:
        """Outputs that the network needs."""

    @property
    def model_(self) -> Layer:
        """The network as a layer, to be used with `trained_`.

        Example:
            >>> import numpy as np, fnn
            >>> from fnn.estimators import Regressor
            >>> x = np.linspace(-1, 1, 40, dtype=np.float32).reshape(40, 1)
            >>> fitted = Regressor(hidden=(), epochs=3, random_state=0).fit(x, x[:, 0])
            >>> outputs = fnn.predict(fitted.model_, fitted.trained_, x)[:, 0]
            >>> bool(np.allclose(outputs, fitted.predict(x)))
            True
        """
        check_is_fitted(self)
        return self._model()

    def _model(self) -> Layer:
        """The network for the number of outputs that the targets need."""
        if self.model is None:
            if isinstance(self.hidden, Iterator):  # read once, and an estimator is fitted several times
                raise checks.not_one(self._name, "hidden", "a tuple of widths", self.hidden, "write tuple(...)")
            hidden = checks.sequence(self._name, "hidden", self.hidden, "widths")
            return models.mlp(hidden, self._width(), activation=self._activation())
        if isinstance(self.model, Layer):
            return self.model
        words = "a layer, or a callable that takes the number of outputs and returns one"
        require_no_module(self._name, self.model, words)
        if not callable(self.model) or getattr(self.model, "builds_a_layer", False):
            raise checks.not_one(self._name, "model", words, self.model)
        layer = self.model(self._width())
        if not isinstance(layer, Layer):
            raise TypeError(f"expected model(outputs) to return a layer, got {checks.describe(layer)}")
        return layer

    def _activation(self) -> Any:
        if not isinstance(self.activation, str):
            return self.activation
        checks.one_of(self._name, "activation", self.activation, activations.__all__)
        return getattr(activations, self.activation)

    def _optimizer(self) -> Any:
        if not isinstance(self.optimizer, str):
            return optim.adam if self.optimizer is None else self.optimizer
        rules = [name for name in optim.__all__ if _takes_a_rate(getattr(optim, name))]
        checks.one_of(self._name, "optimizer", self.optimizer, rules)
        return getattr(optim, self.optimizer)

    def _description(self, rows: int, epochs: int, rule: EarlyStopping | None) -> Description:
        optimizer = self._optimizer()
        if not hasattr(optimizer, "update"):
            require_constructor(self._name, optimizer)
        elif self.learning_rate is not None:
            raise ValueError(
                f"{self._name}: optimizer is built already and has its own learning rate; give its constructor "
                f"(optimizer=fnn.optim.adam) with learning_rate={self.learning_rate!r}, or leave learning_rate out"
            )
        checks.number_or_schedule(self._name, "learning_rate", self._rate())
        checks.in_range(self._name, "l2", self.l2, 0)
        checks.floating_dtype(self._name, "compute_dtype", self.compute_dtype)
        task, monitored = self._task(), () if rule is None else (rule.monitor.removeprefix("validation_"),)
        kept = [name for name in ("accuracy", "r2", *monitored) if name in task.metrics]
        return Description(
            model=self._model(),
            optimizer=optimizer,
            task=task._replace(metrics={name: task.metrics[name] for name in kept}),
            schedule=self.learning_rate if callable(self.learning_rate) else None,
            penalized=self.l2 != 0,
            options=Options(
                2 ** (epochs - 1).bit_length(),
                self._batch_size(rows),
                early_stopping=stopping.resolve(rule, task),
                compute_dtype=self.compute_dtype,
            ),
        )

    def _goes_on(self) -> bool:
        return self.warm_start and hasattr(self, "trained_")

    def _rate(self) -> Any:
        return 1e-3 if self.learning_rate is None else self.learning_rate

    def _batch_size(self, rows: int) -> int:
        if self.batch_size is None:
            return ceiling(rows, STEP)
        return min(checks.integer(self._name, "batch_size", self.batch_size), ceiling(rows, STEP))

    def _rule(self) -> EarlyStopping | None:
        if isinstance(self.early_stopping, EarlyStopping):
            return self.early_stopping
        words, repair = "True, False or a rule", "write fnn.early_stopping(patience=10)"
        checks.instance(self._name, "early_stopping", self.early_stopping, bool | np.bool_, words, repair)
        return early_stopping() if self.early_stopping else None

    def _begin(self) -> None:
        """A seed that is a number is taken itself: a run by hand begins with `jax.random.key(random_state)`."""
        own, given = isinstance(self.random_state, numbers.Integral), self.random_state
        self._seed = int(given if own else check_random_state(given).randint(2**31 - 1))
        self.n_iter_ = 0
        self.history_: dict[str, np.ndarray] = {}

    @contextlib.contextmanager
    def _as_before_unless_trained(self) -> Iterator[None]:
        """A fit that fails before it has trained leaves the estimator, and what it says of its columns and classes."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            if vars(self).get("trained_") is before.get("trained_"):
                self.__dict__.clear()
                self.__dict__.update(before)
            raise

    def _start(
        self, x: Any, targets: np.ndarray, weights: np.ndarray, stratify: np.ndarray | None, factors: Any = 1
    ) -> Any:
        """A new run over all epochs; rows train with weights times `factors`, and are scored with the weights alone."""
        epochs = checks.integer(self._name, "epochs", self.epochs)
        start = self.trained_ if self._goes_on() else None
        self._begin()
        kept, rule = weights > 0, self._rule()
        x, targets, own, weights = x[kept], targets[kept], (weights * factors)[kept], weights[kept]
        rows, held = np.arange(x.shape[0]), None
        if rule is not None and rule.monitor.startswith("validation_"):
            checks.in_range(self._name, "validation_fraction", self.validation_fraction, 0, 1, open="both")
            stratify = None if stratify is None else stratify[kept]
            rows, held = train_test_split(
                rows, test_size=self.validation_fraction, random_state=self._seed % 2**32, stratify=stratify
            )
        return self._train((x, targets, own, weights), rows[own[rows] > 0], held, start, epochs, rule)

    def _go_on(self, x: Any, targets: np.ndarray, weights: np.ndarray) -> Any:
        """One epoch more."""
        if self._rule() is not None:
            raise ValueError(f"{self._name}: partial_fit cannot stop early; write early_stopping=False")
        kept, start = weights > 0, getattr(self, "_train_state", None)
        if start is None:
            self._begin()
        data = (x[kept], targets[kept], weights[kept], weights[kept])
        return self._train(data, np.arange(kept.sum()), None, start, 1, None)

    def _train(self, data: tuple[Any, ...], rows: np.ndarray, held: Any, start: Any, epochs: int, rule: Any) -> Any:
        description = self._description(len(rows), epochs, rule)
        size, total = self._batch_size(len(rows)), ceiling(data[0].shape[0], STEP)
        if issparse(data[0]):
            data, width = (entries_of(data[0]), *data[1:]), data[0].shape[1]
            if isinstance(data[0], Entries):
                description = description._replace(model=of_entries(description.model, width))
        arrays: Any = jax.tree.map(lambda array: pad_rows(array, total), data)
        kept: Any = pad_rows(rows.astype(np.int32), ceiling(len(rows), size), -1)
        left: Any = None if held is None else pad_rows(held.astype(np.int32), ceiling(len(held), STEP), -1)
        inputs = Inputs(arrays[:3], kept, None if held is None else (*arrays[:2], arrays[3]), left)
        rate = 0.0 if description.schedule is not None else self._rate()
        learning_rate, l2 = (np.asarray(number, float_type()) for number in (rate, self.l2))
        numbers = Numbers(learning_rate, l2, jax.random.key(self._seed))
        outcome = train(description, numbers, inputs, start, self.n_iter_, self.n_iter_ + epochs, self.verbose)
        self.trained_, self._train_state = outcome.trained, outcome.train_state
        before = self.history_
        self.history_ = {k: np.append(before.get(k, []), v) for k, v in outcome.history.items()}
        self.n_iter_ += outcome.epochs
        if not outcome.finished:
            raise KeyboardInterrupt
        if outcome.diverged_at >= 0:
            warn_of_divergence(self._name, *divmod(outcome.diverged_at, -(-len(rows) // size)), outcome.replay)
        warn_if_never_scored(self._name, rule, self.history_ | {"epochs": epochs, "diverged_at": outcome.diverged_at})
        return self

    def _outputs(self, x: Any) -> np.ndarray:
        """The network's outputs for any number of rows."""
        check_is_fitted(self)
        if issparse(x):  # made dense some rows at a time
            x = self._validate(x, dtype=float_type(), accept_sparse="csr", reset=False)
            parts = [self._outputs(x[first : first + ROWS].toarray()) for first in range(0, x.shape[0], ROWS)]
            return np.concatenate(parts)
        x = self._validate(x, dtype=float_type(), allow_nd=True, reset=False)
        # At least 64 rows: one row alone would be rounded otherwise than the same row among others.
        room = max(64, 2 ** (len(x) - 1).bit_length()) if len(x) < EVALUATION_ROWS else ceiling(len(x), EVALUATION_ROWS)
        outputs = predict(self._model(), self.trained_, pad_rows(x, room), compute_dtype=self.compute_dtype)
        # scikit-learn's scorers and meta-estimators compute in float64.
        return np.asarray(outputs)[: len(x)].astype(np.float64)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = True
        tags.array_api_support = True
        tags.target_tags.multi_output = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        return state | {k: Carried(k, state[k]) for k in CARRIED if callable(state[k]) or isinstance(state[k], tuple)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({k: v.value if isinstance(v, Carried) else v for k, v in state.items()})
