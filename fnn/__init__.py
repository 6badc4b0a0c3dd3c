"""fnn: neural networks as pure functions over parameter pytrees, with jit-compiled kernels.

Layers, activations, combinators and verbs stand here (`fnn.conv`, `fnn.relu`, `fnn.serial`, `fnn.fit`); families stand
in their module (`fnn.losses`, `fnn.optim`, `fnn.schedules`, `fnn.initializers`, `fnn.metrics`, `fnn.tasks`, …).
"""

import importlib
from typing import TYPE_CHECKING, Any

# First of all, so that a JAX that is too old is named before anything fails for want of a name in it.
from fnn.versions import __version__

# isort: split
from fnn import (
    activations,
    initializers,
    kernels,
    layer,
    layers,
    losses,
    metrics,
    models,
    optim,
    programs,
    schedules,
    tasks,
    train,
)
from fnn.activations import *
from fnn.layer import *
from fnn.layers import *
from fnn.train import *

if TYPE_CHECKING:
    from fnn import callbacks, data, devices, diagnostics, estimators, interop, plot, saving, selection, testing

_ROOMS = (
    "activations", "initializers", "kernels", "losses", "metrics", "models", "optim", "programs", "schedules", "tasks",
)  # fmt: skip
# Rooms that a training script may never enter are opened on first use: `import fnn` stays light.
_LAZY = (
    "callbacks", "data", "devices", "diagnostics", "estimators", "interop", "plot", "saving", "selection", "testing",
)  # fmt: skip
_SAVING = ("Exported", "Metadata", "export", "load", "load_exported", "read_metadata", "save")
_LAZY_NAMES = {"guide": "choices", "summary": "diagnostics", **dict.fromkeys(_SAVING, "saving")}

__all__ = sorted({*activations.__all__, *layer.__all__, *layers.__all__, *train.__all__, *_ROOMS, *_LAZY, *_LAZY_NAMES})


# Modules of these packages are layers too; what knows how is opened when the first one comes.
layer.protocol.adapters |= dict.fromkeys(
    ("flax", "equinox"), lambda module: importlib.import_module("fnn.interop").module_layer(module)
)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"fnn.{name}")
    if name in _LAZY_NAMES:
        return getattr(importlib.import_module(f"fnn.{_LAZY_NAMES[name]}"), name)
    raise AttributeError(f"module 'fnn' has no attribute {name!r}{'' if name.startswith('_') else _repair_of(name)}")


_ELSEWHERE = {"linear": "dense", "fc": "dense", "sequential": "serial", "concat": "concatenate"}


def _repair_of(name: str) -> str:
    """What to write in the place of a name that stands in a room, or that other libraries have; nothing if unknown."""
    import difflib

    plain = name.lower().removesuffix("1d").removesuffix("2d").removesuffix("3d")
    for room in ("losses", "optim", "schedules", "metrics", "tasks", "models", "initializers", "data", "selection"):
        for word in (name, plain):
            if word in importlib.import_module(f"fnn.{room}").__all__:
                return f"; write fnn.{room}.{word}"
    near = difflib.get_close_matches(_ELSEWHERE.get(plain, plain), __all__, 1, 0.8)
    return f"; write fnn.{near[0]}" if near else ""


def __dir__() -> list[str]:
    """What a user may write after `fnn.`: the rooms opened on first use too, nothing that is here by the way."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
