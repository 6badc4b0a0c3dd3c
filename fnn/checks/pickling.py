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
        if not _writes_functions(sys._getframe(1)):
            raise TypeError(
                f"pickle: {describe(self)} is made of functions, which pickle cannot write; {instead}; cloudpickle, "
                "which joblib uses between processes, writes functions"
            )
        return type(self), tuple(self)

    def decorate(kind: Kind) -> Kind:
        methods = {"__copy__": lambda self: self, "__deepcopy__": lambda self, memo: self, "__reduce_ex__": reduce}
        for name, method in methods.items():
            setattr(kind, name, method)
        return kind

    return decorate


def _writes_functions(frame: FrameType | None) -> bool:
    """Whether the pickler at work can: `__reduce_ex__` is not told which one asks, so the method that called it tells.

    A method of Python calls it where functions are written: `save` of dill's, and cloudpickle's `dump`, by way of C.
    One of C alone has no frame: `pickle.dumps` writes the name under which a function is imported.
    """
    if frame is None or not frame.f_code.co_argcount:
        return False
    name, first = frame.f_code.co_name, frame.f_locals.get(frame.f_code.co_varnames[0])
    methods = (vars(kind).get(name) for kind in type(first).__mro__)
    is_its_own = any(getattr(method, "__code__", None) is frame.f_code for method in methods)
    is_pickler = issubclass(type(first), pickle._Pickler | pickle.Pickler)
    return is_its_own and is_pickler and _writes(first, lambda: None)


def _writes(pickler: Any, function: Callable[[], None]) -> bool:
    """By `reducer_override`, as cloudpickle's do, or by an entry of its own in the dispatch table, as dill's do."""
    if (reduce := getattr(pickler, "reducer_override", None)) is not None:
        return reduce(function) is not NotImplemented
    # Not the entry of Python's own table, which is dill's where dill is imported.
    by_name = pickle._Pickler.save_global  # type: ignore[attr-defined]
    return getattr(pickler, "dispatch", {}).get(FunctionType, by_name) is not by_name
