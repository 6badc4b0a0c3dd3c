"""Layers and functions on their way through a pickle."""

from __future__ import annotations

import pickle
from typing import Any

import joblib


class Carried:
    """A layer or function that pickles by name where it has one, by value where it is a closure."""

    def __init__(self, name: str, value: Any) -> None:
        self.name, self.value = name, value

    def __deepcopy__(self, memo: Any) -> Carried:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        reasons: list[Exception] = []
        for form in (lambda value: value, lambda value: joblib.wrap_non_picklable_objects(value, keep_wrapper=False)):
            try:
                return _load, (self.name, pickle.dumps(form(self.value)))
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                reasons.append(error)
        raise pickle.PicklingError(
            f"{self.name}={self.value!r} cannot be pickled ({reasons[-1]}); give a function that stands in a module: "
            "def network(outputs): return fnn.serial(fnn.dense(64), fnn.relu, fnn.dense(outputs))"
        )


def _load(name: str, data: bytes) -> Carried:
    return Carried(name, pickle.loads(data))
