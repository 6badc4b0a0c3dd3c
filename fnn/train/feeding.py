"""Super-batches: batches of a stream stacked on the host, so that one compiled call takes many steps."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from fnn.train.ahead import Ahead
from fnn.train.sharding import placed
from fnn.train.stream import HostBatch, Reader, Stream, StreamError, length
from fnn.typing import PyTree

CHUNK_BYTES = 2**25
"""Bytes of a super-batch; three of them are held, one in use, one ready, one being made."""

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
        self.reader, self.multiple = Reader(stream), 1 if mesh is None else mesh.size
        self.place = placed(mesh)  # called in the thread that reads: what comes next is on the device ahead of its use
        self.room = self.slots = 0
        self._ahead: Ahead | None = None

    def begin(self, epoch: int | None) -> None:
        """Start to read an epoch, in a thread of its own."""
        self.close()
        self._ahead = Ahead(lambda wanted: self._chunks(epoch, wanted))

    def next(self, interrupted: Callable[[], bool] = lambda: False) -> Chunk | None:
        """The next super-batch, None at the end of the epoch and where the run is interrupted."""
        return None if self._ahead is None else self._ahead.next(interrupted)

    def close(self) -> None:
        """Read no further."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def _chunks(self, epoch: int | None, wanted: Callable[[], bool]) -> Generator[Chunk, None, None]:
        with contextlib.closing(_errors_as_items(self.reader.epoch(epoch))) as items:
            # Copies: a stream may write its next batch over the last one.
            head = [_copied(item) for item in itertools.islice(items, LOOKED_AT)]
            if isinstance(head[0], StreamError):
                raise head[0]
            if not self.slots:
                self._measure([len(batch[2]) for batch in head if not isinstance(batch, StreamError)], head[0])
            yield from self._stacked(itertools.chain(head, items), head[0], wanted)

    def _measure(self, sizes: list[int], batch: HostBatch) -> None:
        self.room = self._rounded(max(sizes))
        row = sum(math.prod(leaf.shape[1:]) * leaf.dtype.itemsize for leaf in jax.tree.leaves(batch))
        known = length(self.reader.stream.source) or MOST_STEPS
        most = len(sizes) if len(sizes) < LOOKED_AT else known
        self.slots = max(1, min(CHUNK_BYTES // max(row * self.room, 1), MOST_STEPS, most))

    def _rounded(self, rows: int) -> int:
        return -(-rows // self.multiple) * self.multiple

    def _stacked(
        self, items: Iterable[HostBatch | StreamError], first: HostBatch, wanted: Callable[[], bool]
    ) -> Generator[Chunk, None, None]:
        chunk: Any = None
        taken: list[int] = []
        began = time.monotonic()
        for item in items:
            rows = 0 if isinstance(item, StreamError) else len(item[2])
            if taken and (rows == 0 or rows > self.room):
                yield Chunk(self.place(chunk), taken)
                taken = []
            if isinstance(item, StreamError):
                raise item
            if not taken:
                if rows > self.room:  # by half at least: sizes that grow slowly compile seldom
                    self.room = self._rounded(max(rows, self.room + self.room // 2))
                chunk, began = _empty(first, self.slots, self.room), time.monotonic()
            _write(chunk, len(taken), item, first)
            taken.append(rows)
            if len(taken) == self.slots or (wanted() and time.monotonic() - began > PATIENCE):
                yield Chunk(self.place(chunk), taken)
                taken = []
        if taken:
            yield Chunk(self.place(chunk), taken)


def _errors_as_items(batches: Generator[HostBatch, None, None]) -> Generator[HostBatch | StreamError, None, None]:
    """What came before an error is trained on first."""
    try:
        yield from batches
    except StreamError as error:
        yield error


def _copied(item: HostBatch | StreamError) -> Any:
    return item if isinstance(item, StreamError) else jax.tree.map(np.array, item)


def _empty(like: HostBatch, slots: int, room: int) -> Any:
    return jax.tree.map(lambda leaf: np.zeros((slots, room, *leaf.shape[1:]), leaf.dtype), like)


def _write(chunk: Any, slot: int, batch: HostBatch, first: HostBatch) -> None:
    rows = len(batch[2])

    def one(room: np.ndarray, leaf: np.ndarray, filler: np.ndarray) -> None:
        room[slot, :rows] = leaf
        if rows < room.shape[1]:
            room[slot, rows:] = filler[np.arange(room.shape[1] - rows) % len(filler)]

    jax.tree.map(one, chunk, batch, first)
    chunk[2][slot, rows:] = 0
