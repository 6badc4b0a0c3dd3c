"""Programs that another process traced: read from disk, so that nothing is traced and written down again.

JAX's persistent cache saves the compiling. What is looked for in it has to be traced and lowered first, which takes
longer than to read it. Here the lowered program itself is kept, as `jax.export` writes it, under the words of its
description (`words_of`), of its arguments' shapes and dtypes, and of all that surrounds it. What is read is compiled by
JAX as ever, and found in its cache.

Only programs of arrays are kept, where JAX has one device (what it reads it commits to a device, which among several
would refuse arrays of the others), and none that warned while it was traced, because the next process would not hear
it; nor any that `jax.export` cannot write down, as those that call back into Python.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import pickle
import sys
import threading
import warnings
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.extend import core

from fnn.files import write_whole
from fnn.programs.fingerprint import Fingerprint, fingerprint
from fnn.programs.walk import Unknown
from fnn.programs.words import kinds, settings, surroundings, words_of

_lock = threading.RLock()
_directory: Path | None = None
_beside = ""
read = 0
"""How many programs of this process were traced by another one."""


def use(directory: Path | None, beside: str = "") -> None:
    """Look for programs in this directory, and keep new ones there; None: no more, as where JAX has several devices.
    `beside` is what else decides them, as the cores of this machine."""
    global _directory, _beside
    _directory, _beside = directory, beside


Lowered = tuple[Any, bytes]
"""A program as it stands in a file: the tree of its results with their numbers as leaves, and what gives the leaves."""


class Program:
    """A jitted function of a description and arguments that is looked for on disk before it is traced."""

    def __init__(self, jitted: Any, name: tuple[str, str], donate: tuple[int, ...], description: Fingerprint) -> None:
        self.jitted, self.name, self.donate, self.description = jitted, name, donate, description
        self.known: dict[Hashable, Callable[..., Any] | None] = {}

    def __call__(self, given: Any, *arguments: Any) -> Any:
        if _directory is None:
            return self.jitted(given, *arguments)
        leaves, tree = jax.tree.flatten(arguments)
        forms = tuple(map(_form, leaves))
        if None in forms or _is_special():
            return self.jitted(given, *arguments)
        form = (tree, forms, settings())
        if form not in self.known:
            with _lock:  # the filters of warnings, which tracing sets aside, are those of all threads
                self.known[form] = self._find(_directory, form, given, arguments)
        call = self.known[form]
        return self.jitted(given, *arguments) if call is None else call(leaves)

    def _find(self, directory: Path, form: Any, given: Any, arguments: tuple[Any, ...]) -> Callable[..., Any] | None:
        """The program from disk, or traced now and written there; None where it cannot be kept."""
        global read
        try:
            words = f"{(self.name, self.donate, form, surroundings(), _beside)}{words_of(self.description)}"
            words += words_of(fingerprint(sorted(kinds(form[0]), key=repr)))
        except Unknown:
            return None
        if " at 0x" in words:  # something known by its place in memory
            return None
        path = directory / hashlib.blake2b(words.encode(), digest_size=16).hexdigest()
        counts = [len(jax.tree.leaves(argument)) for argument in arguments]
        donated = [place for which in self.donate for place in range(sum(counts[:which]), sum(counts[: which + 1]))]
        with contextlib.suppress(Exception):  # a file that is not there, or damaged: it is written anew
            call = _load(pickle.loads(_whole(path.read_bytes())), self.name[1], donated)
            read += 1
            return call
        lowered = self._lower(given, arguments)
        if lowered is None:
            return None
        content = pickle.dumps(lowered)
        with contextlib.suppress(OSError):  # a full disk is no reason to stop a run
            write_whole(path, lambda file: file.write(_digest(content) + content))
        return _load(lowered, self.name[1], donated)

    def _lower(self, given: Any, arguments: tuple[Any, ...]) -> Lowered | None:
        """Traced, where errors are those of the description, and then lowered for a file."""
        with _warnings_kept() as said:
            traced = self.jitted.trace(given, *arguments)
        if said or any(aval.weak_type for aval in traced.jaxpr.out_avals):
            return None
        try:
            exported = jax.export.export(self.jitted)(given, *arguments)
            results = jax.tree.unflatten(exported.out_tree, range(len(exported.out_avals)))
            of_leaves = jax.tree.structure((tuple(exported.in_avals), {}))
            flat = dataclasses.replace(
                exported, in_tree=of_leaves, out_tree=jax.tree.structure(tuple(exported.out_avals))
            )
            pickle.dumps(results)
            return results, bytes(flat.serialize())
        except Exception:  # whatever cannot be written down: callbacks, calls that JAX does not guarantee, own classes
            return None


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _whole(content: bytes) -> bytes:
    """What was written; one bit of it changed would be another constant."""
    if content[:16] != _digest(content[16:]):
        raise ValueError("damaged")
    return content[16:]


def _load(lowered: Lowered, name: str, donated: list[int]) -> Callable[[list[Any]], Any]:
    results, program = lowered
    exported = jax.export.deserialize(bytearray(program))
    structure = jax.tree.structure(results)

    def call(*leaves: Any) -> Any:
        return exported.call(*leaves)

    call.__name__ = name
    jitted = jax.jit(call, donate_argnums=donated)
    return lambda leaves: jax.tree.unflatten(structure, jitted(*leaves))


def _is_special() -> bool:
    """Whether programs are those of a mesh that was set or of an axis of `vmap`, or none are compiled, or what is no
    number is to be found in their lines."""
    config: Any = jax.config
    in_axis = getattr(core, "nonempty_axis_env_DO_NOT_USE", bool)
    watched: bool = config.jax_disable_jit or config.jax_debug_nans or config.jax_debug_infs
    return watched or not jax.sharding.get_abstract_mesh().empty or bool(in_axis())


def _form(leaf: Any) -> tuple[Any, ...] | None:
    """Shape, dtype and weak type of an array of NumPy or on the default device; None for anything else."""
    if isinstance(leaf, (np.ndarray, np.generic)):
        known = leaf.dtype.kind in "biufc" and leaf.dtype == jax.dtypes.canonicalize_dtype(leaf.dtype)
        return (leaf.shape, leaf.dtype, False) if known else None
    here = isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer) and leaf.sharding == _here()
    return (leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False)) if here else None  # keys have none


@functools.cache
def _here() -> jax.sharding.Sharding:
    return jax.sharding.SingleDeviceSharding(jax.local_devices()[0])


@contextlib.contextmanager
def _warnings_kept() -> Iterator[list[warnings.WarningMessage]]:
    """The warnings given inside, which are given again at its end, as they would have been: by the same module, whose
    registry knows which were given before."""
    said: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            yield said
    finally:
        modules = {getattr(module, "__file__", None): module for module in list(sys.modules.values())} if said else {}
        for one in said:
            names = vars(modules.get(one.filename, sys))
            module = names["__name__"] if one.filename in modules else None
            registry = names.setdefault("__warningregistry__", {})
            where = (one.filename, one.lineno, module, registry)
            warnings.warn_explicit(one.message, one.category, *where, source=one.source)
