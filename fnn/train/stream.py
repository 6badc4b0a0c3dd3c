"""Streams: batches from anything that can be read again, looked at on the host as they come."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn import checks
from fnn.layers.recurrent import Padded
from fnn.tasks import Task
from fnn.train import rows as rows_
from fnn.train.resuming import own_state
from fnn.typing import PyTree

__all__ = ["StreamError"]

HostBatch = tuple[PyTree, Any, np.ndarray]
"""Inputs, targets and weights of the rows of a batch, in NumPy arrays."""


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
    """Where batches come from, in whose name errors speak, and what encodes the targets; None where there are none."""

    where: str
    source: Any
    task: Task | None


def is_stream(data: Any) -> bool:
    """Whether data are read batch by batch: a list of batches, a function, or what is no array and can be iterated."""
    if isinstance(data, list):
        return bool(data) and all(isinstance(one, (tuple, list)) and _is_batch(one) for one in data)
    if hasattr(data, "__next__"):
        return True
    if isinstance(data, (str, bytes, range)) or hasattr(data, "shape") or hasattr(data, "__array__"):
        return False
    return jax.tree_util.all_leaves([data]) and (callable(data) or hasattr(data, "__iter__"))


def _is_batch(one: Any) -> bool:
    return len(one) in (2, 3) and all(getattr(part, "shape", ()) for part in jax.tree.leaves(list(one)))


def stream_of(where: str, data: Any, task: Task | None, passes: int) -> Stream:
    """The stream, which can be read as often as it has to be."""
    if hasattr(data, "__next__") and passes > 1:
        raise ValueError(
            f"{where}: {type(data).__name__} {getattr(data, '__name__', '')!r} can be read once, and {passes} epochs "
            "read it as often; give the function that makes it, without calling it, or an object whose __iter__ begins "
            "anew"
        )
    if callable(data) and (wanted := _required_names(data) - {"epoch"}):
        raise TypeError(
            f"{where}: expected a function of nothing or of the epoch that gives batches, but {checks.name_of(data)} "
            f"takes {', '.join(sorted(wanted))}; write functools.partial, or lambda epoch: …"
        )
    return Stream(where, data, task)


def _required_names(function: Callable[..., Any]) -> set[str]:
    parameters = _parameters(function)
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {one.name for one in parameters if one.default is one.empty and one.kind in plain}


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # of a builtin that says nothing
        return []


def takes_epoch(source: Any) -> bool:
    """Whether it is a function of the epoch: nothing has to be read again to be at the beginning of one."""
    return callable(source) and any(one.name == "epoch" for one in _parameters(source))


def length(source: Any) -> int | None:
    """How many batches an epoch has, where the stream knows."""
    try:
        return len(source)
    except TypeError:
        return None


class Reader:
    """Reads a stream, epoch after epoch, and holds every batch against the first one of all."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.form: Any = None
        self.rounded: list[str] = []  # what is to be said of float64 in the first batch
        self.state: Any = None  # of the source, or of its iterator, at the end of the epoch that was read last

    def epoch(self, number: int | None) -> Generator[HostBatch, None, None]:
        """The batches of an epoch; None stands for the only pass there is."""
        source = self.stream.source
        batches, count, counts = None, 0, False
        try:
            while True:
                try:
                    batches = self._open(number) if batches is None else batches
                    batch = next(batches)
                except StopIteration:
                    break
                except Exception as error:
                    raise StreamError(
                        f"{self.stream.where}: the stream failed at {_place(count, number)} with "
                        f"{type(error).__name__}: {error}"
                    ) from error
                read = self._read(batch, _place(count, number))
                counts = counts or bool(read[2].any())
                yield read
                count += 1
        finally:
            if inspect.isgenerator(batches):
                batches.close()
        if own := own_state(source) or own_state(batches):
            self.state = own.get()
        expected = length(source)
        if count == 0 or (expected is not None and count < expected):
            raise StreamError(self._describe_end(count, expected, number))
        if not counts:
            of = "" if number is None else f" of epoch {number + 1}"
            said = f"every weight{of} is 0, so no row counts; leave the weights out to count every row"
            raise StreamError(f"{self.stream.where}: {said}")

    def restore(self, state: Any, epochs: int) -> None:
        """Stand where the state was taken, at the end of the last of so many epochs, without reading them again."""
        if own := own_state(self.stream.source):
            own.set(state)
            return
        for number in range(epochs):
            if own := own_state(self._open(number)):
                own.set(state)

    def _open(self, number: int | None) -> Iterator[Any]:
        source = self.stream.source
        if callable(source):
            source = source(epoch=number or 0) if takes_epoch(source) else source()
        return iter(source)

    def _describe_end(self, count: int, expected: int | None, number: int | None) -> str:
        of = "" if number is None else f" in epoch {number + 1}"
        if count:
            return f"{self.stream.where}: the stream ended after {count} of the {expected} batches of its len{of}"
        again = "; each call has to make a new iterator" if number else ""
        return f"{self.stream.where}: expected batches{of}, the stream gave none{again}"

    def _read(self, batch: Any, place: str) -> HostBatch:
        name = f"{self.stream.where}, {place}"
        try:
            with _on_host():
                return self._check(batch, name)
        except (TypeError, ValueError, RuntimeError) as error:
            said = str(error)
            raise StreamError(said if said.startswith(name) else f"{name}: {said}") from error

    def _check(self, batch: Any, name: str) -> HostBatch:
        task, first = self.stream.task, self.form is None
        if task is None:
            x = rows_.rows_as_array(batch[0] if _has_parts(batch) else batch)
            given = (_as_arrays(name, "x", x),)
        else:
            if not isinstance(batch, (tuple, list)) or isinstance(batch, Padded) or len(batch) not in (2, 3):
                raise TypeError(f"{name}: expected (x, targets) or (x, targets, weights), got {checks.describe(batch)}")
            x = _as_arrays(name, "x", rows_.rows_as_array(batch[0]))
            given = (x, *(part if part is None else _as_host(part) for part in batch[1:]))
        self._require_form(given, name)

        def rounding(*rounded: Any) -> None:
            if first:
                self.rounded.append(rows_.describe_rounding(*rounded))

        if task is None:
            x, targets, weights = rows_.host_inputs(name, given[0], rounding), (), None
        else:
            x, targets, weights = rows_.host_data(name, given, task, rounding, some=False)
        if weights is None:
            weights = np.ones(rows_.count(x), np.float32)
        return jax.tree.map(np.asarray, (x, targets, weights))

    def _require_form(self, given: tuple[Any, ...], name: str) -> None:
        form = jax.tree.map(_per_row, given)
        if self.form is None:
            self.form = form
        if form != self.form:
            expected, came = (", ".join(map(str, jax.tree.leaves(one))) for one in (self.form, form))
            raise ValueError(
                f"{name}: expected {expected} as in the first batch, got {came}; every batch has the dtypes and, but "
                "for the number of rows, the shapes of the first: pad or resize, and write .astype"
            )


def _has_parts(batch: Any) -> bool:
    """Whether it is `(x, …)`: a named tuple is one input of several arrays, a list of numbers rows of one."""
    return type(batch) in (tuple, list) and any(hasattr(leaf, "shape") for leaf in jax.tree.leaves(list(batch)))


def _on_host() -> Any:
    """What JAX only looks at stays beside the host, where there is a place for it."""
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:
        return contextlib.nullcontext()


def _place(count: int, number: int | None) -> str:
    return f"batch {count + 1}" + ("" if number is None else f" of epoch {number + 1}")


def _as_arrays(name: str, what: str, tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: checks.as_numbers(name, what, leaf, "encode text columns as numbers first"), tree)


def _as_host(leaf: Any) -> Any:
    """A JAX array as it is, and what its task has words for; anything else as a NumPy array."""
    return leaf if isinstance(leaf, (jax.Array, np.ndarray)) or hasattr(leaf, "columns") else np.asarray(leaf)


def _per_row(leaf: Any) -> str:
    return (
        f"{leaf.dtype}[{','.join(['rows', *map(str, np.shape(leaf)[1:])])}]"
        if hasattr(leaf, "dtype")
        else str(type(leaf))
    )
