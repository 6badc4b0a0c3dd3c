"""What a stream gives, looked at on the host: inputs as they come, targets and weights of many batches together."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import pickle
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.data.statistics import columns_of_parts, require_columns
from fnn.layer import Padded
from fnn.tasks.targets import are_several, map_targets
from fnn.train import rows as rows_
from fnn.train.stream import PlainForm, Stream, StreamError, length, plain_form, takes_epoch
from fnn.train.stream_state import Accessors, encode_state, own_state
from fnn.typing import PyTree

HostBatch = tuple[PyTree, Any, np.ndarray]
"""Inputs, targets and weights of the rows of a batch, in NumPy arrays."""


class Raw(NamedTuple):
    """A batch whose inputs are checked, and its targets and weights as they came; `place` names it."""

    x: PyTree
    targets: Any
    weights: Any
    rows: int
    place: str


class Reader:
    """Reads a stream, epoch after epoch, and holds every batch against the first one of all; one that `is_part` of
    what several processes read may be without a batch."""

    def __init__(self, stream: Stream, is_part: bool = False) -> None:
        self.stream, self.is_part = stream, is_part
        self.row: Any = None  # first one of a part, as it came, for processes that have none
        self.form: str | None = None  # of every batch, in words
        self.weighted = False  # whether its rows have weights
        self._tree: Any = None
        self._plain: PlainForm | None = None
        self.rounded: list[str] = []  # what is to be said of float64 in the first batch
        self.own: Accessors | None = None  # to the state of the source or of the iterator that is read
        self.state: Any = None  # that it had at the end of the epoch that was read last
        self.begun: Any = None  # that the source had before its first epoch, encoded, since the source goes on with it
        self.columns = stream.columns  # of its tables, those of the first batch unless others are known
        self.counts = False  # whether a row of the epoch has a weight
        self.digits = Digits()

    def epoch(self, number: int | None) -> Generator[Raw, None, None]:
        """The batches of an epoch; None stands for the only pass there is."""
        source = self.stream.source
        batches, count, self.counts, self.own = None, 0, False, own_state(source)
        self.digits = Digits()
        try:
            while True:
                try:
                    if batches is None:
                        batches = self._open(number)
                        self._note_beginning()
                        self.own = self.own or own_state(batches)
                    batch = next(batches)
                except StopIteration:
                    break
                except Exception as error:
                    raise StreamError(
                        f"{self.stream.where}: the stream failed at {_place(count, number)} with "
                        f"{type(error).__name__}: {error}"
                    ) from error
                with _name_errors(name := f"{self.stream.where}, {_place(count, number)}"):
                    raw = self._check(batch, name)
                    self.counts = self.counts or raw.weights is None or bool(np.any(raw.weights))
                yield raw
                count += 1
        finally:
            if inspect.isgenerator(batches):
                batches.close()
        if self.own:
            self.state = self.own.get()
        expected = length(source)
        if count < (expected or 0) or not (count or self.is_part):
            raise StreamError(self.describe_end(number, count, expected))

    def label(self, batches: Sequence[Raw]) -> tuple[int, Any, StreamError | None]:
        """How many of the batches are right, their targets and weights in one piece, and what is wrong with the first
        one that is not among them."""
        try:
            return len(batches), self._label(batches, batches[0].place), None
        except (TypeError, ValueError, RuntimeError) as together:
            for count, batch in enumerate(batches):  # look again for its place
                try:
                    with _name_errors(batch.place):
                        self._label([batch], batch.place)
                except StreamError as error:
                    return count, self._label(batches[:count], batches[0].place) if count else None, error
            # Each is right alone.
            wrong = StreamError(f"{batches[0].place} and the {len(batches) - 1} after it: {together}")
            wrong.__cause__ = together
            return 0, None, wrong

    def host_batch(self, raw: Raw) -> HostBatch:
        """The batch with its targets and weights."""
        _, labels, error = self.label([raw])
        if error:
            raise error
        return raw.x, *labels

    def restore(self, state: Any, epochs: int) -> None:
        """Stand where the state was taken, at the end of the last of so many epochs, without reading them again."""
        if own := own_state(self.stream.source):
            own.set(state)
            return
        for number in range(epochs):
            if own := own_state(self._open(number)):
                own.set(state)

    def _note_beginning(self) -> None:
        """The state of a source that is opened for the first time: before that, a loader would open itself to say it,
        and some have none until they were read."""
        if self.begun is None and self.state is None and self.own:
            with contextlib.suppress(Exception):
                self.begun = encode_state(self.own.get())

    def _open(self, number: int | None) -> Iterator[Any]:
        source = self.stream.source
        if callable(source):
            source = source(epoch=number or 0) if takes_epoch(source) else source()
        return iter(source)

    def describe_uncounted(self, number: int | None) -> str:
        """What is said where no row of an epoch counts."""
        of = "" if number is None else f" of epoch {number + 1}"
        return f"{self.stream.where}: {checks.no_weight(of)}"

    def borrow(self, row: bytes) -> HostBatch:
        """Take a row of another process as the first batch, where this one has none."""
        return self.host_batch(self._check(pickle.loads(row), f"{self.stream.where}, a row of another process"))

    def describe_end(self, number: int | None, count: int = 0, expected: int | None = None) -> str:
        """What is said of an epoch that has fewer batches than it should."""
        of = "" if number is None else f" in epoch {number + 1}"
        if count:
            return f"{self.stream.where}: the stream ended after {count} of the {expected} batches of its len{of}"
        again = "; each call has to make a new iterator" if number else ""
        return f"{self.stream.where}: expected batches{of}, the stream gave none{again}"

    def _check(self, batch: Any, name: str) -> Raw:
        if (parts := self._plain and self._plain.match(batch)) is not None:
            return Raw(parts[0], parts[1], parts[2] if len(parts) == 3 else None, len(parts[0]), name)
        first = self.form is None
        if first and isinstance(batch, (tuple, list, dict)):
            checks.leaves(name, batch)
        if self.stream.encode is None:
            given: tuple[Any, ...] = (batch[0] if _has_parts(batch) else batch,)
        else:
            checks.parts_of_data(name, batch, "", Padded)
            given = tuple(batch)
        self.columns = self.columns or (columns_of_parts("the first batch", given) if first else None)
        require_columns(name, self.columns, given)
        rest = zip(("targets", "weights"), given[1:], strict=False)
        number = lambda leaf: np.asarray(checks.as_numbers(name, "x", leaf, checks.AS_NUMBERS))  # noqa: E731
        x = jax.tree.map(number, rows_.rows_as_array(name, given[0]))
        given = (x, *(_as_host(name, *part) for part in rest))
        self._require_form(given, name)

        def rounding(*rounded: Any) -> None:
            if first:
                self.rounded.append(rows_.describe_rounding(*rounded))

        try:
            x = rows_.host_inputs(name, x, rounding)
        except ValueError as error:
            if self.stream.number is None or not hasattr(error, "row"):
                raise
            raise ValueError(f"{error}. It is row {self.stream.number(error.row)} of the memory map") from error
        targets, weights = (*given[1:], None, None)[:2]
        rows = rows_.count(x)
        if self.stream.encode is not None:
            rows_.require_one_target_per_row(name, rows, batch[1])
        if weights is not None:  # of each batch for itself: together they may be as many as the rows
            checks.one_weight_per_row(name, weights, rows)
        if first and self.is_part:
            self.row = jax.tree.map(lambda leaf: copy.deepcopy(leaf[:1]), given)
        if first and self.stream.encode is not None:
            self._plain = plain_form(batch, x)
        return Raw(x, targets, weights, rows, name)

    def _label(self, batches: Sequence[Raw], name: str) -> tuple[Any, np.ndarray]:
        with _on_host():
            targets = self._encode([batch.targets for batch in batches])
            if batches[0].weights is None:
                return targets, np.ones(sum(batch.rows for batch in batches), np.float32)
            given = np.concatenate([np.asarray(batch.weights) for batch in batches])
            return targets, np.asarray(rows_.check_weights(name, given, len(given), some=False))

    def _encode(self, targets: list[Any]) -> Any:
        encode = self.stream.encode
        if encode is None:
            return ()
        if not all(isinstance(part, np.ndarray) for part in targets):  # tables, of which a task has its own words
            parts = [jax.tree.map(np.asarray, encode(part)) for part in targets]
            return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        raw = targets[0] if len(targets) == 1 else np.concatenate(targets)
        try:
            encoded = encode(raw)
        except checks.LostDigits as error:  # whether they are of the whole epoch, its end will tell
            self.digits.lost = self.digits.lost or error
            encoded = encode(raw.astype(jnp.result_type(float)))
        self.digits.see(raw)
        return jax.tree.map(np.asarray, encoded)

    def _require_form(self, given: tuple[Any, ...], name: str) -> None:
        leaves, tree = jax.tree.flatten(given)
        form = ", ".join(map(_per_row, leaves))
        if self.form is None:
            self.form, self._tree, self.weighted = form, tree, len(given) == 3
        if (form, tree) != (self.form, self._tree):
            raise ValueError(
                f"{name}: expected {self.form} as in the first batch, got {form}; every batch has the dtypes and, but "
                "for the number of rows, the shapes of the first: pad or resize, and write .astype"
            )


class Digits:
    """Whether targets that differ become equal in floating point, judged over all that an epoch has, as of arrays."""

    def __init__(self) -> None:
        self.lost: checks.LostDigits | None = None  # in some of the batches, by the range of those alone
        self.low: Any = None
        self.high: Any = None

    def see(self, targets: np.ndarray) -> None:
        if targets.dtype.kind in "fiu" and targets.size and targets.dtype != jnp.result_type(float):
            table = targets.reshape(len(targets), -1)
            low, high = table.min(axis=0), table.max(axis=0)
            self.low, self.high = (low, high) if self.low is None else (
                np.minimum(self.low, low), np.maximum(self.high, high)
            )  # fmt: skip

    def check(self) -> None:
        if self.lost is not None and checks.is_coarse(self.low, self.high, jnp.result_type(float)).any():
            raise StreamError(str(self.lost)) from self.lost


@contextlib.contextmanager
def _name_errors(name: str) -> Iterator[None]:
    """What is wrong with a batch, as an error of the stream that names it."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError) as error:
        said = str(error)
        raise StreamError(said if said.startswith(name) else f"{name}: {said}") from error


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


def _as_host(where: str, name: str, leaf: Any) -> Any:
    """What its task has words for as it is; anything else as a NumPy array."""
    if are_several(leaf):
        return map_targets(functools.partial(_as_host, where), leaf)
    as_it_is = leaf is None or type(leaf) is np.ndarray or hasattr(leaf, "columns")
    return leaf if as_it_is else checks.one_array(where, name, leaf)


def _per_row(leaf: Any) -> str:
    if not hasattr(leaf, "dtype"):
        return str(type(leaf))
    return f"{leaf.dtype}[{','.join(['rows', *map(str, np.shape(leaf)[1:])])}]"
