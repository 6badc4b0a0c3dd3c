"""What a model says of a stream: outputs of one batch after another, scores of all of them together."""

from __future__ import annotations

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
from fnn.train.feeding import Feed
from fnn.train.outputs import scores_from
from fnn.train.sharding import splitter, whole
from fnn.train.stream import Stream
from fnn.train.trained import Trained, check_trained
from fnn.typing import Array, PyTree


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
    interrupted: Callable[[], bool] = lambda: False,
) -> tuple[PyTree, PyTree, Any]:
    """Outputs, targets and weights of all rows, on the host, for one pass over a stream, as far as it came."""
    feed.begin(epoch)
    outputs_of = compiled(_outputs_of_chunk, applied)
    parts: list[Any] = []
    while (chunk := feed.next(interrupted)) is not None:
        for said in feed.reader.rounded if not parts else ():
            checks.warn(f"{applied.where}: {said}", UserWarning)
        outputs = outputs_of(trained, chunk.data[0], jnp.asarray(len(chunk.rows)))
        found = jax.device_get((outputs, *chunk.data[1:]))
        parts += [jax.tree.map(lambda leaf: leaf[slot, :rows], found) for slot, rows in enumerate(chunk.rows)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts) if parts else ((), (), None)


def _outputs_of_chunk(given: Application, trained: Trained, x: PyTree, count: Array) -> PyTree:
    split = splitter(given.mesh)

    check_trained(given.where, given.model, trained, jax.tree.map(lambda leaf: leaf[0], x))

    def one(place: Array | int) -> PyTree:
        batch = jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, place, keepdims=False), x)
        return given.decode(given.model.apply(trained.params, trained.state, split(batch))[0])

    slots = jax.tree.leaves(x)[0].shape[0]
    room = jax.tree.map(lambda leaf: jnp.zeros((slots, *leaf.shape), leaf.dtype), jax.eval_shape(one, 0))
    written = lambda place, room: jax.tree.map(lambda all, new: all.at[place].set(new), room, one(place))  # noqa: E731
    return whole(given.mesh, jax.lax.fori_loop(0, count, written, room))


class Scoring:
    """Scores of a stream: its outputs are held, its inputs are not."""

    def __init__(self, applied: Application, task: Task, stream: Stream) -> None:
        self.feed, self.task, self.applied = Feed(stream, applied.mesh), task, applied

    def __call__(
        self, trained: Trained, epoch: int | None = None, interrupted: Callable[[], bool] = lambda: False
    ) -> dict[str, Array] | None:
        """None where the run is interrupted meanwhile."""
        outputs, targets, weights = collect(self.feed, self.applied, trained, epoch, interrupted)
        if interrupted():
            return None
        # Without weights a metric is asked without them: it then is what it is for arrays, to the last bit.
        weighted = len(self.feed.reader.form) == 3
        return compiled(_scores, self.task)(outputs, targets, weights if weighted else None)

    def close(self) -> None:
        self.feed.close()


def _scores(task: Task, outputs: PyTree, targets: PyTree, weights: Any) -> dict[str, Array]:
    return scores_from(task, outputs, (None, targets, weights), None)
