"""The walk over a description: every object becomes an entry of a flat table, which names others by their place."""

from __future__ import annotations

import abc
import argparse
import builtins
import collections
import dataclasses
import enum
import functools
import hashlib
import sys
import types
import typing
import weakref
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.programs.code import Use, is_library, library_name, read

ATOMS = (int, float, complex, str, bytes, bool, type(None), type(Ellipsis), type(NotImplemented), range)
VALUES = (
    np.dtype, jax.sharding.Mesh, jax.sharding.Sharding, jax.sharding.PartitionSpec, jax.Device,
    jax.ShapeDtypeStruct, jax.tree_util.PyTreeDef,
)  # fmt: skip
"""Kinds that compare and hash by value and cannot change."""

SMALL = 2**20
"""Bytes up to which a JAX array is its contents."""

IMPURE = frozenset({"eval", "exec", "globals", "__import__", "open", "input"})
NAMESPACES = (types.SimpleNamespace, argparse.Namespace)
PLAIN = (object, abc.ABC, typing.Generic, typing.Protocol)
UNREAD = frozenset({
    "__dict__", "__weakref__", "__module__", "__qualname__", "__annotations__", "__annotate__", "__annotate_func__",
    "__annotations_cache__", "__firstlineno__", "__static_attributes__", "__hash__", "__orig_bases__",
    "__parameters__", "__type_params__", "__abstractmethods__", "_abc_impl", "__dataclass_fields__",
    "__dataclass_params__",
})  # fmt: skip
"""What stands in every class and computes nothing."""

PACKAGE = __name__.partition(".")[0]

INTERIOR = frozenset({"__globals__", "__builtins__", "__subclasses__", "__annotations__", "f_globals", "f_builtins"})
"""Attributes by which a function finds what it does not name."""

UNSAID = ("_fun", "_jit_info")
"""What `functools.wraps` copies from a function that JAX has compiled."""

DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType, type(Use.name))


class Unknown(TypeError):
    """What cannot be compared: a tracer, or an object that nothing can be said of."""


