"""When two descriptions are the same program: functions by code, captured values and the globals they read.

A description is what a run is made of: layers, transforms, tasks, functions of the user's, numbers. It is walked into
a flat table of entries, each naming others by their place, so that sharing and recursion cost nothing.

- A function is its code, its captured values, its defaults and the globals its code names, all of them by value;
  a function of a library (fnn, jax, anything installed) is its name and what it captured.
- Numbers, texts, tuples, lists, dicts, small arrays and NumPy arrays are their contents; a large JAX array, which
  cannot change, is itself.
- A module is the attributes that a function of the user's reads of it; a class of the user's is itself and what
  stands in it; an instance of one is its class and its attributes.
- What cannot be looked into is `Unknown`: programs of it are not kept.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

from fnn.programs.walk import Unknown, Walk


class Fingerprint(NamedTuple):
    """Equal for equal descriptions."""

    root: Hashable
    table: tuple[Hashable, ...]


def fingerprint(value: Any) -> Fingerprint:
    """What `value` computes, as something that compares and hashes: equal for all descriptions that are built alike.

    Args:
        value: layers, transforms, tasks, functions, arrays, numbers, in any nesting.

    Raises:
        Unknown: if something in it cannot be compared, saying what.

    Example:
        >>> import fnn
        >>> fnn.programs.fingerprint(fnn.dense(3)) == fnn.programs.fingerprint(fnn.dense(3))
        True
        >>> fnn.programs.fingerprint(fnn.optim.adam(1e-3)) == fnn.programs.fingerprint(fnn.optim.adam(1e-2))
        False
    """
    walk = Walk()
    try:
        return Fingerprint(walk.of(value), tuple(walk.table))
    except RecursionError:
        raise Unknown("a description nested too deeply to be compared") from None
