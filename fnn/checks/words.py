"""Words: how fnn warns, and what it calls the things it was given."""

from __future__ import annotations

import functools
import numbers
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

_BETWEEN = frozenset({"fnn", "jax", "jaxlib", "importlib", "contextlib", "functools", "sklearn", "joblib"})
"""Packages that may stand between a user's line and the place where fnn warns."""


def warn(message: str, category: type[Warning] = RuntimeWarning) -> None:
    """Warn at the user's line: the innermost frame that is neither in fnn nor in a package that called it."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        frame = frame.f_back
    module = frame.f_globals.get("__name__", "<unknown>")
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, category, frame.f_code.co_filename, frame.f_lineno, module, registry)


def is_concrete(value: Any) -> bool:
    """Whether `value` can be compared now: it is not traced by jit, grad or vmap."""
    return not isinstance(value, jax.core.Tracer)


def is_iterator(node: Any) -> bool:
    """Of which JAX wants to hear that it is no tree."""
    return hasattr(node, "__next__")


def are_known(*given: Any) -> bool:
    """Whether all can be computed with piece after piece: nothing is traced, and no program is that surrounds them."""
    leaves = jax.tree.leaves(given, is_leaf=is_iterator)
    return all(map(is_concrete, leaves)) and is_concrete(jax.device_put(np.zeros(())))


def to_host(value: Any) -> Any:
    """A JAX array as a NumPy array: inside `jit` even a comparison of a concrete JAX array is traced."""
    return np.asarray(value) if isinstance(value, jax.Array) and is_concrete(value) else value


def bare(function: Any) -> Any:
    """The function inside `functools.partial`."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def describe(x: Any) -> str:
    """`float32[128,10]` for an array, the type's name for anything else."""
    if isinstance(x, list) and x and all(isinstance(leaf, numbers.Number) for leaf in jax.tree.leaves(x)):
        return f"list of {len(x)}"
    if isinstance(x, tuple) and hasattr(x, "_fields") and any(map(callable, x)):
        return " ".join([type(x).__name__, getattr(x, "name", "")]).strip()  # Layer dense(2), Transform
    if isinstance(x, (tuple, list)):
        return "(" + ", ".join(map(describe, x)) + ")"
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return f"{x.dtype}[{','.join(map(str, x.shape))}]"
    return type(x).__name__


MOST_LETTERS = 200


def describe_given(value: Any) -> str:
    """A short plain value as it is written, a function by its name, anything else by its kind; a long text is cut."""
    if callable(value):
        return name_of(value)
    short = type(value) in (list, tuple, dict, set, frozenset) and len(value) <= 20
    if value is None or short or isinstance(value, str | bytes | numbers.Number):
        text = repr(value)
        if isinstance(value, str | bytes) and len(text) > MOST_LETTERS:
            return f"{text[:MOST_LETTERS]}…"
        if not short or (len(text) <= 60 and "\n" not in text and " at 0x" not in text):
            return text
    return describe(value)


def call_text(name: str, args: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
    """The call that built something, as it is written."""
    given = [*map(_argument_text, args), *(f"{key}={_argument_text(value)}" for key, value in kwargs.items())]
    return f"{name}({', '.join(given)})"


def _argument_text(value: Any) -> str:
    if isinstance(value, jax.Array | np.ndarray):
        return describe(value)
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    name = getattr(value, "name", None)  # of a layer, a task
    return name if isinstance(value, tuple) and isinstance(name, str) else repr(value)


SAID = 4
"""Faults named in one message."""


def first_few(faults: Sequence[str]) -> str:
    """As many as a message names, and how many more there are."""
    more = f"; and {len(faults) - SAID} more" if len(faults) > SAID else ""
    return "; ".join(faults[:SAID]) + more


def hint_of(repair: str) -> str:
    """What to write, behind what came; nothing where nothing is known."""
    return f"; {repair}" if repair else ""


def name_of(value: Any) -> str:
    """What to call something that was passed without being called, or called without being passed."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = getattr(value, "__name__", "") if callable(value) else ""
    return f"the function {name}" if name else type(value).__name__


def _is_size(part: Any) -> bool:
    """A whole number, or what `init` made of one."""
    return isinstance(part, int) or (getattr(part, "shape", None) == () and np.issubdtype(part.dtype, np.integer))


def not_an_array(where: str, name: str, x: Any) -> TypeError:
    """The error about something that has no shape or dtype."""
    kind = type(x).__name__
    home = type(x).__module__.partition(".")[0]
    if hasattr(x, "lengths"):
        repair = f"write fnn.time_distributed({where}) if it computes every step alone; x.values has the padding in it"
    elif home == "torch":
        repair = f"write jax.numpy.asarray({name}.numpy()), channels last"
    elif hasattr(x, "toarray"):
        repair = f"write {name}.toarray()"
    elif hasattr(x, "to_numpy"):
        repair = f'write {name}.to_numpy(dtype="float32")'
    elif isinstance(x, list | tuple) and x and all(map(_is_size, x)):
        repair = f"where a shape is meant, write jax.ShapeDtypeStruct(shape, jax.numpy.float32) for {name}"
    elif isinstance(x, tuple) and any(hasattr(part, "shape") for part in x):
        repair = "write fnn.Padded(x, lengths) for sequences of several lengths; merge= of fnn.parallel joins outputs"
    elif isinstance(x, list | tuple):
        repair = f"write jax.numpy.asarray({name})"
    else:
        repair = f"give {name} as an array of jax.numpy or numpy"
    return TypeError(f"{where}: expected {name} to be an array, got {kind}; {repair}")
