"""What an estimator is given, looked at on the host: columns, sample weights, arrays of other libraries."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.sparse import issparse
from sklearn import config_context, get_config
from sklearn.utils._array_api import get_namespace_and_device
from sklearn.utils.validation import _check_sample_weight, validate_data

from fnn import checks
from fnn.train.rows import check_weights

ENTRIES_AT_ONCE = 2**22
"""Numbers of a sparse matrix that are looked at together."""

FLOATS = [np.float64, np.float32]
"""Dtypes in which columns are looked at as they came; anything else comes as the first of them."""


def float_type() -> np.dtype:
    """float32, or float64 where JAX computes in it."""
    return np.dtype(jnp.result_type(float))


class Score:
    """The score of scikit-learn's mixins, which stand behind it, computed in NumPy, whatever the arrays are."""

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy of a `Classifier`, R² of a `Regressor`; rows count by their weights."""
        with config_context(array_api_dispatch=False):
            return super().score(X, y, sample_weight)  # type: ignore[misc]


class Checking:
    """The checks that both estimators share.

    An estimator computes with arrays of NumPy, whatever it is given; under scikit-learn's array API dispatch it answers
    with arrays of the library that X is of.
    """

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _narrow(self, x: Any) -> Any:
        """Columns in the dtype that JAX computes in; one whose numbers become equal there is named."""
        if not issparse(x):
            return self._narrow_columns(x, x)
        if x.dtype != float_type():
            step, table = max(1, ENTRIES_AT_ONCE // x.shape[0]), x.tocsc()
            for first in range(0, x.shape[1], step):
                part = table[:, first : first + step].toarray()
                self._narrow_columns(part, SimpleNamespace(columns=range(first, first + step)))
        return x.astype(float_type())

    def _narrow_columns(self, x: np.ndarray, named: Any) -> np.ndarray:
        narrow = checks.host_cast(self._name, "X", named, x, float_type())
        if x.dtype != narrow.dtype and (lost := checks.loss_of_digits("X", named, x, narrow.dtype)):
            checks.warn(f"{self._name}: {lost}", UserWarning)
        return narrow

    def _validate_both(self, x: Any, y: Any, **options: Any) -> tuple[Any, Any]:
        """Columns, narrow, and targets."""
        x, y = self._validate(x, y, dtype=FLOATS, accept_sparse="csr", multi_output=True, allow_nd=True, **options)
        return self._narrow(x), y

    def _validate(self, *arrays: Any, **options: Any) -> Any:
        """`validate_data` as NumPy arrays, also where scikit-learn is told to leave those of other libraries."""
        for name, array in zip("Xy", arrays, strict=False):
            checks.every_value(self._name, name, array)
        with config_context(array_api_dispatch=False):
            return validate_data(self, *arrays, **options)

    def _answer(self, x: Any, answer: np.ndarray) -> Any:
        """The answer to `x`, under array API dispatch in its library and on its device; classes that are texts, which
        only NumPy has, stay NumPy's."""
        if not get_config()["array_api_dispatch"] or issparse(x) or hasattr(x, "columns") or answer.dtype.kind in "OUS":
            return answer
        library, _, device = get_namespace_and_device(x)
        return library.asarray(answer, device=device)

    def _weights(self, sample_weight: Any, x: Any) -> np.ndarray:
        if sample_weight is None:
            return np.ones(x.shape[0], float_type())
        checks.every_value(self._name, "sample_weight", sample_weight)
        with config_context(array_api_dispatch=False):
            weights = _check_sample_weight(sample_weight, x, dtype=float_type(), ensure_non_negative=True)
        check_weights(self._name, weights, x.shape[0])
        return weights
