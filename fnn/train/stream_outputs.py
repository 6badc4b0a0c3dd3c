"""What a model says of a stream: outputs of one batch after another, scores of all of them together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fnn import checks
from fnn.layer import Layer
from fnn.programs import compile as compiled
from fnn.tasks import Task
from fnn.train.checkpoint import Record
from fnn.train.console import is_to_end
from fnn.train.feeding import Feed
from fnn.train.host_batches import HostBatch
from fnn.train.identity import digest_of
from fnn.train.outputs import scores_from
from fnn.train.process_batches import gather_rows
from fnn.train.processes import gather
from fnn.train.sharding import own_rows, replicate, split
from fnn.train.stream import Stream, takes_epoch
from fnn.train.stream_place import come_to, describe_stream, place_of, warn_of_another
from fnn.train.trained import Trained, apply_trained, check_trained
from fnn.typing import Array, PyTree

SEEN_ROWS = 64
"""Rows of a stream's first batch by which its inputs are known again."""


class Application(NamedTuple):
    """What decides the program of a super-batch's outputs."""

    where: str
    model: Layer
    decode: Callable[..., Any]
    mesh: Mesh | None


def collect(
    feed: Feed,
    applied: Application,
    trained: Trained,
    epoch: int | None = None,
    interrupted: Callable[[], bool] = is_to_end,
) -> tuple[PyTree, PyTree, Any]:
    """Outputs, targets and weights of this process's rows, on the host, of a pass over a stream, as far as it came."""
    feed.begin(epoch)
    outputs_of = compiled(_outputs_of_chunk, applied)
    parts: list[Any] = []
    while (chunk := feed.next(interrupted)) is not None:
        while feed.reader.rounded:  # said once, also of a stream that is read every epoch
            checks.warn(f"{applied.where}: {feed.reader.rounded.pop(0)}", UserWarning)
        outputs = outputs_of(trained, chunk.data[0], jnp.asarray(len(chunk.rows)))
        found = own_rows((outputs, *chunk.data[1:]))
        feed.reuse(chunk)
        parts += [jax.tree.map(lambda leaf: leaf[slot, :rows], found) for slot, rows in enumerate(chunk.rows)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts) if parts else ((), (), None)


def _outputs_of_chunk(given: Application, trained: Trained, x: PyTree, count: Array) -> PyTree:
    check_trained(given.where, given.model, trained, jax.tree.map(lambda leaf: leaf[0], x))

    def one(place: Array | int) -> PyTree:
        return given.decode(apply_trained(given.model, trained, split(given.mesh, batch_at(x, place))))

    slots = jax.tree.leaves(x)[0].shape[0]
    room = jax.tree.map(lambda leaf: jnp.zeros((slots, *leaf.shape), leaf.dtype), jax.eval_shape(one, 0))
    written = lambda place, room: jax.tree.map(lambda all, new: all.at[place].set(new), room, one(place))  # noqa: E731
    return split(given.mesh, jax.lax.fori_loop(0, count, written, room), axis=1)


class Scoring:
    """Scores of a stream: its outputs are held, its inputs are not. `beside` is what else is known of what it reads."""

    def __init__(self, applied: Application, task: Task, stream: Stream, beside: str = "") -> None:
        self.feed, self.task, self.applied, self.beside = Feed(stream, applied.mesh), task, applied, beside
        # First rows of the last pass, and where no pass gives others all targets and weights: a new run is held against
        # them.
        self.seen: PyTree = None
        self.known: tuple[str, int] | None = None  # what was seen before the run was resumed, and the epochs until then

    def __call__(
        self, trained: Trained, epoch: int | None = None, interrupted: Callable[[], bool] = is_to_end
    ) -> dict[str, Array] | None:
        """None where the run is interrupted meanwhile."""
        self.seen = None
        found = collect(self.feed, self.applied, trained, epoch, interrupted)
        if self.feed.stopped:
            return None
        mesh = self.feed.mesh
        self.feed.attempt(lambda: self._compare(found[1:]))
        outputs, targets, weights = gather_rows(found) if self.feed.joined else found
        # Without weights a metric is asked without them: it then is what it is for arrays, to the last bit.
        data = None, targets, weights if self.feed.reader.weighted else None
        scores = compiled(scores_from, self.task)(outputs, data, None)
        if not self.feed.joined:
            return scores
        # Those of one process: others may round them otherwise, and then stop at another epoch.
        told = gather(mesh, {name: np.asarray(score, float).tolist() for name, score in scores.items()})[0]
        return replicate(mesh, {name: np.asarray(told[name], score.dtype) for name, score in scores.items()})

    def _compare(self, labels: Any) -> None:
        reader, known = self.feed.reader, self.known
        self.known = None
        if self.beside or reader.state is not None:
            return
        self.seen = first_rows(self.feed.first), () if takes_epoch(reader.stream.source) else labels
        if known is not None:
            self._hold_against(*known)

    def _hold_against(self, known: str, epochs: int) -> None:
        if known != digest_of(self.seen):
            warn_of_another(
                self.applied.where, "other rows", f"the scores after epoch {epochs}",
                "by the epoch as its argument, or with state_dict and load_state_dict",
            )  # fmt: skip

    def _look_again(self, known: str, epochs: int) -> None:
        """At the first batch of the last pass, of what gives others in the next one."""
        with contextlib.closing(self.feed.reader.epoch(epochs - 1)) as batches:
            for batch in batches:
                self.seen = first_rows(self.feed.reader.host_batch(batch)), ()
                self._hold_against(known, epochs)
                return

    def stands(self, epochs: int) -> dict[str, Any]:
        return {"validation": place_of(self.feed, epochs, "" if self.seen is None else digest_of(self.seen))}

    def resume(self, record: Record) -> None:
        """Its state is given back to what has one; of a function of the epoch the last pass's first batch is looked at
        again; of any other the next pass is held against the last one."""
        seen, epochs = come_to(self.feed, record.streams["validation"], len(record.table)), len(record.table)
        again = bool(seen) and takes_epoch(self.feed.reader.stream.source)
        self.known = (seen, epochs) if seen and not again else None
        self.feed.attempt(lambda: self._look_again(seen or "", epochs) if again else None)

    def describe(self) -> dict[str, str]:
        return {"validation": self.beside or describe_stream(self.feed)}

    def close(self) -> None:
        self.feed.close()


def batch_at(data: PyTree, place: Array | int) -> Any:
    """The batch in this slot of a super-batch."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, place, keepdims=False), data)


def first_rows(batch: HostBatch) -> PyTree:
    """By which a batch is known again."""
    return jax.tree.map(lambda leaf: leaf[:SEEN_ROWS], batch)
