"""What cross-validation and sweeps give back: scores, curves, out-of-fold outputs, a table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from fnn import checks
from fnn.metrics.protocol import Mode
from fnn.selection.splits import Folds
from fnn.tasks.task import require_mode

__all__ = ["CrossValidation"]


class CrossValidation(NamedTuple):
    """The result of `cross_validate`; prints as a table.

    - `settings`: the combinations of `over`, one dict each.
    - `scores`: name -> (settings, folds, seeds), on the fold's validation rows, at the end of each run, or at its best
      epoch with early stopping; `training_scores`: the same network's on the rows it was trained on.
    - `curves`: name -> (settings, folds, seeds, epochs), NaN after a run has stopped.
    - `outputs`: the model's outputs for every row when it was not trained on, (settings, seeds, rows, …); averaged
      where a row validates several times, NaN where it never does.
    - `diverged`: (settings, folds, seeds), runs whose loss stopped being finite; their scores are NaN.
    - `finished`: (settings, folds, seeds), runs that were reached before Ctrl-C.
    - `epochs`: (settings, folds, seeds), epochs each run was trained for.
    - `kept`: (settings,), False for those a halving `sweep` stopped before the last epoch.
    - `modes`: name -> "min" or "max", for the scores of which it is stated what is better.
    """

    settings: tuple[dict[str, Any], ...]
    scores: dict[str, np.ndarray]
    training_scores: dict[str, np.ndarray]
    curves: dict[str, np.ndarray]
    outputs: np.ndarray
    diverged: np.ndarray
    finished: np.ndarray
    epochs: np.ndarray
    kept: np.ndarray
    modes: Mapping[str, Mode] = MappingProxyType({"loss": "min"})

    def mean(self, metric: str) -> np.ndarray:
        """Mean score per setting over folds and seeds, runs that diverged or were not reached left out."""
        return mean_score(self._scores(metric))

    def standard_error(self, metric: str) -> np.ndarray:
        """Standard error of that mean: the spread over folds of the mean over seeds, by the square root of folds."""
        return standard_error(mean_of(self._scores(metric), axis=2))

    def best(self, metric: str, mode: Mode | None = None) -> dict[str, Any]:
        """The setting with the best mean score.

        Settings that were stopped early, or of which a run diverged, are chosen only where there is no other.

        Args:
            metric: a name among the scores.
            mode: "min" or "max"; by default as the metric states it, "min" for the loss.
        """
        means = self.mean(metric)
        mode = require_mode("best", metric, self.modes) if mode is None else mode
        checks.one_of("best", "mode", mode, ("max", "min"))
        means = means if mode == "max" else -means
        if not np.isfinite(means).any():
            raise ValueError(f"best: no setting has a finite {metric}; every run diverged or none was reached")
        whole = self.kept & ~self.diverged.any(axis=(1, 2)) & np.isfinite(means)
        return self.settings[int(np.nanargmax(np.where(whole | ~whole.any(), means, np.nan)))]

    def _scores(self, metric: str) -> np.ndarray:
        if metric not in self.scores:
            raise ValueError(f"expected a metric among {', '.join(map(repr, self.scores))}, got {metric!r}")
        return self.scores[metric]

    def __str__(self) -> str:
        columns: dict[str, list[str]] = {name: [f"{s[name]:.4g}" for s in self.settings] for name in self.settings[0]}
        for metric in self.scores:
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


def _name_diverged(settings: tuple[dict[str, Any], ...], diverged: np.ndarray) -> None:
    if diverged.any():
        setting, fold, seed = np.argwhere(diverged)[0]
        checks.warn(
            f"cross_validate: {diverged.sum()} of {diverged.size} runs diverged and count as NaN, first the one of "
            f"{settings[setting] or 'the only setting'}, fold {fold}, seed {seed}; see .diverged",
        )


def gathered(
    settings: tuple[dict[str, Any], ...],
    shape: tuple[int, int, int],
    split: Folds,
    rows: int,
    history: dict[str, np.ndarray],
    outputs: np.ndarray,
    finished: np.ndarray,
    kept: np.ndarray | None = None,
) -> CrossValidation:
    """Members back in their places, outputs in the order of the rows."""
    curves = {name: values.reshape(*shape, -1) for name, values in history.items() if values.ndim == 2}
    epochs = np.maximum(history["epochs"], 0).reshape(shape)
    last = history.get("best_epoch", history["epochs"] - 1).reshape(shape)
    diverged = history["diverged_at"].reshape(shape) >= 0
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
    _name_diverged(settings, diverged)
    outputs = outputs.reshape(*shape, *outputs.shape[1:])
    outputs = np.where(diverged.reshape(*shape, *[1] * (outputs.ndim - 3)), np.nan, outputs)
    total = np.zeros((shape[0], shape[2], rows, *outputs.shape[4:]))
    times = np.zeros(rows)
    for fold, valid in enumerate(split.valid):
        real = valid >= 0
        total[:, :, valid[real]] += outputs[:, fold][:, :, real]
        times[valid[real]] += 1
    times = np.where(times == 0, np.nan, times).reshape(rows, *[1] * (total.ndim - 3))
    kept = np.ones(len(settings), bool) if kept is None else kept
    found = finished.reshape(shape)
    return CrossValidation(settings, scores, training, curves, total / times, diverged, found, epochs, kept)
