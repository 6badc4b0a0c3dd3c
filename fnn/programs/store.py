"""The compiled programs of this process: found again by what they compute, the least recently used ones dropped."""

from __future__ import annotations

import functools
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax

from fnn.programs import disk
from fnn.programs.fingerprint import Fingerprint, fingerprint
from fnn.programs.walk import Unknown

LIMIT = 64
"""How many programs are kept, the last ones used."""


class Info(NamedTuple):
    """The store in numbers: programs `kept` of at most `limit`, how often one was `found`, made `new`, or made without
    being kept (`unknown`), the last `reason` why not, and how many were `read` from disk instead of traced.

    Example:
        >>> import fnn
        >>> fnn.programs.info().limit
        64
    """

    kept: int
    limit: int
    found: int
    new: int
    unknown: int
    reason: str | None
    read: int = 0


class _Given:
    """A description as a static argument of its program: equal to every other that the program is given.

    Each call brings its own, so that what is traced for new shapes is what was described now, not when the program
    was first made; and takes it away again, because JAX keeps static arguments in caches of thousands of entries. So
    it holds the number of the program and not the fingerprint, which the store has.
    """

    __slots__ = ("program", "value")

    def __init__(self, value: Any, program: int) -> None:
        self.value, self.program = value, program

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Given) and self.program == other.program

    def __hash__(self) -> int:
        return self.program


_numbers = itertools.count()
_lock = threading.RLock()
_kept: OrderedDict[Hashable, tuple[Fingerprint, Any]] = OrderedDict()
_counts: dict[str, Any] = {"found": 0, "new": 0, "unknown": 0, "reason": None}


def compile(
    function: Callable[..., Any],
    description: Any,
    *,
    donate: tuple[int, ...] = (),
    otherwise: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """`jax.jit` of `function(description, *arguments)` as a function of the arguments, compiled once per description.

    Asked again with an equal description, also one that was built anew, it is the same program and compiles nothing;
    see `fnn.programs.fingerprint` for what equal means. A description that cannot be compared makes a new program.

    Args:
        function: a function of a module: it is known by its identity.
        description: whatever decides the program; anything that is static.
        donate: places among the arguments whose buffers the program may take.
        otherwise: what to run where the description cannot be compared, in place of a new program.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> def apply(model, params, x):
        ...     return model.apply(params, (), x)[0]
        >>> run = fnn.programs.compile(apply, fnn.as_layer(fnn.relu))
        >>> run((), jnp.asarray([-1.0, 2.0])).tolist()
        [0.0, 2.0]
    """
    key, program = _find(lambda key: _jit(function, donate, key), (function, donate), description)
    if key is None:
        return otherwise or jax.jit(functools.partial(function, description), donate_argnums=donate)
    return functools.partial(_run, *program, description)


def remember(function: Callable[[Any], Any], description: Any) -> Any:
    """`function(description)`, computed once per description and kept among the programs.

    The arguments are those of `compile`. For plain values: of a function that JAX traces later, `compile` also knows
    when what it reads has changed.

    Example:
        >>> import fnn
        >>> fnn.programs.remember(len, ("a", "b"))
        2
    """
    key, value = _find(lambda _: function(description), (function,), description)
    return function(description) if key is None else value


def _find(
    make: Callable[[Fingerprint], Any], kind: tuple[Any, ...], description: Any
) -> tuple[Fingerprint | None, Any]:
    """The fingerprint of a description and what is kept of this kind for it; None where it cannot be compared."""
    try:
        key = fingerprint(description)
    except Unknown as unknown:
        with _lock:
            _counts.update(unknown=_counts["unknown"] + 1, reason=str(unknown))
        return None, None
    place = (*kind, key)
    with _lock:
        _counts["found" if place in _kept else "new"] += 1
        if place not in _kept:
            _kept[place] = key, make(key)
        _kept.move_to_end(place)
        while len(_kept) > LIMIT:
            _kept.popitem(last=False)
        # The key that was there first: compared with itself, it is equal at a glance.
        return _kept[place]


def _jit(function: Callable[..., Any], donate: tuple[int, ...], key: Fingerprint) -> tuple[int, Callable[..., Any]]:
    """A number and a function of its own for each program: dropped, it takes what was compiled with it."""

    def call(given: _Given, *arguments: Any) -> Any:
        return function(given.value, *arguments)

    call.__name__ = function.__name__
    jitted = jax.jit(call, static_argnums=0, donate_argnums=tuple(place + 1 for place in donate))
    return next(_numbers), disk.Program(jitted, (function.__module__, function.__qualname__), donate, key)


def _run(number: int, program: Callable[..., Any], description: Any, *arguments: Any) -> Any:
    given = _Given(description, number)
    try:
        return program(given, *arguments)
    finally:
        given.value = None


def clear() -> None:
    """Drop every program; what is called next compiles anew.

    Example:
        >>> import fnn
        >>> fnn.programs.clear()
        >>> fnn.programs.info().kept
        0
    """
    with _lock:
        _kept.clear()
        _counts.update(found=0, new=0, unknown=0, reason=None)
        disk.read = 0


def info() -> Info:
    """How many programs there are, and how often one was found again.

    Example:
        >>> import fnn
        >>> fnn.programs.clear()
        >>> fnn.programs.info()
        Info(kept=0, limit=64, found=0, new=0, unknown=0, reason=None, read=0)
    """
    with _lock:
        return Info(len(_kept), LIMIT, **_counts, read=disk.read)
