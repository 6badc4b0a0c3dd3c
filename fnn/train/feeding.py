"""Super-batches: batches of a stream stacked on the host, so that one compiled call takes many steps."""

from __future__ import annotations

import contextlib
import functools
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
from fnn.train.host_batches import HostBatch, Raw, Reader
from fnn.train.process_batches import Joined, Sizes
from fnn.train.processes import attempt_in_all, together
from fnn.train.read_ahead import Ahead
from fnn.train.sharding import over_rows
from fnn.train.stream import Stream, StreamError, length
from fnn.typing import PyTree

CHUNK_BYTES = 2**23
"""Bytes of a super-batch; five of them are held: two in use, one to be filled anew, one ready, one being made. Half as
much was slower beside a small model (AMD Zen 4: 5 % on both jax 0.10.2 and 0.12)."""

MOST_STEPS = 1024
"""Batches in a super-batch."""

BATCHES_LOOKED_AT = 16
"""Batches by which the room for all of them is measured, and seen whether the stream has more."""

FIRST_SHARE = 8
"""Of an epoch's first super-batch that much is enough where the run waits for it, of the next ones twice as much each:
the run computes while the reading is still beginning."""

WAIT_SECONDS = 0.2
"""Seconds after which an unfinished super-batch is handed to a run that waits for it."""


class Chunk(NamedTuple):
    """Inputs, targets and weights of shape (slots, room, …); of the slots that are taken, how many rows each has, those
    of this process; whether the stream fails after them; the host's memory of the inputs, which a CPU computes with as
    it lies. In a run the step that is its slot 0, and what its last program says: the carry's `diverged_at`, which is
    there when that program has ended."""

    data: tuple[PyTree, PyTree, Any]
    rows: list[int]
    fails: bool = False
    memory: PyTree = None
    first: int = 0
    said: Any = None


