"""Super-batches of several processes: each reads its own part of every batch, and all take the same steps."""

from __future__ import annotations

import base64
import pickle
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import Mesh

from fnn.train.processes import attempt, gather, meet, raise_in_all
from fnn.train.read_ahead import POLL_SECONDS
from fnn.train.sharding import over_rows
from fnn.train.stream import StreamError
from fnn.typing import PyTree

if TYPE_CHECKING:
    from fnn.train.feeding import Feed


class Sizes(NamedTuple):
    """What the first batches say of a super-batch: its room, the slots that memory allows, those wanted."""

    room: int
    most: int
    wanted: int


class Joined:
    """One feed of each process as the feed of all: they agree on form and sizes before the first super-batch is filled,
    so that all cut after the same batches."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.room = 0  # that all have, the most that one of them needed so far
        self.taken = 0  # batches of the epoch
        self._sizes: Sizes | None = None
        self._agreed = threading.Event()

    def wait(self, stopped: Callable[[], bool]) -> Sizes:
        """In the thread that reads: the sizes of all; any where nothing is wanted any more."""
        while not self._agreed.wait(POLL_SECONDS):
            if stopped():
                break
        return self._sizes or Sizes(1, 1, 1)

    def next(self, feed: Feed, interrupted: Callable[[], bool]) -> tuple[Any, list[int]] | None:
        """The next super-batch of all, their parts side by side, and the rows that this process has in it; None at the
        end of the epoch and where one of them is interrupted. A process that has ended goes on with rows that do not
        count."""
        what = f"{feed.reader.stream.where}: the stream"
        if self._sizes is None and not self._agree(feed, what, interrupted):
            return None
        chunk, failed = attempt(lambda: feed.next_own(interrupted))
        rows = chunk.rows if chunk else []
        fails = failed is not None or (chunk is not None and chunk.fails)
        own = Part(chunk and chunk.data, len(rows), fails, interrupted(), feed.reader.counts)
        room = max(self.room, own.data[2].shape[1] if own.data else 0)
        found = meet(0, room, *own[1:])[:, 1:]
        batches, failing = found[:, 1], found[:, 2] > 0
        count = int(batches[failing].min() if failing.any() else batches.max())  # as far as the first one that fails
        self.room, _, fails, stops, counts = found.max(axis=0).tolist()
        feed.stopped = bool(stops)
        if feed.stopped:
            return None
        if count:
            self.taken += count
            local, sharding = _fill_up(own, feed.first, feed.slots, self.room, count), over_rows(self.mesh, 1)
            data = jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), local)
            return data, (rows + [0] * count)[:count]
        if fails:
            raise_in_all(self.mesh, failed, what)
        if not counts:
            reader = feed.reader
            raise StreamError((reader.describe_uncounted if self.taken else reader.describe_end)(feed.epoch))
        feed.room = self.room  # nobody reads any more
        return None

    def _agree(self, feed: Feed, what: str, interrupted: Callable[[], bool]) -> bool:
        sizes = feed.attempt(lambda: feed.next_own(interrupted))
        said = gather(self.mesh, [feed.reader.form, sizes])
        feed.stopped = any(sizes is None for _, sizes in said)
        if feed.stopped:
            return False
        having = [number for number, (form, _) in enumerate(said) if form is not None]
        if not having:
            raise StreamError(feed.reader.describe_end(feed.epoch))
        first = said[having[0]][0]
        for number in having:
            if said[number][0] != first:
                raise ValueError(
                    f"{what}: expected batches of one form in all processes, got {first} in process {having[0]} "
                    f"and {said[number][0]} in process {number}: dtypes and shapes are the same in all, only the "
                    "numbers of rows may differ"
                )
        if len(having) < len(said):
            self._lend(feed, having[0])
        room, most, wanted = zip(*(sizes for _, sizes in said), strict=True)
        self._sizes = Sizes(max(room), min(most), max(wanted))
        self._agreed.set()
        return True

    def _lend(self, feed: Feed, lender: int) -> None:
        """A row of this process to those that have none: rows that do not count are made of it."""
        lends = jax.process_index() == lender
        row = feed.attempt(lambda: base64.b64encode(pickle.dumps(feed.reader.row)).decode() if lends else "")
        lent = gather(self.mesh, row)[lender]
        feed.first = feed.attempt(lambda: feed.first or feed.reader.borrow(base64.b64decode(lent)))


class Part(NamedTuple):
    """What a process has of a super-batch: arrays (slots, room, …), None at its end; the batches in it; whether the
    stream fails after them; whether the process is to stop; whether a row of the epoch counted so far."""

    data: PyTree
    batches: int
    fails: bool
    stops: bool
    counts: bool


def _fill_up(own: Part, first: Any, slots: int, room: int, count: int) -> Any:
    """This process's arrays with as many slots and as much room as all of them have, real rows in `count` of them."""
    if own.data is not None and own.data[2].shape == (slots, room) and own.batches >= count:
        return own.data
    rows = np.arange(room) % len(first[2])
    spare = jax.tree.map(lambda leaf: np.broadcast_to(leaf[rows], (slots, *leaf[rows].shape)).copy(), first)
    spare[2][:] = 0
    if own.data is not None:

        def put(all: np.ndarray, part: np.ndarray) -> None:
            all[: own.batches, : part.shape[1]] = part[: own.batches]

        jax.tree.map(put, spare, own.data)
    return spare


def gather_rows(rows: PyTree) -> PyTree:
    """The rows of all processes, those of process 0 first, however many each has; on the host."""
    own = len(jax.tree.leaves(rows)[0])
    counts = np.asarray(process_allgather(np.asarray(own)))

    def one(leaf: np.ndarray) -> np.ndarray:
        room = np.zeros((counts.max(), *leaf.shape[1:]), leaf.dtype)
        room[:own] = leaf
        parts = np.asarray(process_allgather(room))
        return np.concatenate([part[:count] for part, count in zip(parts, counts, strict=True)])

    return jax.tree.map(one, rows)
