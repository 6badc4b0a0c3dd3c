"""What the code of a function says, and which names outside of it that code reads."""

from __future__ import annotations

import dis
import functools
import operator
import os
import site
import sys
import sysconfig
import types
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
FREE = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
ATTRIBUTE = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
SILENT = frozenset({"EXTENDED_ARG", "CACHE", "PUSH_NULL", "NOP"})


class Use(NamedTuple):
    """A name that is read, `cfg` in `cfg.inner.rate`, with the attributes that follow it, `("inner", "rate")`."""

    name: str
    attributes: tuple[str, ...]


class CodeReading(NamedTuple):
    """A code object as a value, and what it reads: globals, variables of the functions around it, modules, and what
    attributes of whatever it handles."""

    text: tuple[Any, ...]
    globals: tuple[Use, ...]
    free: tuple[Use, ...]
    imports: tuple[str, ...]
    attributes: tuple[str, ...]


@functools.lru_cache(maxsize=4096)
def read(code: types.CodeType) -> CodeReading:
    """The same text for the same code, wherever it stands in its file."""
    found: dict[str, dict[Any, None]] = {kind: {} for kind in CodeReading._fields[1:]}
    for part in _codes_within(code):
        lines = [line for line in dis.get_instructions(part) if line.opname not in SILENT]
        for place, line in enumerate(lines):
            if line.opname in GLOBAL:
                found["globals"][Use(line.argval, _attributes(lines, place + 1))] = None
            elif line.opname in FREE and line.argval in code.co_freevars:
                found["free"][Use(line.argval, _attributes(lines, place + 1))] = None
            elif line.opname == "IMPORT_NAME":
                # How many packages up: `from .math import rate` is not Python's `math`.
                level = lines[place - 2].argval
                found["imports"]["." * (level if isinstance(level, int) else 1) + line.argval] = None
            elif line.opname in ATTRIBUTE:
                found["attributes"][line.argval] = None
    return CodeReading(text(code), *map(tuple, found.values()))


def _attributes(lines: list[dis.Instruction], place: int) -> tuple[str, ...]:
    end = place
    while end < len(lines) and lines[end].opname in ATTRIBUTE:
        end += 1
    return tuple(line.argval for line in lines[place:end])


def _codes_within(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes_within(constant)


def text(code: types.CodeType) -> tuple[Any, ...]:
    """Everything that decides what the code computes; file and line numbers do not."""
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    constants = tuple(map(_constant, code.co_consts))
    return (code.co_code, constants, names, counts, code.co_exceptiontable)


def _constant(value: Any) -> Any:
    """1, 1.0 and True are equal in Python, and 0.0 and -0.0: here they are not."""
    if isinstance(value, types.CodeType):
        return ("code", text(value))
    if isinstance(value, tuple):
        return ("tuple", *map(_constant, value))
    if isinstance(value, frozenset):
        return ("frozenset", *sorted(map(_constant, value), key=repr))
    return (type(value).__name__, repr(value))


@functools.cache
def libraries() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    kept = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    kept += [*site.getsitepackages(), site.getusersitepackages()] if hasattr(site, "getsitepackages") else []
    return tuple(os.path.join(os.path.realpath(path), "") for path in kept)


@functools.lru_cache(maxsize=4096)
def is_library(module: str | None) -> bool:
    """Whether a module is fnn's, Python's, or installed: its functions are known by their names alone."""
    top = (module or "").partition(".")[0]
    if top in ("fnn", "builtins"):
        return True
    known = sys.modules.get(top)
    if known is None or top == "__main__":
        return False
    file = getattr(known, "__file__", None) or next(iter(getattr(known, "__path__", ())), None)
    return top in sys.stdlib_module_names if file is None else os.path.realpath(file).startswith(libraries())


def library_name(x: Any) -> tuple[Hashable, ...] | None:
    """A library's own object, found under its name: nothing in it needs to be looked at."""
    module, name = getattr(x, "__module__", None), getattr(x, "__qualname__", None) or getattr(x, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not is_library(module):
        return None
    try:
        found = operator.attrgetter(name)(sys.modules[module])
    except (AttributeError, KeyError):
        return None
    return ("named", module, name) if found is x else None
