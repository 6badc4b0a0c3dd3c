"""The loop driven from the host: what happens between two epochs, and between two pieces of one."""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from fnn.train import stopping
from fnn.train.callbacks import Callback, EpochEnd, Every, StepEnd, ends_the_run
from fnn.train.checkpoint import Record, Store
from fnn.train.divergence import warn_of_divergence
from fnn.train.loop import Carry
from fnn.train.stopping import EarlyStopping
from fnn.train.stream import StreamError
from fnn.train.trained import Trained, TrainState
from fnn.typing import Array, PyTree

RESPONSE_SECONDS = 0.2
"""How long the compiled program runs before the host looks up: the bar moves, Ctrl-C is heard."""

Take: TypeAlias = Callable[[Carry, int, int], tuple[Carry, int]]
"""`take(carry, place, count)`: from step `place` of an epoch up to `count` steps, and how many it was; 0 at its end."""


class Setup(NamedTuple):
    """What does not change while a run is driven."""

    epoch: Callable[[int, int], Take]  # its number, and how many steps the run took before it
    stands: Callable[[int], Any]  # where the streams are after so many epochs
    resume: Callable[[Record], None]  # brings the streams to the end of the last epoch of a checkpoint
    row: Callable[[Carry, Array], tuple[Carry, dict[str, Array] | None]]  # None: interrupted
    columns: Callable[[Carry], list[str]]  # names of the entries of a row
    finish: Callable[[Carry], tuple[Trained, dict[str, Array]]]
    rule: EarlyStopping | None
    callbacks: Sequence[Callback]
    explain: Callable[[TrainState, int], str]
    pace: Callable[[int], int]  # the smallest number that a process asks for; 0 stops all
    show: Callable[[int, dict[str, float]], None]
    interrupted: Callable[[], bool]

    def at_steps(self, taken: int) -> list[Callable[[StepEnd], Any]]:
        """The callbacks of this step."""
        return [one.function for one in self.callbacks if isinstance(one, Every) and taken % one.steps == 0]

    def until_asked(self, taken: int, saved: int | None) -> int:
        """Steps until one of them is due, or a checkpoint after every so many; without end if nothing is."""
        asked = [one.steps for one in self.callbacks if isinstance(one, Every)] + [saved or 2**31 - 1]
        return min(steps - taken % steps for steps in asked)


def drive(run: Setup, carry: Carry, epochs: int, store: Store) -> tuple[Trained, dict[str, Any]]:
    """Epoch after epoch, from where the checkpoint ends, until something ends the run."""
    carry, record = _resume(run, store, carry, epochs)
    table, ends = record.table, record.ends
    run.show(record.steps + record.place, table[-1] if table else {})
    at_epochs = [one for one in run.callbacks if not isinstance(one, Every)]
    most = 1
    for epoch in range(len(table), epochs):
        if int(carry.diverged_at) >= 0 or bool(carry.over):
            break
        carry, taken, whole, most = _one_epoch(run, carry, record, most, store)
        if not run.pace(whole and not run.interrupted()):
            return _finish(run, carry, record)  # in the middle of an epoch: what was saved before it is kept
        try:
            carry, scores = run.row(carry, jnp.asarray(epoch))
        except StreamError as error:
            error.trained, error.history = _finish(run, carry, record)
            raise
        if scores is None:
            return _finish(run, carry, record)
        table.append(_plain(scores))
        ends.append(taken)
        run.show(0, table[-1])
        record = record._replace(streams=run.stands(len(table)), place=0)
        store.save(carry, record)
        ended = bool(at_epochs) and ends_the_run(at_epochs, EpochEnd(epoch, table[-1], _copy(carry.train_state)))
        if not run.pace(not ended):
            break
    if table:
        store.save(carry, record, last=True)
    run.pace(1)  # process 0 has written it
    return _finish(run, carry, record)


def _resume(run: Setup, store: Store, carry: Carry, epochs: int) -> tuple[Carry, Record]:
    found = store.restore(carry)
    if found is None:
        return carry, Record([], [], run.stands(0))
    carry, record = found
    if (begun := len(record.table) + (record.place > 0)) > epochs:
        raise ValueError(
            f"fit: expected epochs >= {begun}, those the checkpoint was trained for, got {epochs}; "
            "give as many, or another directory"
        )
    if record.streams and len(record.table) < epochs and not bool(carry.over) and int(carry.diverged_at) < 0:
        run.resume(record)
    return carry, record


def _plain(scores: dict[str, Array]) -> dict[str, float]:
    """Floats, the losses first: a program returns names by the alphabet."""
    names = sorted(scores, key=lambda name: (not name.endswith("loss"), name.removeprefix("validation_")))
    return {name: float(score) for name, score in zip(names, jax.device_get([scores[n] for n in names]), strict=True)}


def _copy(tree: PyTree) -> Any:
    """The same in buffers of its own."""
    return jax.tree.map(jnp.copy, tree)


def _one_epoch(run: Setup, carry: Carry, record: Record, most: int, store: Store) -> tuple[Carry, int, bool, int]:
    """Piece after piece of about the same time, `most` steps the first: the steps of the run so far, whether the epoch
    came to its end, and the steps of the next piece."""
    epoch, before, place = len(record.table), record.steps, record.place
    take = run.epoch(epoch, before)
    while count := run.pace(0 if run.interrupted() else min(most, run.until_asked(before + place, store.steps))):
        began = time.perf_counter()
        try:
            carry, taken = take(carry, place, count)
        except StreamError as error:
            error.trained, error.history = _finish(run, carry, record)
            raise
        diverged_at, means = jax.device_get((carry.diverged_at, carry.means))
        if not taken or diverged_at >= 0:
            return carry, before + place + taken, True, most
        seconds, place = max(time.perf_counter() - began, 1e-6), place + taken
        with np.errstate(invalid="ignore"):  # nothing counted yet
            so_far = _plain(means.so_far())
        run.show(taken, so_far)
        if store.steps and (before + place) % store.steps == 0:
            store.save(carry, record._replace(place=place))
        if due := run.at_steps(before + place):
            told = StepEnd(epoch, before + place, so_far, _copy(carry.train_state))
            if not run.pace(not ends_the_run(due, told)):
                break
        if taken == count:
            most = max(1, min(4 * most, int(count * RESPONSE_SECONDS / seconds)))
    return carry, before + place, False, most


def _finish(run: Setup, carry: Carry, record: Record) -> tuple[Trained, dict[str, Any]]:
    table, ends = record.table, record.ends
    trained, said = run.finish(carry)
    counts = {name: int(value) for name, value in said.items()} | {"epochs": len(table)}
    if (step := counts["diverged_at"]) >= 0:
        epoch = bisect.bisect_right(ends, step)
        place = step - (ends[epoch - 1] if epoch else 0)
        warn_of_divergence("fit", epoch, place, run.explain(carry.train_state, step))
    # Before the first epoch's end there is no row yet: its columns are what the program would return.
    history: dict[str, Any] = {
        name: [row[name] for row in table] for name in (table[0] if table else run.columns(carry))
    }
    history |= counts
    stopping.warn_if_nothing_counted("fit", history)
    stopping.warn_if_never_scored("fit", run.rule, history)
    run.pace(1)  # nothing raises after it: a warning may, where it is an error
    return trained, history
