"""What a run reads, step after step: arrays in memory, or a stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, random_bits
from fnn.kernels import placement
from fnn.programs import compile as compiled
from fnn.random_bits import in_one_pass
from fnn.train import rows as rows_
from fnn.train.checkpoint import Record
from fnn.train.console import RESPONSE_SECONDS
from fnn.train.divergence import explain, replay_batch, require_possible
from fnn.train.epochs import Order, order_of, take_steps_of_epoch
from fnn.train.feeding import Chunk, Feed
from fnn.train.identity import describe_data, digest_of
from fnn.train.inputs import Inputs
from fnn.train.loop import Batch, BatchSource, Carry, Keys, Recipe, begin, keys_of, take_steps
from fnn.train.sharding import replicate
from fnn.train.stream import Stream, StreamError
from fnn.train.stream_outputs import Scoring, batch_at, first_rows
from fnn.train.stream_place import come_to, describe_stream, place_of, stands_by_itself, warn_of_another
from fnn.train.trained import Trained, TrainState
from fnn.typing import Array, Key, PyTree


class Source:
    """Arrays in memory as a run reads them, by row numbers.

    - `inputs`: arrays of the run; of a stream two rows of zeros, which say their shapes.
    - `steps`: how many an epoch has, None where that is not known.
    - `held`: a validation that is not among the inputs but read too.
    """

    program: Callable[..., Any] = staticmethod(take_steps_of_epoch)
    order: Order | None = None  # of the epoch's rows

    def __init__(self, recipe: Recipe, key: Key, inputs: Inputs, steps: int | None, held: Scoring | None) -> None:
        self.recipe, self.key, self.inputs, self.steps, self.held = recipe, key, inputs, steps, held

    def begin(self, start: Trained | None) -> Carry:
        """Bring the arrays of the run to where it computes; how it begins."""
        checks.require_host("fit", start)
        self.key, self.inputs, start = replicate(self.recipe.mesh, (self.key, self.inputs, start))
        self.keys = keys_of(self.key)
        self.take_steps = compiled(self.program, self.recipe, donate=(0,))
        return compiled(begin, self.recipe)(self.keys, self.inputs, start)

    def begin_epoch(self, number: int, before: int) -> None:
        """Stand at the beginning of an epoch, before which the run took so many steps."""
        inputs, shuffle = self.inputs, self.recipe.options.shuffle
        self.epoch = jnp.asarray(number)
        on_cpu = self.recipe.mesh is None and placement.platform() == "cpu"
        if shuffle and on_cpu and inputs.slots >= rows_.MANY:
            drawn = compiled(_bits, inputs.slots)
            self.order = Order(
                *jax.device_put(rows_.shuffle_on_host(drawn(self.keys.shuffle, self.epoch), inputs.rows))
            )
        else:
            self.order = compiled(order_of, shuffle)(self.keys, inputs, self.epoch)

    def take(self, carry: Carry, place: int, most: int) -> tuple[Carry, int]:
        """From step `place` of the epoch up to so many steps, and how many it was; 0 at its end."""
        last = min(place + most, self.steps or 0)
        if last == place:
            self.order = None  # its memory is free
            return carry, 0
        ends = jnp.asarray(place), jnp.asarray(last)
        return self.take_steps(carry, self.keys, self.inputs, self.epoch, self.order, *ends), last - place

    def explain(self, before: TrainState, step: int) -> str:
        """Why the step that was just taken diverged."""
        return explain("fit", self.recipe, self.key, self.inputs, before, step)

    def describe(self, inputs: Inputs) -> dict[str, str]:
        """What is said of the data where runs are compared."""
        return describe_data(inputs) | (self.held.describe() if self.held else {})

    def stands(self, epochs: int) -> dict[str, Any]:
        """Where what is read stands after so many epochs."""
        return self.held.stands(epochs) if self.held else {}

    def resume(self, record: Record) -> None:
        """Bring what is read to the end of the last epoch of a checkpoint."""
        if self.held:
            self.held.resume(record)

    def close(self) -> None:
        """Read no further."""
        if self.held:
            self.held.close()


def _bits(rows: int, key: Key, epoch: Array) -> Array:
    return jax.random.bits(in_one_pass(random_bits.fold_in(key, epoch)), (rows,), jnp.uint32)


def _steps_of_chunk(
    recipe: Recipe, carry: Carry, keys: Keys, data: PyTree, before: Array, first: Array, last: Array
) -> tuple[Carry, Array]:
    """Steps of a super-batch, and `diverged_at` in memory that is not given away: ends and numbers are values, so all
    of them are one program."""
    carry = take_steps(recipe, carry, keys, BatchSource(lambda place: batch_at(data, place), before), first, last)
    return carry, carry.diverged_at + 0


class Reading(Source):
    """A stream as a run reads it: epoch after epoch, chunk after chunk, step after step; `beside` is what else is known
    of what it reads."""

    program = staticmethod(_steps_of_chunk)
    last: Chunk | None = None  # which may be computed with still while the next one is
    now: Chunk | None = None
    failed: StreamError | None = None

    def __init__(
        self, recipe: Recipe, key: Key, stream: Stream, steps: int | None, validation: Any, held: Scoring | None,
        interrupted: Callable[[], bool], beside: str = "",
    ) -> None:  # fmt: skip
        self.stream, self.feed, self.beside, self.interrupted = stream, Feed(stream, recipe.mesh), beside, interrupted
        self.feed.begin(0)
        try:
            if not self._read_first():  # an epoch without batches is an error
                raise KeyboardInterrupt("fit: Ctrl-C was pressed before the first batch was read")
            if held is not None and (columns := self.feed.reader.columns):
                held.feed.reader.columns = "the data", columns[1]
            for said in self.feed.reader.rounded:
                checks.warn(f"fit: {said}", UserWarning)
        except BaseException:
            self.feed.close()
            raise
        example = jax.tree.map(lambda leaf: np.zeros((2, *leaf.shape[1:]), leaf.dtype), self.feed.first)
        super().__init__(recipe, key, Inputs(example, None, validation, None), steps, held)

    def _read_first(self) -> bool:
        """The first super-batch, unless interrupted, and what it is known again by; a memory map is known by more."""
        if (chunk := self.feed.next(self.interrupted)) is None:
            return False
        self.now = chunk
        self.seen = "" if self.beside else digest_of(first_rows(self.feed.first))
        return True

    def begin_epoch(self, number: int, before: int) -> None:
        if number > 0:
            self.feed.begin(number)
            for one in filter(None, (self.last, self.now)):
                self.feed.reuse(one)
            self.last = self.now = None
        self.number, self.before = number, before
        self.done = self.place = 0  # steps taken of the super-batch, and of the epoch

    def take(self, carry: Carry, place: int, most: int) -> tuple[Carry, int]:
        if self.place < place:  # of a run that goes on in the middle of an epoch
            self.done = self._pass_over(place)
        taken, late = 0, time.monotonic() + RESPONSE_SECONDS
        while taken < most:
            now = self.now
            if now is None or self.done == len(now.rows):
                if taken and (self.feed.joined is not None or time.monotonic() > late):
                    break
                now, self.done = self._go_on(self.before + place + taken, bool(taken)), 0
                if now is None:
                    break
            last = min(self.done + most - taken, len(now.rows))
            # NumPy's numbers: to make JAX's takes as long as a small step.
            ends = map(np.int32, (now.first, self.done, last))
            carry, said = self.take_steps(carry, self.keys, now.data, *ends)
            self.now, taken, self.done = now._replace(said=said), taken + last - self.done, last
        self.place = place + taken
        return carry, taken

    def _go_on(self, step: int, taken: bool) -> Chunk | None:
        """The next super-batch, while the program of this one may be running: none past a step that diverged. What
        fails after steps were taken is said when they are over."""
        if self.failed is not None:
            raise self.failed
        if self.last is not None:
            if int(self.last.said) >= 0:
                return None
            self.feed.reuse(self.last)
        self.last, self.now = self.now, None
        try:
            chunk = self.feed.next(self.interrupted)
        except StreamError as error:
            if not taken:
                raise
            self.failed = error
            return None
        self.now = chunk and chunk._replace(first=step)
        return self.now

    def _pass_over(self, place: int) -> int:
        """Read the batches again that the run had taken of its epoch; the slot of the next one."""
        passed, chunk = 0, self.now or self.feed.next(self.interrupted)
        while chunk is not None and passed + len(chunk.rows) <= place:
            passed += len(chunk.rows)
            self.feed.reuse(chunk)
            chunk = self.feed.next(self.interrupted)
        if passed < place and chunk is None and not self.feed.stopped:
            raise StreamError(
                f"fit: expected at least {place} batches in epoch {self.number + 1}, as before the run was broken off, "
                f"the stream gave {passed}"
            )
        if not (stands_by_itself(self.stream.source) or self.feed.reader.own):
            checks.warn(
                f"fit: the stream has no state of its own, so {place} batches of epoch {self.number + 1} were read "
                "again to go on after them; make it a function of the epoch, which gives the same ones again",
                UserWarning,
            )
        self.now = chunk and chunk._replace(first=self.before + passed)
        return place - passed

    def stands(self, epochs: int) -> dict[str, Any]:
        gives_again = stands_by_itself(self.stream.source) or not epochs  # the same first batch
        return {"data": place_of(self.feed, epochs, self.seen if gives_again else "")} | super().stands(epochs)

    def resume(self, record: Record) -> None:
        """What has no state of its own is read as often as it was read before."""
        done = len(record.table)

        def read_again() -> None:
            for epoch in range(done):
                if epoch:
                    self.feed.begin(epoch)
                while self.feed.next_own(self.interrupted) is not None:
                    pass
                if self.interrupted():
                    return
            checks.warn(
                f"fit: the stream has no state of its own, so {done} epochs of it were read again to go on with epoch "
                f"{done + 1}; give it state_dict and load_state_dict, or make it a function of the epoch",
                UserWarning,
            )

        place = record.streams["data"]
        seen, stopped = come_to(self.feed, place, done, read_again), False
        if not done and any(part["state"] is not None for part in place["parts"]):
            self.feed.begin(0)
            stopped = not self._read_first()
        if seen and seen != self.seen and not stopped:
            warn_of_another(
                "fit", "another first batch", f"the numbers from epoch {done + 1} on",
                "the same files, keys and batch size",
            )  # fmt: skip
        super().resume(record)

    def explain(self, before: TrainState, step: int) -> str:
        """Of a step before a resume the batch was not read again."""
        used = (one for one in (self.last, self.now) if one is not None and one.said is not None)
        at = next((one for one in used if one.first <= step < one.first + len(one.rows)), None)
        if at is None:
            return (
                " The run had ended there before it was resumed, and that batch of the stream is not read again: "
                "fnn.diagnostics.explain_divergence, given the parameters and the batch, says in which layer."
            )
        recipe = self.recipe

        def batch() -> Batch:
            return batch_at(at.data, jnp.asarray(step - at.first))

        if recipe.mesh is None:
            require_possible("fit", recipe.model, recipe.task, before.trained, *batch()[:2])
        return replay_batch(recipe, self.key, batch, before, step)

    def describe(self, inputs: Inputs) -> dict[str, str]:
        form = f" of {self.feed.reader.form}"
        return super().describe(inputs) | {"x, targets and weights": self.beside or describe_stream(self.feed, form)}

    def close(self) -> None:
        super().close()
        self.feed.close()
