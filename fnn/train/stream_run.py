"""A stream as a run reads it: epoch after epoch, chunk after chunk, step after step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.data.array_files import ArrayFiles
from fnn.programs import compile as compiled
from fnn.train.checkpoint import Record
from fnn.train.divergence import replay_batch, require_possible
from fnn.train.drive import Take
from fnn.train.feeding import Chunk, Feed
from fnn.train.identity import describe_data, digest_of
from fnn.train.inputs import Inputs
from fnn.train.loop import Batch, Batches, Carry, Keys, Recipe, take_steps
from fnn.train.stream import Stream, takes_epoch
from fnn.train.stream_state import decode_state, encode_state
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

    def stands(self) -> Any:
        # One process writes the checkpoint, and its stream's state is not that of the others' parts.
        state = None if self.feed.joins is not None else encode_state(self.feed.reader.state)
        return {"room": self.feed.room, "state": state}

    def resume(self, interrupted: Callable[[], bool], record: Record) -> None:
        """An object that knows its state is given it back; any other is read as often as it was read before, and so
        is every one of several processes."""
        source, reader, done = self.stream.source, self.feed.reader, len(record.table)
        self.feed.room = record.stream["room"]
        if takes_epoch(source) or isinstance(source, list):
            return
        if record.stream["state"] is not None:
            self.feed.close(wait=True)
            return reader.restore(decode_state(record.stream["state"]), done)
        stops = interrupted if self.feed.joins is None else lambda: False  # several processes stop between epochs
        for epoch in range(done):
            if epoch:
                self.feed.begin(epoch)
            while self.feed.next(stops) is not None:
                pass
            if stops():
                return
        why, write = "has no state of its own", "give it state_dict and load_state_dict, or make it"
        if self.feed.joins is not None:
            why, write = "is read by several processes, whose states no checkpoint holds", "make it"
        checks.warn(
            f"fit: the stream {why}, so {done} epochs of it were read again to go on with epoch {done + 1}; {write} a "
            "function of the epoch",
            UserWarning,
        )

    def explain(self, recipe: Recipe, key: Key, inputs: Inputs, before: TrainState, step: int) -> str:
        def batch() -> Batch:
            assert self.chunk is not None
            return _at(self.chunk.data, jnp.asarray(step - self.first))

        if recipe.mesh is None:
            require_possible("fit", recipe.model, recipe.task, before.trained, *batch()[:2])
        return replay_batch(recipe, key, batch, before, step)

    def describe(self, inputs: Inputs) -> dict[str, str]:
        form = ", ".join(jax.tree.leaves(self.feed.reader.form))
        return describe_data(inputs) | {
            "x, targets and weights": f"a stream of {form}{_describe_list(self.stream.source)} {self.beside}"
        }


def _describe_list(source: Any) -> str:
    """How many batches a list has, and which files, by their names alone: a directory may have moved."""
    if isinstance(source, ArrayFiles):
        names = "\n".join(Path(one).name for one in source.paths)
        return f" in {len(source)} files {digest_of(np.frombuffer(names.encode(), np.uint8))}"
    return f" in {len(source)} batches" if isinstance(source, list) else ""


def _steps_of_chunk(
    recipe: Recipe, carry: Carry, keys: Keys, data: PyTree, before: Array, first: Array, last: Array
) -> Carry:
    """Steps of a super-batch: ends and numbers are values, so all of them are one program."""
    return take_steps(recipe, carry, keys, Batches(lambda place: _at(data, place), before), first, last)


def _at(data: PyTree, place: Array) -> Any:
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, place, keepdims=False), data)
