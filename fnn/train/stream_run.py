"""A stream as a run reads it: epoch after epoch, chunk after chunk, step after step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.programs import compile as compiled
from fnn.train.checkpoint import Record
from fnn.train.console import interruption
from fnn.train.divergence import replay_batch, require_possible
from fnn.train.drive import RESPONSE_SECONDS, Take
from fnn.train.feeding import Chunk, Feed
from fnn.train.identity import describe_data, digest_of
from fnn.train.inputs import Inputs
from fnn.train.loop import Batch, BatchSource, Carry, Keys, Recipe, take_steps
from fnn.train.processes import gather
from fnn.train.stream import Stream, StreamError, describe_list
from fnn.train.stream_outputs import first_rows
from fnn.train.stream_place import come_to, place_of, stands_by_itself, warn_of_another
from fnn.train.trained import TrainState
from fnn.typing import Array, Key, PyTree


class Given(NamedTuple):
    """A super-batch, the step of the run that is its slot 0, and what its last program says: the carry's `diverged_at`,
    which is there when that program has ended."""

    chunk: Chunk
    first: int
    said: Any = None


class Reading:
    """A stream as it is read in a run: epoch after epoch, chunk after chunk, step after step."""

    def __init__(self, stream: Stream, feed: Feed, beside: str) -> None:
        self.stream, self.feed, self.beside = stream, feed, beside
        feed.begin(0)
        with interruption() as asked:
            chunk = feed.next(asked)
        if chunk is None:  # an epoch without batches is an error
            raise KeyboardInterrupt("fit: Ctrl-C was pressed before the first batch was read")
        for said in feed.reader.rounded:
            checks.warn(f"fit: {said}", UserWarning)
        self.last: Given | None = None  # which may be computed with still while the next one is
        self.now: Given | None = Given(chunk, 0)
        self.failed: StreamError | None = None
        self.seen = self._look()
        self.example = jax.tree.map(lambda leaf: np.zeros((2, *leaf.shape[1:]), leaf.dtype), feed.first)

    def epochs(
        self, recipe: Recipe, keys: Keys, inputs: Inputs, interrupted: Callable[[], bool]
    ) -> Callable[[int, int], Take]:
        steps = compiled(_steps_of_chunk, recipe, donate=(0,))

        def epoch(number: int, before: int) -> Take:
            if number > 0:
                self.feed.begin(number)
                for one in filter(None, (self.last, self.now)):
                    self.feed.reuse(one.chunk)
                self.last = self.now = None
            done = stands = 0

            def take(carry: Carry, place: int, most: int) -> tuple[Carry, int]:
                nonlocal done, stands
                if stands < place:  # of a run that goes on in the middle of an epoch
                    done = self._pass_over(number, before, place, interrupted)
                taken, late = 0, time.monotonic() + RESPONSE_SECONDS
                while taken < most:
                    now = self.now
                    if now is None or done == len(now.chunk.rows):
                        if taken and (self.feed.joined is not None or time.monotonic() > late):
                            break
                        now, done = self._go_on(before + place + taken, interrupted, bool(taken)), 0
                        if now is None:
                            break
                    last = min(done + most - taken, len(now.chunk.rows))
                    # NumPy's numbers: to make JAX's takes as long as a small step.
                    carry, said = steps(carry, keys, now.chunk.data, *map(np.int32, (now.first, done, last)))
                    self.now, taken, done = now._replace(said=said), taken + last - done, last
                stands = place + taken
                return carry, taken

            return take

        return epoch

    def _go_on(self, step: int, interrupted: Callable[[], bool], taken: bool) -> Given | None:
        """The next super-batch, while the program of this one may be running: none past a step that diverged. What
        fails after steps were taken is said when they are over."""
        if self.failed is not None:
            raise self.failed
        if self.last is not None:
            if int(self.last.said) >= 0:
                return None
            self.feed.reuse(self.last.chunk)
        self.last, self.now = self.now, None
        try:
            chunk = self.feed.next(interrupted)
        except StreamError as error:
            if not taken:
                raise
            self.failed = error
            return None
        self.now = None if chunk is None else Given(chunk, step)
        return self.now

    def _pass_over(self, epoch: int, before: int, place: int, interrupted: Callable[[], bool]) -> int:
        """Read the batches again that the run had taken of its epoch; the slot of the next one."""
        passed, chunk = 0, self.now.chunk if self.now else self.feed.next(interrupted)
        while chunk is not None and passed + len(chunk.rows) <= place:
            passed += len(chunk.rows)
            self.feed.reuse(chunk)
            chunk = self.feed.next(interrupted)
        if passed < place and chunk is None and not self.feed.stopped:
            raise StreamError(
                f"fit: expected at least {place} batches in epoch {epoch + 1}, as before the run was broken off, the "
                f"stream gave {passed}"
            )
        if not (stands_by_itself(self.stream.source) or self.feed.reader.own):
            checks.warn(
                f"fit: the stream has no state of its own, so {place} batches of epoch {epoch + 1} were read again to "
                "go on after them; make it a function of the epoch, which gives the same ones again",
                UserWarning,
            )
        self.now = None if chunk is None else Given(chunk, before + passed)
        return place - passed

    def _look(self) -> str:
        """By what the first batch is known again; a memory map is known by more."""
        return "" if self.beside else digest_of(first_rows(self.feed.first))

    def stands(self, epochs: int) -> dict[str, Any]:
        gives_again = stands_by_itself(self.stream.source) or not epochs  # the same first batch
        return {"data": place_of(self.feed, epochs, self.seen if gives_again else "")}

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

        place = record.streams["data"]
        seen = come_to(self.feed, place, done, read_again)
        if not done and any(part["state"] is not None for part in place["parts"]):
            self.feed.begin(0)
            if (chunk := self.feed.next(interrupted)) is None:
                return
            self.now, self.seen = Given(chunk, 0), self._look()
        if seen and seen != self.seen:
            warn_of_another(
                "fit", "another first batch", f"the numbers from epoch {done + 1} on",
                "the same files, keys and batch size",
            )  # fmt: skip

    def explain(self, recipe: Recipe, key: Key, inputs: Inputs, before: TrainState, step: int) -> str:
        """Why a step that this run took diverged; of one before a resume the batch was not read again."""
        used = (one for one in (self.last, self.now) if one is not None and one.said is not None)
        at = next((one for one in used if one.first <= step < one.first + len(one.chunk.rows)), None)
        if at is None:
            return (
                " The run had ended there before it was resumed, and that batch of the stream is not read again: "
                "fnn.diagnostics.explain_divergence, given the parameters and the batch, says in which layer."
            )

        def batch() -> Batch:
            return _at(at.chunk.data, jnp.asarray(step - at.first))

        if recipe.mesh is None:
            require_possible("fit", recipe.model, recipe.task, before.trained, *batch()[:2])
        return replay_batch(recipe, key, batch, before, step)

    def describe(self, inputs: Inputs) -> dict[str, str]:
        if self.beside:
            return describe_data(inputs) | {"x, targets and weights": self.beside}
        parts = gather(self.feed.mesh, f"a stream of {self.feed.reader.form}{describe_list(self.stream.source)}")
        return describe_data(inputs) | {"x, targets and weights": " and ".join(dict.fromkeys(parts))}


def _steps_of_chunk(
    recipe: Recipe, carry: Carry, keys: Keys, data: PyTree, before: Array, first: Array, last: Array
) -> tuple[Carry, Array]:
    """Steps of a super-batch, and `diverged_at` in memory that is not given away: ends and numbers are values, so all
    of them are one program."""
    carry = take_steps(recipe, carry, keys, BatchSource(lambda place: _at(data, place), before), first, last)
    return carry, carry.diverged_at + 0


def _at(data: PyTree, place: Array) -> Any:
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, place, keepdims=False), data)
