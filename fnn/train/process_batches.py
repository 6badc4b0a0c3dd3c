"""Super-batches of several processes: each reads its own part of every batch, and all take the same steps."""

from __future__ import annotations

import base64
import pickle
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
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
        """The next super-batch of all and the rows that this process has in it, None at the end of the epoch and where
        one of them is interrupted."""
        what = f"{feed.reader.stream.where}: the stream"
        if self._sizes is None and not self._agree(feed, what, interrupted):
            return None
        chunk, failed = attempt(lambda: feed.next_own(interrupted))
        rows = chunk.rows if chunk else []
        fails = failed is not None or (chunk is not None and chunk.fails)
        own = Part(chunk and chunk.data, len(rows), fails, interrupted(), feed.reader.counts)
        found, self.room = join(self.mesh, own, feed.first, feed.slots, self.room)
        self.taken, feed.stopped = self.taken + found.batches, found.stops
        if found.data is not None:
            return found.data, (rows + [0] * found.batches)[: found.batches]
        if found.fails and not found.stops:
            raise_in_all(self.mesh, failed, what)
        if not (found.counts or found.stops):
            reader = feed.reader
            raise StreamError((reader.describe_uncounted if self.taken else reader.describe_end)(feed.epoch))
        if not found.stops:  # nobody reads any more
            feed.room = self.room
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
    """What a process has of a super-batch, or all have: arrays (slots, room, …), None at its end; the batches in it;
    whether a stream fails after them; whether a process is to stop; whether a row of the epoch counted so far."""

    data: PyTree
    batches: int
    fails: bool
    stops: bool
    counts: bool


def join(mesh: Mesh, own: Part, first: PyTree, slots: int, room: int) -> tuple[Part, int]:
    """The parts side by side, as far as the first one that fails, and their room, what it was or more: arrays over the
    mesh, None at the end of all, where one stops and where one failed. One that has ended goes on with rows that do not
    count, those of its batch `first`."""
    room = max(room, 0 if own.data is None else own.data[2].shape[1])
    found = meet(0, room, own.batches, *own[2:])[:, 1:]
    batches, failing = found[:, 1], found[:, 2] > 0
    count = int(batches[failing].min() if failing.any() else batches.max())
    room, _, fails, stops, counts = found.max(axis=0).tolist()
    if stops or count == 0:
        return Part(None, 0, bool(fails), bool(stops), bool(counts)), room
    local, sharding = _fill_up(own, first, slots, room, count), over_rows(mesh, 1)
    data = jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), local)
    return Part(data, count, bool(fails), False, bool(counts)), room


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
    from jax.experimental.multihost_utils import process_allgather

    own = len(jax.tree.leaves(rows)[0])
    counts = np.asarray(process_allgather(np.asarray(own)))

    def one(leaf: np.ndarray) -> np.ndarray:
        room = np.zeros((counts.max(), *leaf.shape[1:]), leaf.dtype)
        room[:own] = leaf
        parts = np.asarray(process_allgather(room))
        return np.concatenate([part[:count] for part, count in zip(parts, counts, strict=True)])

    return jax.tree.map(one, rows)
