"""Super-batches: batches of a stream stacked on the host, so that one compiled call takes many steps."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from fnn import checks
from fnn.kernels import placement
from fnn.train.ahead import Ahead
from fnn.train.joining import Part, join
from fnn.train.processes import together
from fnn.train.sharding import placer
from fnn.train.stream import HostBatch, Reader, Stream, StreamError, length
from fnn.typing import PyTree

CHUNK_BYTES = 2**23
"""Bytes of a super-batch; three of them are held, one in use, one ready, one being made. Four times as much was slower
beside a small model (AMD Zen 4, jax 0.10.2: a list of batches 1.14 instead of 1.06 times the time of arrays)."""

MOST_STEPS = 1024
"""Batches in a super-batch."""

LOOKED_AT = 16
"""Batches by which the room for all of them is measured, and seen whether the stream has more."""

PATIENCE = 0.2
"""Seconds after which an unfinished super-batch is handed to a run that waits for it."""


class Chunk(NamedTuple):
    """Inputs, targets and weights of shape (slots, room, …); of the slots that are taken, how many rows each has."""

    data: tuple[PyTree, PyTree, Any]
    rows: list[int]


class Feed:
    """The super-batches of a stream, all of one shape: the rows that a slot lacks are the first ones of the epoch,
    with weight 0, so that statistics over a batch see only real rows, as `rows.batch_rows` has it for arrays.

    Args:
        stream: where batches come from.
        mesh: over which the rows of every batch are split; their room is a multiple of its size.
    """

    def __init__(self, stream: Stream, mesh: Mesh | None = None) -> None:
        self.reader = Reader(stream)
        self.joins = mesh if together(mesh) else None
        self.multiple = 1 if mesh is None else mesh.size // (placement.hosts() if self.joins else 1)
        # Called in the thread that reads: what comes next is on the device ahead of its use.
        self.place = placer(mesh) if self.joins is None else lambda data: data
        self.room = self.slots = 0
        self.first: Any = None  # batch of the epoch that was begun last
        self._ahead: Ahead | None = None

    def begin(self, epoch: int | None) -> None:
        """Start to read an epoch, in a thread of its own."""
        self.close(wait=True)

        def make(wanted: Callable[[], bool], ended: Callable[[], bool]) -> Generator[Chunk, None, None]:
            # Several processes cut where their batches end, not when one of them waits.
            return self._chunks(epoch, wanted if self.joins is None else lambda: False, ended)

        self._ahead = Ahead(make)

    def next(self, interrupted: Callable[[], bool] = lambda: False) -> Chunk | None:
        """The next super-batch, None at the end of the epoch and where the run is interrupted."""
        if self.joins is not None:
            return self._join(self.joins, interrupted)
        return None if self._ahead is None else self._ahead.next(interrupted)

    def _join(self, mesh: Mesh, interrupted: Callable[[], bool]) -> Chunk | None:
        chunk, failed = None, None
        try:
            chunk = None if self._ahead is None else self._ahead.next(interrupted)
        except StreamError as error:
            failed = error
        count = -1 if failed else len(chunk.rows) if chunk else 0
        found = join(mesh, Part(chunk and chunk.data, count, self.room, self.slots, interrupted()), self.first)
        self.room, self.slots = found.room, found.slots
        if found.failed >= 0:
            where = self.reader.stream.where
            raise failed or StreamError(f"{where}: the stream of process {found.failed} failed, which says why")
        return None if found.data is None else Chunk(found.data, [found.room] * found.batches)

    def close(self, wait: bool = False) -> None:
        """Read no further; with `wait` nobody reads any more on return."""
        if self._ahead is not None:
            self._ahead.close(wait)
            self._ahead = None

    def _chunks(
        self, epoch: int | None, wanted: Callable[[], bool], stopped: Callable[[], bool]
    ) -> Generator[Chunk, None, None]:
        with contextlib.closing(_errors_as_items(self.reader.epoch(epoch), stopped)) as items:
            head, ended = _head(items)
            if stopped():
                return
            first = head[0]
            if isinstance(first, StreamError):
                raise first
            self.first = first
            if not self.slots:
                self._measure([len(batch[2]) for batch in head if not isinstance(batch, StreamError)], first, ended)
            yield from self._stack(itertools.chain(_drain(head), items), first, wanted)

    def _measure(self, sizes: list[int], batch: HostBatch, ended: bool) -> None:
        self.room = self._round_up(max(sizes))
        row = _bytes(batch) // len(batch[2])
        known = length(self.reader.stream.source) or MOST_STEPS
        self.slots = max(1, min(CHUNK_BYTES // max(row * self.room, 1), MOST_STEPS, len(sizes) if ended else known))

    def _round_up(self, rows: int) -> int:
        return -(-rows // self.multiple) * self.multiple

    def _stack(
        self, items: Iterable[HostBatch | StreamError], first: HostBatch, wanted: Callable[[], bool]
    ) -> Generator[Chunk, None, None]:
        chunk: Any = None
        taken: list[int] = []
        began = time.monotonic()
        for item in items:
            rows = 0 if isinstance(item, StreamError) else len(item[2])
            if taken and (rows == 0 or rows > chunk[2].shape[1]):
                yield Chunk(self.place(chunk), taken)
                taken = []
            if isinstance(item, StreamError):
                raise item
            if rows > self.room and self.joins is not None:
                raise StreamError(
                    f"{self.reader.stream.where}: expected batches of at most {self.room} rows, as the first ones "
                    f"have, got one of {rows}; in several processes give the largest first"
                )
            if not taken:
                if rows > self.room:  # by half at least: sizes that grow slowly compile seldom
                    self.room = self._round_up(max(rows, self.room + self.room // 2))
                chunk, began = _empty(first, self.slots, self.room), time.monotonic()
            _write(chunk, len(taken), item, first)
            taken.append(rows)
            if len(taken) == self.slots or (wanted() and time.monotonic() - began > PATIENCE):
                yield Chunk(self.place(chunk), taken)
                taken = []
        if taken:
            yield Chunk(self.place(chunk), taken)


def _errors_as_items(
    batches: Generator[HostBatch, None, None], stopped: Callable[[], bool]
) -> Generator[HostBatch | StreamError, None, None]:
    """What came before an error is trained on first; nothing is read once it is stopped."""
    with contextlib.closing(batches):
        try:
            for batch in batches:
                yield batch
                if stopped():
                    return
        except StreamError as error:
            yield error


def _head(items: Iterator[HostBatch | StreamError]) -> tuple[deque[Any], bool]:
    """The first batches, as copies, since a stream may write the next one over the last; and whether they are all."""
    head: deque[Any] = deque()
    held = 0
    for item in items:
        if isinstance(item, StreamError):
            head.append(item)
            return head, True
        head.append(jax.tree.map(np.array, item))
        held += _bytes(item)
        if len(head) == LOOKED_AT or held >= CHUNK_BYTES:
            return head, False
    return head, True


def _drain(head: deque[Any]) -> Iterator[Any]:
    while head:
        yield head.popleft()


def _bytes(batch: HostBatch) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(batch))


def _empty(like: HostBatch, slots: int, room: int) -> Any:
    return jax.tree.map(lambda leaf: checks.allocate((slots, room, *leaf.shape[1:]), leaf.dtype), like)


def _write(chunk: Any, slot: int, batch: HostBatch, first: HostBatch) -> None:
    rows = len(batch[2])

    def one(room: np.ndarray, leaf: np.ndarray, filler: np.ndarray) -> None:
        room[slot, :rows] = leaf
        if rows < room.shape[1]:
            room[slot, rows:] = filler[np.arange(room.shape[1] - rows) % len(filler)]

    jax.tree.map(one, chunk, batch, first)
    chunk[2][slot, rows:] = 0
