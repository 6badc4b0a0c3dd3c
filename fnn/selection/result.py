"""What cross-validation and sweeps give back: scores, curves, out-of-fold outputs, a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, programs
from fnn.layer import Padded
from fnn.metrics.protocol import Mode, measure_all
from fnn.selection.folds import mean_by_row
from fnn.selection.plan import Plan, describe_divergence
from fnn.tasks.task import Task, modes_of, require_mode
from fnn.train import rows as rows_
from fnn.train.stopping import warn_if_never_scored, warn_if_nothing_counted
from fnn.typing import Array, PyTree

__all__ = ["CrossValidation"]


class CrossValidation(NamedTuple):
    """The result of `cross_validate`; prints as a table.

    - `settings`: the combinations of `over`, one dict each.
    - `scores`: name -> (settings, folds, seeds), on the fold's validation rows, at the end of each run, or at its best
      epoch with early stopping; `training_scores`: the same network's on the rows it was trained on.
    - `curves`: name -> (settings, folds, seeds, epochs), NaN after a run has stopped.
    - `outputs`: the model's outputs for every row when it was not trained on, (settings, seeds, rows, …); averaged
      where a row validates several times, NaN where it never does; of a model with several outputs each in its place.
      Lengths of `fnn.Padded` outputs are integers, 0 where the values are NaN.
    - `diverged`: (settings, folds, seeds), runs whose loss stopped being finite; their scores are NaN.
    - `finished`: (settings, folds, seeds), runs that were reached before Ctrl-C.
    - `epochs`: (settings, folds, seeds), epochs each run was trained for.
    - `kept`: (settings,), False for those a halving `sweep` stopped before the last epoch.
    - `modes`: name -> "min" or "max", for the scores of which it is stated what is better.
    - `pooled`: scores that are not defined on the rows of some fold, such as R² on one row: they are computed once per
      setting and seed, over the outputs of all rows, and stand in every fold.
    """

    settings: tuple[dict[str, Any], ...]
    scores: dict[str, np.ndarray]
    training_scores: dict[str, np.ndarray]
    curves: dict[str, np.ndarray]
    outputs: Any
    diverged: np.ndarray
    finished: np.ndarray
    epochs: np.ndarray
    kept: np.ndarray
    modes: Mapping[str, Mode] = MappingProxyType({"loss": "min"})
    pooled: tuple[str, ...] = ()

    def mean(self, metric: str) -> np.ndarray:
        """Mean score per setting over folds and seeds, runs that diverged or were not reached left out."""
        return mean_score(self._scores("mean", metric))

    def standard_error(self, metric: str) -> np.ndarray:
        """Standard error of that mean: the spread over folds of the mean over seeds, by the square root of folds.

        NaN for a score over the pooled outputs, which has no folds.
        """
        if metric in self.pooled:
            return np.full(len(self.settings), np.nan)
        return standard_error(mean_of(self._scores("standard_error", metric), axis=2))

    def best(self, metric: str, mode: Mode | None = None) -> dict[str, Any]:
        """The setting with the best mean score; `mode` is "min" or "max", by default as the metric states it.

        Settings that were stopped early, or of which a run diverged, are chosen only where there is no other.
        """
        means = mean_score(self._scores("best", metric))
        mode = require_mode("best", metric, self.modes) if mode is None else mode
        checks.one_of("best", "mode", mode, ("max", "min"))
        means = means if mode == "max" else -means
        if not np.isfinite(means).any():
            raise ValueError(f"best: no setting has a finite {metric}; every run diverged or none was reached")
        whole = self.kept & ~self.diverged.any(axis=(1, 2)) & np.isfinite(means)
        return self.settings[int(np.nanargmax(np.where(whole | ~whole.any(), means, np.nan)))]

    def _scores(self, where: str, metric: str) -> np.ndarray:
        checks.one_of(where, "metric", metric, self.scores)
        return self.scores[metric]

    def __str__(self) -> str:
        columns: dict[str, list[str]] = {name: [f"{s[name]:.4g}" for s in self.settings] for name in self.settings[0]}
        for metric in self.scores:
            if metric in self.pooled:
                columns[f"{metric} (pooled)"] = [f"{mean:.4f}" for mean in self.mean(metric)]
                continue
            pairs = zip(self.mean(metric), self.standard_error(metric), strict=True)
            columns[f"{metric} (± s.e.)"] = [f"{mean:.4f} ± {error:.4f}" for mean, error in pairs]
        columns["diverged"] = [str(count) for count in self.diverged.sum(axis=(1, 2))]
        if not self.kept.all():
            columns["epochs"] = [str(most) for most in self.epochs.max(axis=(1, 2))]
        widths = {name: max(map(len, (name, *cells))) for name, cells in columns.items()}
        lines = [tuple(columns), *zip(*columns.values(), strict=True)]
        return "\n".join("  ".join(map(str.rjust, line, widths.values())) for line in lines)


def mean_score(scores: np.ndarray) -> np.ndarray:
    """(settings, folds, seeds) -> (settings,): the mean over folds of the mean over seeds, of the finite ones."""
    return mean_of(mean_of(scores, axis=2), axis=1)


def standard_error(folds: np.ndarray) -> np.ndarray:
    """(settings, folds) -> (settings,): of the mean over the finite ones, NaN for a single one."""
    count = np.maximum(np.isfinite(folds).sum(axis=1), 1)
    spread = np.sqrt(mean_of((folds - mean_of(folds, axis=1)[:, None]) ** 2, axis=1))
    return spread / np.where(count > 1, np.sqrt(np.maximum(count - 1, 1)), np.nan)


def mean_of(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean of the finite ones, NaN where there are none."""
    kept = np.isfinite(values)
    return np.where(kept, values, 0).sum(axis) / np.where(kept.any(axis), kept.sum(axis), np.nan)


