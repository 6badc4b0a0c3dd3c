"""Early stopping: keep the best parameters, stop when they have not improved for a while."""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.metrics.protocol import Mode
from fnn.tasks.task import Task, modes_of, require_mode
from fnn.train.trained import Trained
from fnn.typing import Array

__all__ = ["EarlyStopping", "early_stopping"]


class EarlyStopping(NamedTuple):
    """A stopping rule: see `early_stopping`."""

    monitor: str
    patience: Any
    min_delta: Any
    mode: Mode | None


class Best(NamedTuple):
    """The best epoch so far and how many epochs have passed since."""

    value: Array
    waited: Array
    epoch: Array
    trained: Trained


def early_stopping(
    monitor: str = "validation_loss", *, patience: int = 10, min_delta: float = 0.0, mode: Mode | None = None
) -> EarlyStopping:
    """Stop after `patience` epochs without improvement and restore the best parameters.

    Args:
        monitor: entry of the history to watch: "loss", "validation_loss", "validation_accuracy", ….
        patience: epochs to wait for an improvement.
        min_delta: smaller changes count as none.
        mode: "min" or "max", what is better; by default as the metric states it, "min" for the loss.

    Returns:
        A rule for `trainer` and `fit`.

    Example:
        >>> import fnn
        >>> fnn.early_stopping("validation_accuracy", patience=5)
        EarlyStopping(monitor='validation_accuracy', patience=5, min_delta=0.0, mode=None)

    References:
        Prechelt, Early Stopping – But When?, 1998.
    """
    checks.instance("early_stopping", "monitor", monitor, str, "the name of a score", 'write "validation_loss"')
    checks.in_range("early_stopping", "patience", patience, 0, np.inf)
    checks.in_range("early_stopping", "min_delta", min_delta, 0)
    checks.one_of("early_stopping", "mode", mode, (None, "min", "max"))
    return EarlyStopping(monitor, patience, min_delta, mode)


def resolve(rule: EarlyStopping | None, task: Task) -> EarlyStopping | None:
    """The rule with the direction that the task's metric states."""
    score = "" if rule is None else rule.monitor.removeprefix("validation_")
    if rule is None or rule.mode is not None or score not in ("loss", *task.metrics):
        return rule
    return rule._replace(mode=require_mode("early_stopping", score, modes_of(task)))


def start(rule: EarlyStopping, trained: Trained) -> Best:
    """Nothing seen yet: any finite value is an improvement."""
    worst = jnp.inf if rule.mode == "min" else -jnp.inf
    return Best(jnp.asarray(worst, jnp.float32), jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32), trained)


def observe(rule: EarlyStopping, best: Best, row: dict[str, Array], epoch: Array, trained: Trained) -> Best:
    """Take the epoch's value into account; NaN is never an improvement."""
    if rule.monitor not in row:
        scores = sorted(row.keys() - {"learning_rate"}, key=lambda name: (name != "loss", name))
        close = difflib.get_close_matches(
            rule.monitor, [name for name in scores if name.startswith("validation_")], 1, 0.5
        )
        repair = f"write {close[0]!r}" if close else "give validation data"
        checks.one_of("early_stopping", "monitor", rule.monitor, scores, repair)
    mode = require_mode("early_stopping", rule.monitor, {} if rule.mode is None else {rule.monitor: rule.mode})
    value = row[rule.monitor].astype(jnp.float32)
    better = value < best.value - rule.min_delta if mode == "min" else value > best.value + rule.min_delta
    seen = Best(value, jnp.zeros((), jnp.int32), jnp.asarray(epoch, jnp.int32), trained)
    return jax.tree.map(lambda new, old: jnp.where(better, new, old), seen, best._replace(waited=best.waited + 1))


def choose(best: Best, last: Trained) -> Trained:
    """The parameters of the best epoch; the last ones if no epoch had a finite score."""
    return jax.tree.map(lambda kept, now: jnp.where(best.epoch >= 0, kept, now), best.trained, last)


def warn_if_nothing_counted(where: str, history: dict[str, Any]) -> None:
    """Say that a run, or some of many, had no loss in any epoch though it did not diverge."""
    loss, ran, left_out, diverged_at = (
        np.asarray(history[name]) for name in ("loss", "epochs", "skipped", "diverged_at")
    )
    empty = np.isnan(loss).all(axis=-1) & (ran > 0) & (left_out == 0) & (diverged_at < 0)
    if empty.any():
        of_many = f" of {empty.sum()} of {empty.size} runs" if empty.ndim else ""
        checks.warn(
            f"{where}: no target counted in any epoch{of_many}, so nothing was learned: the loss leaves all of them "
            "out, by ignore_index, where or lengths of 0; look at the targets",
            UserWarning,
        )


def warn_if_never_scored(where: str, rule: EarlyStopping | None, history: dict[str, Any]) -> None:
    """Say that in a run, or in some of many, no epoch could be compared with another."""
    if rule is None:
        return
    scores, ran, diverged_at = (np.asarray(history[name]) for name in (rule.monitor, "epochs", "diverged_at"))
    never = ~np.isfinite(scores).any(axis=-1) & (ran > 0) & (diverged_at < 0)
    if never.any():
        of_many = f" of {never.sum()} of {never.size} runs" if never.ndim else ""
        first = scores[never][0, 0]
        checks.warn(
            f"{where}: early_stopping watched {rule.monitor}{of_many}, which was {first} in epoch 1 and finite in "
            "none, so no epoch was the best; the parameters of the last one are returned. Watch another metric, or "
            "look at the data it is computed on"
        )