class Same:
    """An object compared by being the same one, without keeping it alive."""

    __slots__ = ("of", "own")

    def __init__(self, value: Any) -> None:
        self.of: Callable[[], Any] = (lambda: value) if type(value) is object else weakref.ref(value)
        self.own = id(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.of() is not None and self.of() is other.of()

    def __hash__(self) -> int:
        return self.own


class Walk:
    """Objects as numbers of entries in a table: an entry twice is one number, an object inside itself is `again`."""

    def __init__(self) -> None:
        self.table: dict[Hashable, int] = {}
        # The objects stay here, so that no other one takes the place in memory by which they are known.
        self.done: dict[int, tuple[Hashable, Any]] = {}
        self.open: dict[int, list[Any]] = {}
        self.count = 0

    def of(self, x: Any) -> Hashable:
        if type(x) in ATOMS:
            return (type(x).__name__, repr(x))
        if isinstance(x, VALUES):
            return (type(x).__name__, x)
        if id(x) in self.done:
            return self.done[id(x)][0]
        if id(x) in self.open:
            self.open[id(x)][1] = True
            return ("again", self.open[id(x)][0])
        self.count += 1
        self.open[id(x)] = [self.count, False]
        try:
            entry = self.entry(x)
        finally:
            place, again = self.open.pop(id(x))
        if again:
            entry = ("recursive", place, *entry)
        number = self.place(entry)
        self.done[id(x)] = (number, x)
        return number

    def place(self, entry: Hashable) -> int:
        return self.table.setdefault(entry, len(self.table))

    def entry(self, x: Any) -> tuple[Hashable, ...]:
        if isinstance(x, jax.core.Tracer):
            raise Unknown(f"a traced value, {x.aval}")
        for kinds, describe in _KINDS:
            if isinstance(x, kinds):
                return describe(self, x)
        return self.object(x)

    def function(self, x: types.FunctionType) -> tuple[Hashable, ...]:
        if named := library_name(x):
            return named
        library = is_library(x.__globals__.get("__name__"))
        held = dict(zip(x.__code__.co_freevars, map(_content, x.__closure__ or ()), strict=True))
        # Of a module that a function of the user's captured, `attribute` takes what is read of it.
        cells = tuple(
            "module" if isinstance(value, types.ModuleType) and not library else self.of(value)
            for value in held.values()
        )
        given = (x.__name__, self.of(x.__defaults__), self.of(x.__kwdefaults__))
        if library:
            return ("function", Same(x.__code__), x.__module__, cells, *given)
        reading = read(x.__code__)
        if foreign := [name for name in reading.imports if not is_library(name)]:
            raise Unknown(f"function {x.__qualname__}, which imports {foreign[0]} when it is called")
        if interior := INTERIOR.intersection(reading.attributes):
            raise Unknown(f"function {x.__qualname__}, which reads {min(interior)}")
        outside = tuple((use, self.read(x, use)) for use in reading.globals)
        inner = tuple((use, self.attribute(held[use.name], use)) for use in reading.free)
        marks = {name: value for name, value in vars(x).items() if name not in UNSAID}
        return ("function", reading.text, tuple(zip(held, cells, strict=True)), inner, *given, outside, self.of(marks),
                self.place(("imports", *reading.imports)))  # fmt: skip

    def read(self, x: types.FunctionType, use: Use) -> Hashable:
        """A global that a function of the user's reads."""
        if use.name in x.__globals__:
            return self.attribute(x.__globals__[use.name], use)
        if use.name in IMPURE:
            raise Unknown(f"function {x.__qualname__}, which calls {use.name}")
        return self.of(getattr(builtins, use.name)) if hasattr(builtins, use.name) else "absent"

    def attribute(self, value: Any, use: Use) -> Hashable:
        """A value; of a module only the attribute that is read."""
        path = list(use.attributes)
        library = None
        while isinstance(value, types.ModuleType) and path:
            name = path.pop(0)
            library = ("named", value.__name__, ".".join((name, *path))) if is_library(value.__name__) else None
            # A library may warn of a name that it makes when asked; this one opens a room.
            found = name in vars(value) if library and value is not sys.modules[PACKAGE] else hasattr(value, name)
            if not found:
                return self.place(library) if library else "absent"
            value = getattr(value, name)
        if isinstance(value, types.ModuleType) and not is_library(value.__name__):
            raise Unknown(f"module {value.__name__}, handed on as a whole")
        try:
            return self.of(value)
        except Unknown:
            if library is None or isinstance(value, Mapping):  # os.environ is no constant
                raise
        try:  # what is read of an object of a library, an option that was set anew
            return self.place((*library, self.of(getattr(value, path[0]))))
        except Exception:
            return self.place(library)

    def builtin(self, x: Any) -> tuple[Hashable, ...]:
        owner = getattr(x, "__self__", None)
        own = None if isinstance(owner, types.ModuleType) else self.of(owner)
        return ("builtin", getattr(x, "__module__", None), x.__qualname__, own)

    def partial(self, x: functools.partial[Any]) -> tuple[Hashable, ...]:
        return ("partial", self.of(type(x)), self.of(x.func), self.of(x.args), self.of(x.keywords), self.of(vars(x)))

    def sequence(self, x: Any) -> tuple[Hashable, ...]:
        if type(x) not in (tuple, list) and not hasattr(type(x), "_fields"):
            raise Unknown(f"a {type(x).__qualname__}")
        kind = None if type(x) in (tuple, list) else (self.of(type(x)), self.of(getattr(x, "__dict__", None)))
        return (type(x).__name__, kind, *map(self.of, x))

    def mapping(self, x: Any) -> tuple[Hashable, ...]:
        if type(x) not in (dict, collections.OrderedDict, types.MappingProxyType):
            raise Unknown(f"a {type(x).__qualname__}")
        return (type(x).__name__, *((self.of(key), self.of(value)) for key, value in x.items()))

    def set(self, x: Any) -> tuple[Hashable, ...]:
        if any(type(value) not in ATOMS for value in x):
            raise Unknown("a set of more than numbers and texts")
        return (type(x).__name__, *sorted(map(repr, map(self.of, x))))

    def array(self, x: Any) -> tuple[Hashable, ...]:
        kind: tuple[Hashable, ...] = (str(x.dtype), x.shape)
        if isinstance(x, jax.Array):
            kind = (*kind, getattr(x, "weak_type", False), x.sharding)
            if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
                return ("key", *kind, self.of(jax.random.key_data(x)))
            if x.nbytes > SMALL or not x.is_fully_addressable:
                return ("array", *kind, Same(x))
        elif x.dtype.hasobject or type(x) not in (np.ndarray, np.memmap):
            raise Unknown(f"a {type(x).__qualname__} of {x.dtype}")
        data = np.ascontiguousarray(x)
        return ("array", type(x).__name__, *kind, hashlib.blake2b(data.tobytes()).digest())

    def type(self, x: type) -> tuple[Hashable, ...]:
        if is_library(x.__module__):
            return ("type", Same(x))
        inside = [(name, value) for name, value in vars(x).items() if name not in UNREAD]
        kept = ((name, self.of(value)) for name, value in inside if not isinstance(value, DESCRIPTORS))
        said = [(field.name, field.metadata) for field in getattr(x, "__dataclass_fields__", {}).values()]
        return ("class", Same(x), self.of(type(x)), *map(self.of, x.__bases__), *kept, self.of(said))

    def descriptor(self, x: Any) -> tuple[Hashable, ...]:
        if type(x) not in (property, classmethod, staticmethod, functools.cached_property):
            raise Unknown(f"a {type(x).__qualname__}")
        inside = (x.fget, x.fset, x.fdel) if isinstance(x, property) else (getattr(x, "func", None) or x.__func__,)
        return (type(x).__name__, *map(self.of, inside))

    def object(self, x: Any) -> tuple[Hashable, ...]:
        """An instance: of a class of the user's, frozen fields, a function that JAX has wrapped, a name."""
        kind = type(x)
        if kind is object or kind.__module__ == "dataclasses":  # a mark that is asked for by `is`
            return ("mark", Same(x))
        if named := library_name(x):
            return named
        if kind.__module__.partition(".")[0] in ("jax", "jaxlib") and hasattr(x, "__wrapped__"):
            inside = {name: value for name, value in vars(x).items() if not name.startswith("_")}
            how: dict[str, Any] = getattr(vars(x).get("_jit_info"), "_asdict", dict)()
            return ("wrapped", self.of(kind), self.of(x.__wrapped__), self.of(inside),
                    *(repr(value) for name, value in how.items() if not name.startswith("fun_")))  # fmt: skip
        if kind in NAMESPACES:
            return ("namespace", kind.__name__, self.of(vars(x)))
        if dataclasses.is_dataclass(x) and kind.__dataclass_params__.frozen:
            fields = {field.name: getattr(x, field.name, None) for field in dataclasses.fields(x)}
            own = {} if is_library(kind.__module__) else {**getattr(x, "__dict__", {})}
            return ("fields", self.of(kind), self.of({**fields, **own}))
        if all(part in PLAIN or not is_library(part.__module__) for part in kind.__mro__):
            return ("instance", self.of(kind), self.of({**_slots(x), **getattr(x, "__dict__", {})}))
        if kind.__module__ == "operator":
            return ("operator", self.of(x.__reduce__()))
        raise Unknown(f"a {kind.__module__}.{kind.__qualname__}")


def _slots(x: Any) -> dict[str, Any]:
    members = [one for part in type(x).__mro__ for one in vars(part).items()]
    slots = {name: one for name, one in members if isinstance(one, types.MemberDescriptorType)}
    return {name: getattr(x, name) for name in slots if hasattr(x, name)}


def _member(walk: Walk, x: enum.Enum) -> tuple[Hashable, ...]:
    known = ("_value_", "_name_", "__objclass__", "_sort_order_")
    return ("enum", walk.of(type(x)), x.name, walk.of({name: of for name, of in vars(x).items() if name not in known}))


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return types.CellType  # an empty one


_KINDS: tuple[tuple[Any, Callable[[Walk, Any], tuple[Hashable, ...]]], ...] = (
    (types.FunctionType, Walk.function),
    (types.MethodType, lambda walk, x: ("method", walk.of(x.__func__), walk.of(x.__self__))),
    ((types.BuiltinFunctionType, types.MethodWrapperType, types.WrapperDescriptorType, types.MethodDescriptorType),
     Walk.builtin),
    (functools.partial, Walk.partial),
    (enum.Enum, _member),
    (slice, lambda walk, x: ("slice", walk.of(x.start), walk.of(x.stop), walk.of(x.step))),
    ((tuple, list), Walk.sequence),
    ((dict, types.MappingProxyType), Walk.mapping),
    ((set, frozenset), Walk.set),
    (np.ufunc, lambda walk, x: library_name(x) or _refuse(x)),
    (np.generic, lambda walk, x: ("scalar", str(x.dtype), x.tobytes())),
    ((np.ndarray, jax.Array), Walk.array),
    (type, Walk.type),
    (types.ModuleType, lambda walk, x: ("module", x.__name__) if is_library(x.__name__) else _refuse(x)),
    ((property, classmethod, staticmethod, functools.cached_property), Walk.descriptor),
    (functools._lru_cache_wrapper, lambda walk, x: library_name(x) or ("cached", walk.of(x.__wrapped__))),
)  # fmt: skip


def _refuse(x: Any) -> typing.NoReturn:
    raise Unknown(f"a {type(x).__qualname__} {getattr(x, '__name__', '')}".rstrip())
