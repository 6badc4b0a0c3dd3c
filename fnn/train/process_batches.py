"""Super-batches of several processes: each reads its own part of every batch, and all take the same steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fnn.typing import PyTree


class Part(NamedTuple):
    """What this process has of a super-batch: arrays (slots, room, …), None at its end; the batches in it, -1 where
    its stream failed; the room and slots it computes with; whether it is to stop."""

    data: PyTree
    batches: int
    room: int
    slots: int
    stops: bool


class Joint(NamedTuple):
    """What all have: arrays over the mesh, None at the end of all; the first process that failed, -1 for none."""

    data: PyTree
    batches: int
    room: int
    slots: int
    failed: int


def join(mesh: Mesh, own: Part, first: PyTree) -> Joint:
    """The parts side by side. One that has ended goes on with rows that do not count, those of its batch `first`."""
    from jax.experimental.multihost_utils import process_allgather

    found = np.asarray(process_allgather(np.asarray([own.batches, own.room, own.slots, own.stops], np.int32)))
    counts, (_, room, slots, stops) = found[:, 0], found.max(axis=0).tolist()
    count, failed = int(counts.max()), int(np.argmax(counts < 0)) if (counts < 0).any() else -1
    if failed >= 0 or stops or count == 0:
        return Joint(None, 0, room, slots, failed)
    sharding = NamedSharding(mesh, PartitionSpec(None, mesh.axis_names[0]))
    local = _fill_up(own, first, slots, room, count)
    data = jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), local)
    return Joint(data, count, room, slots, -1)


def _fill_up(own: Part, first: Any, slots: int, room: int, count: int) -> Any:
    """This process's arrays with as many slots and as much room as all of them have, real rows in `count` of them."""
    if own.data is not None and own.data[2].shape == (slots, room) and own.batches == count:
        return own.data
    rows = np.arange(room) % len(first[2])
    spare = jax.tree.map(lambda leaf: np.broadcast_to(leaf[rows], (slots, *leaf[rows].shape)).copy(), first)
    spare[2][:] = 0
    if own.data is not None:

        def put(all: np.ndarray, part: np.ndarray) -> None:
            all[: own.batches, : part.shape[1]] = part[: own.batches]

        jax.tree.map(put, spare, own.data)
    return spare
