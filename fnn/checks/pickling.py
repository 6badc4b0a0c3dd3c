"""What pickle is told of values that are made of functions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from fnn.checks.words import describe

Kind = TypeVar("Kind", bound=type)


def refuse_pickling(instead: str) -> Callable[[Kind], Kind]:
    """Decorate a named tuple of functions: copies are the value itself, and pickle is told what to write `instead`.

    A pickler that writes functions too takes it: cloudpickle, also inside joblib or ray, and dill.
    """

    def reduce(self: Any, protocol: Any) -> Any:
        _require_by_value(describe(self), instead)
        return type(self), tuple(self)

    def decorate(kind: Kind) -> Kind:
        methods = {"__copy__": lambda self: self, "__deepcopy__": lambda self, memo: self, "__reduce_ex__": reduce}
        for name, method in methods.items():
            setattr(kind, name, method)
        return kind

    return decorate


def _require_by_value(what: str, instead: str) -> None:
    frame: Any = sys._getframe(2)
    while frame is not None:
        if {"cloudpickle", "dill", "_dill"} & set(frame.f_globals.get("__name__", "").split(".")):
            return
        frame = frame.f_back
    raise TypeError(
        f"pickle: {what} is made of functions, which pickle cannot write; {instead}; cloudpickle, which joblib uses "
        "between processes, writes functions"
    )
