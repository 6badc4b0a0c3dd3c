"""A fingerprint in words that another process finds again, or the reason why it cannot.

Inside one process a function of a library is its code object, and a class is itself. Beyond it they are their names and
what they say, together with the installed versions and fnn's own files. What a traced function could have read of its
surroundings (files, clocks, variables of the environment) is nowhere in the fingerprint: a function of the user's that
touches a module which could is refused.
"""

from __future__ import annotations

import functools
import os
import sys
import types
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np

from fnn.programs.code import is_library, libraries, text
from fnn.programs.fingerprint import Fingerprint
from fnn.programs.walk import Same, Unknown

PURE = frozenset({
    "fnn", "jax", "jaxlib", "numpy", "optax", "chex", "flax", "haiku", "equinox", "ml_dtypes", "opt_einsum",
    "builtins", "math", "cmath", "operator", "functools", "itertools", "collections", "dataclasses", "typing",
    "typing_extensions", "types", "enum", "abc", "numbers", "fractions", "string", "copy",
    "_operator", "_functools", "_collections",
})  # fmt: skip
"""Packages whose functions give the same for the same arguments, apart from those below."""

IMPURE = frozenset({
    "load", "loadtxt", "genfromtxt", "fromfile", "fromregex", "memmap", "open_memmap", "DataSource", "random",
    "open", "input", "eval", "exec", "globals", "vars", "__import__", "id", "hash", "print",
})  # fmt: skip
"""Names of functions, in whatever pure package, that ask something else than their arguments, or say something."""

FILES = (
    "numpy.random", "fnn.files", "fnn.interop", "fnn.saving", "fnn.programs", "fnn.devices",
    "fnn.data.array_files", "fnn.data.datasets", "fnn.data.image_files",
)  # fmt: skip
"""Modules of pure packages that are not."""

MARKS = frozenset({"_MISSING_TYPE", "_HAS_DEFAULT_FACTORY_CLASS", "_KW_ONLY_TYPE"})
"""Classes of `dataclasses` with one instance each."""


def words_of(fingerprint: Fingerprint) -> str:
    """The fingerprint in words; `Unknown` if it names what only this process has, or whose result no other knows."""
    for entry in fingerprint.table:
        _require_pure(entry)
    return "".join(f"{_say(entry)};" for entry in (fingerprint.root, *fingerprint.table))


def _say(x: Hashable) -> str:
    if isinstance(x, Same):
        return _name(x.of())
    if isinstance(x, tuple):
        return f"({','.join(map(_say, x))})"
    if x is None or isinstance(x, (str, bytes, int, float, np.dtype, jax.sharding.SingleDeviceSharding)):
        return repr(x)
    raise Unknown(f"a {type(x).__qualname__}")


def _require_pure(entry: Any) -> None:
    """Of entries that name something of a library: that it computes from its arguments alone."""
    kind, *names = entry[2:] if entry[0] == "recursive" else entry
    if kind == "module" or (kind == "imports" and names):  # what is read of it is not known
        raise Unknown(f"a function that imports {names[0]} when it is called, or hands it on as a whole")
    if kind == "cached":  # it may have kept what it once read
        raise Unknown("a function that remembers what it gave")
    if kind == "type":
        names = [names[0].of().__module__, names[0].of().__qualname__]
    elif kind not in ("named", "builtin"):
        return
    module, name = f"{names[0] or 'builtins'}", names[1]
    inside = module.startswith(FILES) or (module, name) == ("numpy", "random")
    if module.partition(".")[0] not in PURE or inside or (IMPURE.intersection(name.split(".")) and names[0]):
        raise Unknown(f"a function that uses {module}.{name}, which may give something else in another process")


def _name(x: Any) -> str:
    if isinstance(x, types.CodeType):
        return f"code {x.co_qualname} {text(x)!r}"
    if isinstance(x, type):
        if _is_tree(x):
            raise Unknown(f"class {x.__qualname__}, a tree to JAX by functions that do not stand in it")
        return f"class {x.__module__} {x.__qualname__}"
    if type(x).__module__ == "dataclasses" and type(x).__qualname__ in MARKS:
        return f"mark {type(x).__qualname__}"
    if type(x) is object:
        for place, mark in _marks():
            if mark is x:
                return f"mark {place}"
    raise Unknown(f"a {type(x).__qualname__} that only this process has")


def _is_tree(x: type) -> bool:
    """Whether a class of the user's was registered with JAX: asked of an instance without content."""
    if is_library(x.__module__):
        return False
    try:
        return jax.tree_util.default_registry.flatten_one_level(object.__new__(x)) is not None
    except TypeError:  # a named tuple, a class that is abstract: not made like this
        return False
    except Exception:  # functions that look for the content
        return True


def kinds(tree: Any) -> set[type]:
    """Classes of the nodes of a tree: what an argument's leaves mean is said by them."""
    data = tree.node_data()
    return set().union(*map(kinds, tree.children()), () if data is None else (data[0],))


def _marks() -> Iterator[tuple[str, Any]]:
    """fnn's own marks, which are asked for by `is`, by the modules they stand in."""
    for name in sorted(name for name in sys.modules if name.partition(".")[0] == "fnn"):
        yield from ((f"{name}.{own}", value) for own, value in vars(sys.modules[name]).items() if type(value) is object)


@functools.cache
def surroundings() -> str:
    """What decides a program beside its description: versions, fnn's own files, variables, the device."""
    device = jax.local_devices()[0]
    installed = sorted(
        entry.name
        for place in libraries()
        if os.path.isdir(place)
        for entry in os.scandir(place)
        if entry.name.endswith((".dist-info", ".egg-info"))
    )
    own = Path(__file__).parent.parent
    files = [(str(path.relative_to(own)), path.stat()) for path in sorted(own.rglob("*.py"))]
    sources = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files]
    prefixes = ("JAX_", "XLA_", "FNN_")
    set_here = sorted(item for item in os.environ.items() if item[0].startswith(prefixes) and "CACHE" not in item[0])
    versions = (sys.version, sys.flags.optimize, jax.__version__, jaxlib.__version__)
    return repr((versions, installed, sources, set_here, str(device), device.device_kind))


@functools.cache
def _names_of_settings() -> tuple[str, ...]:
    silent = ("jax_log", "jax_debug_log", "jax_dump", "jax_explain", "jax_persistent_cache", "jax_compilation_cache")
    return tuple(name for name in sorted(jax.config.values) if not name.startswith(silent))


def settings() -> tuple[Any, ...]:
    """JAX's settings now, also those of a `with`: what is traced under other ones is another program."""
    return tuple(getattr(jax.config, name, None) for name in _names_of_settings())