def _warn_of_divergence(plan: Plan, diverged_at: np.ndarray) -> None:
    diverged = diverged_at >= 0
    if not diverged.any():
        return
    setting, fold, seed = (int(place) for place in np.argwhere(diverged)[0])
    if diverged.any(axis=(1, 2)).all():
        more = f".{describe_divergence(plan, (setting, fold, seed), int(diverged_at[setting, fold, seed]))}"
    else:  # of many settings some are tried that diverge: no other training is spent on them
        more = "; a search of that setting alone says in which layer"
    checks.warn(
        f"{plan.where}: {diverged.sum()} of {diverged.size} runs diverged and count as NaN, first the one of "
        f"{plan.settings[setting] or 'the only setting'}, fold {fold}, seed {seed}; see .diverged{more}"
    )


def assemble(
    plan: Plan,
    history: dict[str, np.ndarray],
    outputs: PyTree,
    finished: np.ndarray,
    kept: np.ndarray | None = None,
) -> CrossValidation:
    """Members back in their places, outputs in the order of the rows."""
    shape, settings = plan.shape, plan.settings
    curves = {name: values.reshape(*shape, -1) for name, values in history.items() if values.ndim == 2}
    epochs = np.maximum(history["epochs"], 0).reshape(shape)
    last = history.get("best_epoch", ended := history["epochs"] - 1)
    last = np.where(last < 0, ended, last).reshape(shape)  # where no epoch was the best, the network is the last one
    diverged_at, found = history["diverged_at"].reshape(shape), finished.reshape(shape)
    diverged = diverged_at >= 0
    at = np.maximum(last, 0)[..., None]
    scores = {
        name.removeprefix("validation_"): np.where(diverged, np.nan, np.take_along_axis(values, at, axis=3)[..., 0])
        for name, values in curves.items()
        if name.startswith("validation_")
    }
    training = {
        name.removeprefix("training_"): np.where(diverged, np.nan, values.reshape(shape))
        for name, values in history.items()
        if name.startswith("training_")
    }
    _warn_of_divergence(plan, diverged_at)
    warn_if_nothing_counted(plan.where, history)
    warn_if_never_scored(plan.where, plan.makers.options.early_stopping, history)

    def in_place(leaf: np.ndarray) -> np.ndarray:
        known = ((epochs > 0) & ~diverged).reshape(*shape, *[1] * (leaf.ndim - 1))
        return np.where(known, leaf.reshape(*shape, *leaf.shape[1:]), np.nan)

    outputs = jax.tree.map(in_place, outputs)
    every = _outputs_of_rows(plan, outputs, np.arange(shape[1]))
    sound = found & ~diverged
    # A metric that is NaN in a fold whose loss is finite is not defined there.
    whole = sound & np.isfinite(scores["loss"])
    pooled = {
        name: _pool(plan, name, outputs, values, sound)
        for name, values in scores.items()
        if (np.isnan(values) & whole).any()
    }
    kept = np.ones(len(settings), bool) if kept is None else kept
    modes = modes_of(plan.makers.task)
    return CrossValidation(
        settings, scores | pooled, training, curves, every, diverged, found, epochs, kept, modes, tuple(pooled)
    )