class Feed:
    """The super-batches of a stream, all of one shape: the rows that a slot lacks are the first ones of the epoch,
    with weight 0, so that statistics over a batch see only real rows, as `rows.batch_rows` has it for arrays. The rows
    of every batch are split over the mesh, and their room is a multiple of its size."""

    def __init__(self, stream: Stream, mesh: Mesh | None = None) -> None:
        self.joined = Joined(mesh) if mesh is not None and together(mesh) else None
        self.mesh, self.reader = mesh, Reader(stream, self.joined is not None)
        self.processes = placement.hosts() if self.joined else 1
        self.multiple = 1 if mesh is None else mesh.size // self.processes
        # Called in the thread that reads: what comes next is on the device ahead of its use.
        sharding = None if mesh is None else over_rows(mesh, 1)
        put: Callable[[PyTree], PyTree] = functools.partial(jax.device_put, device=sharding)
        self.place = put if self.joined is None else lambda data: data
        self.room = self.slots = 0
        self.first: Any = None  # batch of the epoch that was begun last
        self.epoch: int | None = None
        self.stopped = False  # whether the run was interrupted when a super-batch was asked for
        self._ahead: Ahead | None = None
        self._spare: list[PyTree] = []  # memory to fill anew: new pages cost as much as what is written to them

    def begin(self, epoch: int | None) -> None:
        """Start to read an epoch, in a thread of its own."""
        self.close(wait=True)
        self.epoch = epoch
        if self.joined is not None:
            self.joined.taken = 0
        self._ahead = Ahead(functools.partial(self._chunks, epoch))

    def next(self, interrupted: Callable[[], bool] = lambda: False) -> Chunk | None:
        """The next super-batch, None at the end of the epoch and where the run is interrupted."""
        if self.joined is not None:
            found = self.joined.next(self, interrupted)
            return None if found is None else Chunk(*found)
        chunk = self.next_own(interrupted)
        self.stopped = chunk is None and interrupted()
        return chunk

    def next_own(self, interrupted: Callable[[], bool]) -> Any:
        """What this process has read next, whatever others have; None at its end."""
        return None if self._ahead is None else self._ahead.next(interrupted)

    def attempt(self, ask: Callable[[], Any]) -> Any:
        """What it answers of the stream; the error of one process is raised in all."""
        return attempt_in_all(self.mesh, f"{self.reader.stream.where}: the stream", ask)

    def reuse(self, chunk: Chunk) -> None:
        """Nobody computes with it any more: its memory may be filled anew."""
        if chunk.memory is not None:
            self._spare.append(chunk.memory)

    def close(self, wait: bool = False) -> None:
        """Read no further; with `wait` nobody reads any more on return."""
        if self._ahead is not None:
            self._ahead.close(wait)
            self._ahead = None

    def _chunks(
        self, epoch: int | None, wanted: Callable[[], bool], stopped: Callable[[], bool]
    ) -> Generator[Chunk | Sizes, None, None]:
        with contextlib.closing(_errors_as_items(self.reader.epoch(epoch), stopped)) as items:
            begins = self.first is None
            head, ended = _head(items, BATCHES_LOOKED_AT if begins else 1)
            if stopped():
                return
            if head and isinstance(head[0], StreamError):
                raise head[0]
            if head:
                self.first = self.reader.host_batch(head[0])
            if begins:
                sizes = self._measure([batch.rows for batch in head if not isinstance(batch, StreamError)], ended)
                if self.joined is not None:
                    yield sizes
                    sizes = self.joined.wait(stopped)
                # A run that is resumed has the room and the slots that it had.
                self.slots = self.slots or max(1, min(sizes.most, sizes.wanted, MOST_STEPS))
                self.room = max(self.room, sizes.room) if self.joined else self.room or sizes.room
            # Out of the deque, so that what was stacked is let go of.
            yield from self._stack(itertools.chain((head.popleft() for _ in range(len(head))), items), wanted)
            self.reader.digits.check()
            if self.joined is None and not self.reader.counts:
                raise StreamError(self.reader.describe_uncounted(epoch))

    def _measure(self, sizes: list[int], ended: bool) -> Sizes:
        if not sizes:  # of several processes
            return Sizes(0, MOST_STEPS, 0)
        room, row = self.round_up(max(sizes)), _bytes(self.first) // len(self.first[2])
        known = length(self.reader.stream.source) or MOST_STEPS
        return Sizes(room, CHUNK_BYTES // max(row * room, 1), len(sizes) if ended else known)

    def round_up(self, rows: int) -> int:
        """Room for so many rows, which the devices of this process divide."""
        return -(-rows // self.multiple) * self.multiple

    def _stack(self, items: Iterable[Raw | StreamError], wanted: Callable[[], bool]) -> Generator[Chunk, None, None]:
        filling, share, first = None, FIRST_SHARE, self.first
        for item in items:
            if isinstance(item, StreamError):
                yield from self._hand_out(filling, item)
                return
            if item.rows > self.room:  # by half at least: sizes that grow slowly compile seldom
                self.room = self.round_up(max(item.rows, self.room + self.room // 2))
                if filling and self.joined is None:  # no number depends on whether the run has waited for them
                    yield from self._hand_out(filling)
                    filling = None
                filling = filling and filling.move(self._memory(first[0]))
            if filling is None:
                filling = Filling(first, self._memory(first[0]))
            filling.add(item)
            enough = share * len(filling.raw) >= self.slots or time.monotonic() > filling.began + WAIT_SECONDS
            # Several processes cut where their batches end, not when one of them waits.
            if len(filling.raw) == self.slots or (enough and self.joined is None and wanted()):
                yield from self._hand_out(filling)
                filling, share = None, max(1, share // 2)
        if filling:
            yield from self._hand_out(filling)

    def _memory(self, first: PyTree) -> PyTree:
        """For the inputs of a super-batch, of one that was computed with if it has this room."""
        while self._spare:
            memory = self._spare.pop()
            if all(leaf.shape[:2] == (self.slots, self.room) for leaf in jax.tree.leaves(memory)):
                return memory
        return _allocate(first, self.slots, self.room)

    def _hand_out(self, filling: Filling | None, after: StreamError | None = None) -> Generator[Chunk, None, None]:
        """What is right of it, then the error of what is not, or of what comes `after` it."""
        count, labels, error = self.reader.label(filling.raw) if filling else (0, None, None)
        error = error or after
        if filling and labels:
            rows = [raw.rows for raw in filling.raw[:count]]
            yield Chunk(self.place((filling.x, *filling.lay(rows, labels))), rows, error is not None, filling.x)
        if error:
            raise error


class Filling:
    """A super-batch that is being filled: inputs at once, since a stream may write the next batch over the last,
    targets and weights at its end, when they are checked together."""

    def __init__(self, first: HostBatch, memory: PyTree) -> None:
        self.first, self.x, self.raw = first, memory, list[Raw]()
        self.slots, self.room = jax.tree.leaves(memory)[0].shape[:2]
        self.began = time.monotonic()

    def add(self, raw: Raw) -> None:
        def write(memory: np.ndarray, leaf: np.ndarray, filler: np.ndarray) -> None:
            memory[slot, : raw.rows] = leaf
            if raw.rows < self.room:
                memory[slot, raw.rows :] = filler[np.arange(self.room - raw.rows) % len(filler)]

        slot = len(self.raw)
        jax.tree.map(write, self.x, raw.x, self.first[0])
        self.raw.append(_without_inputs(raw))

    def move(self, memory: PyTree) -> Filling:
        """The same with more room."""
        moved = Filling(self.first, memory)
        moved.began = self.began
        for slot, raw in enumerate(self.raw):
            moved.add(raw._replace(x=jax.tree.map(lambda leaf: leaf[slot, : raw.rows], self.x)))
        return moved

    def lay(self, rows: list[int], labels: tuple[PyTree, np.ndarray]) -> tuple[PyTree, np.ndarray]:
        """Targets and weights of one row after another, each in its slot."""
        ends = np.asarray(rows)[:, None]
        real = np.arange(self.room) < ends
        spare = (np.arange(self.room) - ends)[~real] % len(self.first[2])

        def spread(leaf: np.ndarray, filler: np.ndarray) -> np.ndarray:
            (all,) = _allocate((leaf,), self.slots, self.room)
            all[: len(rows)][real], all[: len(rows)][~real] = leaf, filler[spare]
            return all

        targets, weights = labels
        return jax.tree.map(spread, targets, self.first[1]), spread(weights, np.zeros_like(self.first[2]))


def _allocate(like: PyTree, slots: int, room: int) -> Any:
    return jax.tree.map(lambda leaf: checks.allocate((slots, room, *leaf.shape[1:]), leaf.dtype), like)


def _without_inputs(raw: Raw) -> Raw:
    """Targets and weights in memory of their own."""
    own = lambda part: part.copy() if isinstance(part, np.ndarray) else part  # noqa: E731
    plain = isinstance(raw.targets, np.ndarray)  # as most are, and without a walk
    targets = own(raw.targets) if plain else jax.tree.map(own, raw.targets)
    return Raw((), targets, own(raw.weights), raw.rows, raw.place)


def _errors_as_items(
    batches: Generator[Raw, None, None], stopped: Callable[[], bool]
) -> Generator[Raw | StreamError, None, None]:
    """What came before an error is trained on first; nothing is read once it is stopped."""
    with contextlib.closing(batches):
        try:
            for batch in batches:
                yield batch
                if stopped():
                    return
        except StreamError as error:
            yield error


def _head(items: Iterator[Raw | StreamError], most: int) -> tuple[deque[Any], bool]:
    """The first batches, as copies, since a stream may write the next one over the last; and whether they are all."""
    head: deque[Any] = deque()
    held = 0
    for item in items:
        if isinstance(item, StreamError):
            head.append(item)
            return head, True
        head.append(_without_inputs(item)._replace(x=jax.tree.map(np.copy, item.x)))
        held += _bytes(item)
        if len(head) == most or held >= CHUNK_BYTES:
            return head, False
    return head, True


def _bytes(batch: HostBatch | Raw) -> int:
    return sum(getattr(leaf, "nbytes", 0) for leaf in jax.tree.leaves(batch))
