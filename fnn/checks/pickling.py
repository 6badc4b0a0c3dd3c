"""What pickle is told of values that are made of functions."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from types import FrameType, FunctionType
from typing import Any, TypeVar

from fnn.checks.words import describe

Kind = TypeVar("Kind", bound=type)

BY_THE_SAME_CALL = "by the same call where it is read"


def refuse_pickling(instead: str) -> Callable[[Kind], Kind]:
    """Decorate a named tuple of functions: copies are the value itself, and pickle is told what to write instead.

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
    if not _writes_functions(sys._getframe(2)):
        raise TypeError(
            f"pickle: {what} is made of functions, which pickle cannot write; {instead}; cloudpickle, which joblib "
            "uses between processes, writes functions"
        )


def _writes_functions(frame: FrameType | None) -> bool:
    """Whether the pickler at work can: `__reduce_ex__` is not told which one asks, so it is sought among the callers.

    Python's own picklers write the name under which a function is imported; one written in C has no frame.
    """
    while frame is not None:
        for value in frame.f_locals.values():
            if issubclass(type(value), pickle._Pickler | pickle.Pickler):
                return _writes(value, lambda: None)
        frame = frame.f_back
    return False


def _writes(pickler: Any, function: Callable[[], None]) -> bool:
    """By `reducer_override`, as cloudpickle's do, or by an entry of its own in the dispatch table, as dill's do."""
    if (reduce := getattr(pickler, "reducer_override", None)) is not None:
        return reduce(function) is not NotImplemented
    usual = pickle._Pickler.dispatch[FunctionType]
    return getattr(pickler, "dispatch", {}).get(FunctionType, usual) is not usual