def _outputs_of_rows(plan: Plan, outputs: PyTree, folds: np.ndarray) -> Any:
    """(settings, folds, seeds, slots, …) -> (settings, seeds, rows, …), a mean where a row validates several times."""

    def one(leaf: Any) -> Any:
        parts = np.moveaxis(leaf[:, folds], (1, 3), (0, 1))
        return np.moveaxis(mean_by_row(parts, plan.split.valid[folds], plan.rows), 0, 2)

    return _map_values(one, lambda leaf: np.nan_to_num(one(leaf)).round().astype(np.int32), outputs)


def _map_values(values: Callable[[Any], Any], lengths: Callable[[Any], Any], outputs: PyTree) -> Any:
    """What `values` makes of the arrays of outputs, and `lengths` of the lengths where they are `Padded`."""
    padded = lambda node: isinstance(node, Padded)  # noqa: E731
    one = lambda node: Padded(values(node.values), lengths(node.lengths)) if padded(node) else values(node)  # noqa: E731
    return jax.tree.map(one, outputs, is_leaf=padded)


def _pool(plan: Plan, name: str, outputs: PyTree, values: np.ndarray, sound: np.ndarray) -> np.ndarray:
    """A metric over the outputs of all rows that some network did not train on, per setting and seed."""
    fold = int(np.argwhere(np.isnan(values) & sound)[0][1])
    rows = int((plan.split.valid[fold] >= 0).sum())
    checks.warn(
        f"{plan.where}: {name} is not defined on the {f'{rows} rows' if rows > 1 else 'one row'} that fold {fold} "
        "validates on; it is computed over the outputs of all folds together"
    )
    scored = np.full(values.shape, np.nan)
    for folds in np.array_split(np.arange(plan.shape[1]), plan.parts):
        every = _outputs_of_rows(plan, outputs, folds)
        for setting, seed in np.ndindex(values.shape[0], values.shape[2]):
            own = jax.tree.map(lambda leaf: leaf[setting, seed], every)
            finite = [np.isfinite(leaf).reshape(plan.rows, -1).all(axis=1) for leaf in jax.tree.leaves(own)]
            known = np.logical_and.reduce(finite)
            if known.any():
                found = metrics_of(plan.makers.task, own, plan.shared["data"], known)
                scored[setting, folds, seed] = found[name]
    return np.where(sound, scored, np.nan)


def metrics_of(task: Task, outputs: Any, data: rows_.Checked, known: np.ndarray) -> dict[str, float]:
    """A task's metrics over the known ones of all rows; the others weigh nothing, so that one program does for all."""
    _, targets, weights = data
    dtype = jnp.result_type(float)

    def one(leaf: Any) -> Array:
        return jnp.asarray(np.where(known.reshape(-1, *[1] * (np.ndim(leaf) - 1)), leaf, 0), dtype)

    outputs = _map_values(one, jnp.asarray, outputs)
    counts = known.astype(dtype) * (1 if weights is None else np.asarray(weights))
    found = programs.compile(_metrics, task)(outputs, targets, jnp.asarray(counts, dtype))
    return {name: float(score) for name, score in found.items()}


def _metrics(task: Task, outputs: PyTree, targets: PyTree, weights: Array) -> dict[str, Array]:
    return measure_all(task.metrics, outputs, targets, weights)
