"""The epochs of a run, driven from the host: what happens between two of them, and between two pieces of one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.train import epoch as epoch_
from fnn.train import stopping
from fnn.train.checkpoint import Checkpoints
from fnn.train.divergence import warn_if_diverged
from fnn.train.inputs import Inputs
from fnn.train.stopping import Best, EarlyStopping
from fnn.train.trained import Trained, TrainState
from fnn.typing import Array, Key

RESPONSE_SECONDS = 0.2
"""How long the compiled program runs before the host looks up: the bar moves, Ctrl-C is heard."""


class EpochEnd(NamedTuple):
    """What a callback is told: the `epoch` (from 0), its `row` of the history, the `train_state`.

    Example:
        >>> import fnn
        >>> def stop_when_good(end: fnn.EpochEnd) -> bool:
        ...     return end.row["loss"] < 0.01
    """

    epoch: int
    row: dict[str, float]
    train_state: TrainState


class Programs(NamedTuple):
    """The compiled pieces of a run."""

    order: Callable[..., tuple[Array, Array]]
    advance: Callable[..., epoch_.Progress]
    row: Callable[..., dict[str, Array]]
    observe: Callable[..., Any]
    steps: int


class Setup(NamedTuple):
    """What does not change while a run is driven."""

    programs: Programs
    sources: epoch_.Keys
    inputs: Inputs
    rule: EarlyStopping | None
    callbacks: Sequence[Callable[[EpochEnd], Any]]
    explain: Callable[[Trained], None]
    pace: Callable[[int], int]  # the smallest number that a process asks for; 0 stops all


class Saved(NamedTuple):
    """What changes, and is saved: enough to go on exactly."""

    progress: epoch_.Progress
    best: Best | None
    key: Key


def begin_saved(run: Setup, train_state: TrainState) -> Saved:
    """The first thing that could be saved."""
    # Copies, because the loop gives its buffers away and the caller's `start` must live on.
    best = stopping.start(run.rule, train_state.trained) if run.rule else None
    return Saved(epoch_.begin(jax.tree.map(jnp.copy, train_state)), best, run.sources.train)


def drive(
    run: Setup,
    saved: Saved,
    epochs: int,
    kept: Checkpoints,
    show: Callable[[int, dict[str, float]], None],
    interrupted: Callable[[], bool],
) -> tuple[Trained, dict[str, Any]]:
    """Epoch after epoch, from where the checkpoint ends, until something ends the run."""
    first, saved, table = _resumed(kept, saved, epochs)
    show(first * run.programs.steps, table[-1] if table else {})
    for epoch in range(first, epochs):
        if _ended(run, saved):
            break
        progress = _one_epoch(run, saved.progress, jnp.asarray(epoch), show, interrupted)
        saved = saved._replace(progress=progress)
        if not run.pace(not interrupted()):
            break
        scores = run.programs.row(progress, run.inputs)
        table.append({name: float(value) for name, value in scores.items()})
        show(0, table[-1])
        if saved.best is not None:
            saved = saved._replace(
                best=run.programs.observe(saved.best, scores, jnp.asarray(epoch), _copy(progress).trained)
            )
        kept.save(saved, table)
        ends = [callback(EpochEnd(epoch, dict(table[-1]), _copy(progress))) for callback in run.callbacks]
        if not run.pace(not any(map(_is_true, ends))):
            break
    return _finished(run, saved, table)


def _resumed(kept: Checkpoints, saved: Saved, epochs: int) -> tuple[int, Saved, list[dict[str, float]]]:
    found = kept.restore(saved)
    if found is None:
        return 0, saved, []
    if len(found.table) > epochs:
        raise ValueError(
            f"fit: expected epochs >= {len(found.table)}, those the checkpoint was trained for, got {epochs}; give as "
            "many, or another directory"
        )
    return len(found.table), found.arrays, found.table


def _copy(progress: epoch_.Progress) -> TrainState:
    """The training state in buffers of its own: the loop gives its buffers away."""
    return jax.tree.map(jnp.copy, progress.train_state)


def _is_true(answer: Any) -> bool:
    """True itself, of Python, NumPy or JAX; what a callback returns by the way, a list say, ends nothing."""
    scalar = getattr(answer, "ndim", None) == 0 and answer.dtype == np.bool_
    return answer is True or (scalar and bool(answer))


def _ended(run: Setup, saved: Saved) -> bool:
    out_of_patience = run.rule and saved.best and bool(stopping.exhausted(run.rule, saved.best))
    return bool(out_of_patience) or int(saved.progress.diverged_at) >= 0


def _finished(run: Setup, saved: Saved, table: list[dict[str, float]]) -> tuple[Trained, dict[str, Any]]:
    diverged_at = int(saved.progress.diverged_at)
    if 0 <= diverged_at < run.programs.steps:
        run.explain(saved.progress.train_state.trained)
    warn_if_diverged("fit", diverged_at, run.programs.steps)
    # Before the first epoch's end there is no row yet: its columns are what the program would return.
    columns = table[0] if table else jax.eval_shape(run.programs.row, saved.progress, run.inputs)
    history: dict[str, Any] = {name: np.array([row[name] for row in table], float) for name in columns}
    trained = saved.progress.train_state.trained
    if saved.best is not None and run.rule is not None:
        if diverged_at < 0:
            stopping.warn_if_never_scored("fit", run.rule, history)
        history["best_epoch"] = int(saved.best.epoch)
        trained = saved.best.trained if history["best_epoch"] >= 0 else trained
    return trained, history | {
        "epochs": len(table), "diverged_at": diverged_at, "skipped": int(saved.progress.skipped)
    }  # fmt: skip


def _one_epoch(
    run: Setup,
    progress: epoch_.Progress,
    epoch: Array,
    show: Callable[[int, dict[str, float]], None],
    interrupted: Callable[[], bool],
) -> epoch_.Progress:
    programs, data = run.programs, run.inputs.data
    order = programs.order(run.sources, epoch, run.inputs)
    progress, place, chunk = epoch_.next_epoch(progress), 0, 1
    while place < programs.steps and (count := run.pace(0 if interrupted() else chunk)):
        began, last = time.perf_counter(), min(place + count, programs.steps)
        progress = programs.advance(progress, jnp.asarray(place), jnp.asarray(last), run.sources, epoch, order, data)
        if int(progress.diverged_at) >= 0:
            break
        seconds = max(time.perf_counter() - began, 1e-6)
        show(last - place, {"loss": float(epoch_.mean_loss(progress))})
        chunk = max(1, min(4 * chunk, int(chunk * RESPONSE_SECONDS / seconds)))
        place = last
    return progress
