"""A stream as a run reads it: epoch after epoch, chunk after chunk, step after step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.programs import compile as compiled
from fnn.train.checkpoint import Record
from fnn.train.divergence import replay_batch, require_possible
from fnn.train.drive import Take
from fnn.train.feeding import Chunk, Feed
from fnn.train.identity import describe_data
from fnn.train.inputs import Inputs
from fnn.train.loop import Batch, BatchSource, Carry, Keys, Recipe, take_steps
from fnn.train.processes import gather
from fnn.train.stream import Stream, describe_list
from fnn.train.stream_place import come_to, place_of
from fnn.train.trained import TrainState
from fnn.typing import Array, Key, PyTree


class Reading:
    """A stream as it is read in a run: epoch after epoch, chunk after chunk, step after step."""

    def __init__(self, stream: Stream, feed: Feed, beside: str) -> None:
        self.stream, self.feed, self.beside = stream, feed, beside
        feed.begin(0)
        chunk = feed.next()
        assert chunk is not None, "an epoch without batches is an error"
        for said in feed.reader.rounded:
            checks.warn(f"fit: {said}", UserWarning)
        self.chunk: Chunk | None = chunk
        self.first = 0  # the step of the run that is the chunk's slot 0
        self.example = jax.tree.map(lambda leaf: np.zeros((2, *leaf.shape[1:]), leaf.dtype), feed.first)

    def epochs(
        self, recipe: Recipe, keys: Keys, inputs: Inputs, interrupted: Callable[[], bool]
    ) -> Callable[[int, int], Take]:
        steps = compiled(_steps_of_chunk, recipe, donate=(0,))

        def epoch(number: int, before: int) -> Take:
            if number > 0:
                self.feed.begin(number)
                self.chunk = None
            done = 0

            def take(carry: Carry, place: int, most: int) -> tuple[Carry, int]:
                nonlocal done
                if self.chunk is None or done == len(self.chunk.rows):
                    self.chunk, done = self.feed.next(interrupted), 0
                    self.first = before + place
                if self.chunk is None:
                    return carry, 0
                last = min(done + most, len(self.chunk.rows))
                ends = (jnp.asarray(number, jnp.int32) for number in (self.first, done, last))
                taken, done = last - done, last
                return steps(carry, keys, self.chunk.data, *ends), taken

            return take

        return epoch

    def stands(self) -> dict[str, Any]:
        return {"data": place_of(self.feed)}

    def resume(self, interrupted: Callable[[], bool], record: Record) -> None:
        """What has no state of its own is read as often as it was read before."""
        done = len(record.table)

        def read_again() -> None:
            for epoch in range(done):
                if epoch:
                    self.feed.begin(epoch)
                while self.feed.next_own(interrupted) is not None:
                    pass
                if interrupted():
                    return
            checks.warn(
                f"fit: the stream has no state of its own, so {done} epochs of it were read again to go on with epoch "
                f"{done + 1}; give it state_dict and load_state_dict, or make it a function of the epoch",
                UserWarning,
            )

        come_to(self.feed, record.streams["data"], done, read_again)

    def explain(self, recipe: Recipe, key: Key, inputs: Inputs, before: TrainState, step: int) -> str:
        def batch() -> Batch:
            assert self.chunk is not None
            return _at(self.chunk.data, jnp.asarray(step - self.first))

        if recipe.mesh is None:
            require_possible("fit", recipe.model, recipe.task, before.trained, *batch()[:2])
        return replay_batch(recipe, key, batch, before, step)

    def describe(self, inputs: Inputs) -> dict[str, str]:
        if self.beside:
            return describe_data(inputs) | {"x, targets and weights": self.beside}
        form = ", ".join(jax.tree.leaves(self.feed.reader.form))
        parts = gather(self.feed.mesh, f"a stream of {form}{describe_list(self.stream.source)}")
        return describe_data(inputs) | {"x, targets and weights": " and ".join(dict.fromkeys(parts))}


def _steps_of_chunk(
    recipe: Recipe, carry: Carry, keys: Keys, data: PyTree, before: Array, first: Array, last: Array
) -> Carry:
    """Steps of a super-batch: ends and numbers are values, so all of them are one program."""
    return take_steps(recipe, carry, keys, BatchSource(lambda place: _at(data, place), before), first, last)


def _at(data: PyTree, place: Array) -> Any:
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, place, keepdims=False), data)
