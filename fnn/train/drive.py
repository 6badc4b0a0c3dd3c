"""The loop driven from the host: what happens between two epochs, and between two pieces of one."""

from __future__ import annotations

import bisect
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.programs import compile as compiled
from fnn.train import stopping
from fnn.train.callbacks import Callback, EpochEnd, Every, StepEnd, ends_the_run
from fnn.train.checkpoint import Record, Store
from fnn.train.console import RESPONSE_SECONDS
from fnn.train.divergence import warn_of_divergence
from fnn.train.loop import Carry, end_epoch, outcome_of
from fnn.train.processes import pace
from fnn.train.stream import StreamError
from fnn.train.stream_run import Source
from fnn.train.trained import Trained
from fnn.typing import Array, PyTree


class Run:
    """A run over a source, and where it stands: its `carry`, and what it has done, its `record`."""

    store: Store | None = None

    def __init__(
        self, source: Source, carry: Carry, callbacks: Sequence[Callback], interrupted: Callable[[], bool]
    ) -> None:
        self.source, self.carry, self.record, self.interrupted = source, carry, Record([], []), interrupted
        self.callbacks = [one for one in callbacks if not isinstance(one, Every)]
        self.at_steps = [one for one in callbacks if isinstance(one, Every)]
        self.end_epoch, self.outcome = (compiled(of, source.recipe) for of in (end_epoch, outcome_of))
        self.pace = functools.partial(pace, source.recipe.mesh)  # the smallest number of all processes; 0 stops all
        self.most = 1  # steps of the next piece

    def columns(self) -> list[str]:
        """Names of the entries of a row; an error where early stopping watches another."""
        held = self.source.held
        scores = held and dict.fromkeys(("loss", *held.task.metrics), jax.ShapeDtypeStruct((), jnp.float32))
        epoch = jnp.zeros((), jnp.int32)
        return sorted(jax.eval_shape(self.end_epoch, self.carry, self.source.inputs, epoch, scores)[1])

    def drive(self, epochs: int, show: Callable[[int, dict[str, float]], None]) -> tuple[Trained, dict[str, Any]]:
        """Epoch after epoch, from where the checkpoint ends, until something ends the run."""
        self.show, store = show, self.store
        if store:
            self._resume(store, epochs)
        table = self.record.table
        show(self.record.steps + self.record.place, table[-1] if table else {})
        for epoch in range(len(table), epochs):
            if int(self.carry.diverged_at) >= 0 or bool(self.carry.over):
                break
            try:
                taken, whole = self._take_steps()
                if not self.pace(whole and not self.interrupted()) or not self._end_epoch(epoch):
                    return self._finish()  # in the middle of an epoch: what was saved before it is kept
            except StreamError as error:
                if error.trained is None:  # a run inside a callback has said what it had trained
                    error.trained, error.history = self._finish()
                raise
            self.record.ends.append(taken)
            show(0, table[-1])
            self.record = self.record._replace(streams=store and self.source.stands(len(table)), place=0)
            if store:
                store.save(self.carry, self.record)
            ended = self.callbacks and ends_the_run(
                self.callbacks, EpochEnd(epoch, table[-1], _copy(self.carry.train_state))
            )
            if not self.pace(not ended):
                break
        if store and table:
            store.save(self.carry, self.record, last=True)
        self.pace(1)  # process 0 has written it
        return self._finish()

    def _resume(self, store: Store, epochs: int) -> None:
        found = store.restore(self.carry)
        if found is None:
            self.record = Record([], [], self.source.stands(0))
            return
        self.carry, self.record = carry, record = found
        if (begun := len(record.table) + (record.place > 0)) > epochs:
            raise ValueError(
                f"fit: expected epochs >= {begun}, those the checkpoint was trained for, got {epochs}; "
                "give as many, or another directory"
            )
        if record.streams and len(record.table) < epochs and not bool(carry.over) and int(carry.diverged_at) < 0:
            self.source.resume(record)

    def _take_steps(self) -> tuple[int, bool]:
        """An epoch's, piece after piece of about the same time: those of the run so far, and whether it ended."""
        epoch, before, place = len(self.record.table), self.record.steps, self.record.place
        store, saved = self.store, self.store.asked.steps if self.store else None
        periods = [one.steps for one in self.at_steps] + [saved or 2**31 - 1]
        self.source.begin_epoch(epoch, before)
        while count := self.pace(
            0 if self.interrupted() else min(self.most, *(steps - (before + place) % steps for steps in periods))
        ):
            began = time.perf_counter()
            self.carry, taken = self.source.take(self.carry, place, count)
            diverged_at, means = jax.device_get((self.carry.diverged_at, self.carry.means))
            if not taken or diverged_at >= 0:
                return before + place + taken, True
            seconds, place = max(time.perf_counter() - began, 1e-6), place + taken
            with np.errstate(invalid="ignore"):  # nothing counted yet
                so_far = _plain(means.so_far())
            self.show(taken, so_far)
            if store and saved and (before + place) % saved == 0:
                store.save(self.carry, self.record._replace(place=place))
            if due := [one.function for one in self.at_steps if (before + place) % one.steps == 0]:
                told = StepEnd(epoch, before + place, so_far, _copy(self.carry.train_state))
                if not self.pace(not ends_the_run(due, told)):
                    break
            if taken == count:
                self.most = max(1, min(4 * self.most, int(count * RESPONSE_SECONDS / seconds)))
        return before + place, False

    def _end_epoch(self, epoch: int) -> bool:
        """Write its row, unless the run is interrupted meanwhile."""
        held = self.source.held
        scores = held and held(self.carry.train_state.trained, epoch, self.interrupted)
        if held and scores is None:
            return False
        self.carry, row = self.end_epoch(self.carry, self.source.inputs, jnp.asarray(epoch), scores)
        self.record.table.append(_plain(row))
        return True

    def _finish(self) -> tuple[Trained, dict[str, Any]]:
        table, ends = self.record.table, self.record.ends
        trained, said = self.outcome(self.carry)
        counts = {name: int(value) for name, value in said.items()} | {"epochs": len(table)}
        if (step := counts["diverged_at"]) >= 0:
            epoch = bisect.bisect_right(ends, step)
            place = step - (ends[epoch - 1] if epoch else 0)
            warn_of_divergence("fit", epoch, place, self.source.explain(self.carry.train_state, step))
        # Before the first epoch's end there is no row yet: its columns are what the program would return.
        history: dict[str, Any] = {n: [row[n] for row in table] for n in (table[0] if table else self.columns())}
        history |= counts
        stopping.warn_if_nothing_counted("fit", history)
        stopping.warn_if_never_scored("fit", self.source.recipe.options.early_stopping, history)
        self.pace(1)  # nothing raises after it: a warning may, where it is an error
        return trained, history


def _plain(scores: dict[str, Array]) -> dict[str, float]:
    """Floats, the losses first: a program returns names by the alphabet."""
    names = sorted(scores, key=lambda name: (not name.endswith("loss"), name.removeprefix("validation_")))
    return {name: float(score) for name, score in zip(names, jax.device_get([scores[n] for n in names]), strict=True)}


def _copy(tree: PyTree) -> Any:
    return jax.tree.map(jnp.copy, tree)
