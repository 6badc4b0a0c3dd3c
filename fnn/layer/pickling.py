"""What pickle is told of a model."""

from __future__ import annotations

import sys
from typing import Any


def require_by_value(name: str) -> None:
    """Require a pickler that writes functions too: cloudpickle, also inside joblib or ray, or dill.

    Raises:
        TypeError: under pickle itself, saying what to do instead.
    """
    frame: Any = sys._getframe(1)
    while frame is not None:
        if {"cloudpickle", "dill", "_dill"} & set(frame.f_globals.get("__name__", "").split(".")):
            return
        frame = frame.f_back
    raise TypeError(
        f"pickle: {name} is made of functions, which pickle cannot write; keep what was trained by fnn.save(path, "
        "trained), build the model by the same call where it is read, and write fnn.load(path, like=(model, x)); or "
        "write one program that runs without fnn, fnn.export; cloudpickle, which joblib uses between processes, writes "
        "functions"
    )
