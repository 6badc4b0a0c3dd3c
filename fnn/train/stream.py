"""Streams: batches from anything that can be read again, and what most of these batches are."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn import checks
from fnn.data.array_files import ArrayFiles, are_files
from fnn.data.statistics import Columns
from fnn.kernels import placement
from fnn.tasks import Task
from fnn.train.rows import first_not_finite
from fnn.typing import PyTree

__all__ = ["StreamError"]


class StreamError(RuntimeError):
    """What went wrong in a stream, and at which batch of which epoch, both counted from 1.

    `trained` and `history` are what `fit` would have returned after the batch before; None outside of it.

    Example:
        >>> import jax, numpy as np, fnn
        >>> def batches():
        ...     yield np.ones((4, 2), np.float32), np.ones(4, np.float32)
        ...     raise OSError("the disk is gone")
        >>> try:
        ...     fnn.fit(fnn.dense(1), fnn.optim.sgd(0.1), fnn.tasks.regression(), batches, key=jax.random.key(0),
        ...             epochs=3, progress=False)
        ... except fnn.StreamError as error:
        ...     print(error)
        ...     trained = error.trained
        fit: the stream failed at batch 2 of epoch 1 with OSError: the disk is gone
    """

    trained: Any = None
    history: dict[str, Any] | None = None


class Stream(NamedTuple):
    """Where batches come from, in whose name errors speak, and what encodes the targets, None where there are none; of
    memory maps the number that a row of the batch read last has there; the columns that tables are to have."""

    where: str
    source: Any
    encode: Callable[[Any], Any] | None
    number: Callable[[int], int] | None = None
    columns: Columns | None = None


def is_stream(data: Any) -> bool:
    """Whether data are read batch by batch: a list of batches or files, a function, or what can be iterated."""
    if isinstance(data, list):
        # A part of several may be without a batch.
        return (bool(data) or placement.hosts() > 1) and (are_files(data) or all(map(_is_batch, data)))
    if hasattr(data, "__next__"):
        return True
    if isinstance(data, (str, bytes, range)) or hasattr(data, "shape") or hasattr(data, "__array__"):
        return False
    return jax.tree_util.all_leaves([data]) and (callable(data) or hasattr(data, "__iter__"))


def _is_batch(one: Any) -> bool:
    if not isinstance(one, (tuple, list)):
        return False
    return len(one) in (2, 3) and all(getattr(part, "shape", ()) for part in jax.tree.leaves(list(one)))


def refuse_what_belongs_to_arrays(where: str, batch_size: Any, usual: Any, rows: Any) -> None:
    """A stream has batches of its own, and no numbers of rows."""
    if batch_size != usual:
        raise ValueError(
            f"{where}: a stream makes its own batches, got batch_size={batch_size}; leave it out, and give it to what "
            "makes the stream"
        )
    if rows is not None:
        raise ValueError(
            f"{where}: data is a stream, which has no row numbers; leave rows out, and filter in the stream"
        )


def stream_of(where: str, data: Any, task: Task | None, passes: int) -> Stream:
    """The stream, which can be read as often as it has to be."""
    if hasattr(data, "__next__") and passes > 1:
        raise ValueError(
            f"{where}: {type(data).__name__} {getattr(data, '__name__', '')!r} can be read once, and {passes} epochs "
            "read it as often; give the function that makes it, without calling it, or an object whose __iter__ begins "
            "anew"
        )
    if callable(data) and (wanted := _names_to_give(data) - {"epoch"}):
        raise TypeError(
            f"{where}: expected a function of nothing or of the epoch that gives batches, but {checks.name_of(data)} "
            f"takes {', '.join(sorted(wanted))}; write functools.partial, or lambda epoch: …"
        )
    return Stream(where, ArrayFiles(tuple(data), task is not None) if are_files(data) else data, task and task.encode)


def _names_to_give(function: Callable[..., Any]) -> set[str]:
    parameters = _parameters(function)
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {one.name for one in parameters if one.default is one.empty and one.kind in plain}


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # of a builtin that says nothing
        return []


def describe_list(source: Any) -> str:
    """How many batches a list has, and which files, by their names alone: a directory may have moved."""
    if isinstance(source, ArrayFiles):
        names = "\n".join(Path(one).name for one in source.paths)
        return f" in {len(source)} files {hashlib.blake2b(names.encode(), digest_size=8).hexdigest()}"
    return f" in {len(source)} batches" if isinstance(source, list) else ""


def takes_epoch(source: Any) -> bool:
    """Whether it is a function of the epoch: nothing has to be read again to be at the beginning of one."""
    return callable(source) and any(one.name == "epoch" for one in _parameters(source))


def length(source: Any) -> int | None:
    """How many batches an epoch has, where the stream knows."""
    try:
        return len(source)
    except TypeError:
        return None


class PlainForm(NamedTuple):
    """Of each part of a batch `(x, targets[, weights])` its type, its dtype and the shape of a row: a batch with which
    nothing is wrong is known by it in a few calls."""

    types: list[type]
    forms: list[tuple[np.dtype, tuple[int, ...]]]

    def match(self, batch: Any) -> list[np.ndarray] | None:
        """The parts of a batch with which nothing is wrong but perhaps its targets and weights; None where that is not
        known, and words may have to be found."""
        if type(batch) not in (tuple, list) or list(map(type, batch)) != self.types:
            return None
        parts = [np.asarray(part) for part in batch]
        if _forms(parts) != self.forms or {len(part) for part in parts} != {len(parts[0]) or None}:
            return None
        return parts if first_not_finite(parts[0]) is None else None


def plain_form(batch: Any, x: PyTree) -> PlainForm | None:
    """That of a first batch, where its parts are arrays of numbers, no masked ones and no tables, and its inputs are
    those of `x` as they came."""
    types = list(map(type, batch))
    other = lambda one: issubclass(one, dict | tuple | list) or (issubclass(one, np.ndarray) and one is not np.ndarray)  # noqa: E731
    if any(other(one) or hasattr(one, "columns") for one in types):
        return None
    parts = [np.asarray(part) for part in batch]
    if parts[0].dtype != getattr(x, "dtype", None) or any(not p.ndim or p.dtype.kind not in "fiub" for p in parts):
        return None
    return PlainForm(types, _forms(parts))


def _forms(parts: list[np.ndarray]) -> list[tuple[np.dtype, tuple[int, ...]]]:
    return [(part.dtype, part.shape[1:]) for part in parts]
