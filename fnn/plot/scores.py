"""Figures of scores and losses: in the cells of a table, against a setting, a learning rate, a number of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fnn import checks
from fnn.plot.canvas import COLORS, PALETTE, Figure, band, blank, legend_above, longest, names_of, panel
from fnn.selection.result import mean_of, standard_error

__all__ = ["confusion_matrix", "heat_map", "rate_range", "score_by_size", "validation_curve"]


def heat_map(values: Any, rows: tuple[str, Sequence[Any]], columns: tuple[str, Sequence[Any]], score: str) -> Figure:
    """A score for every combination of two things, its number in every cell.

    Args:
        values: (rows, columns); cells that are not finite (runs that diverged) stay empty.
        rows, columns: what they stand for, and the name of each.
        score: what the colours show.

    Example:
        >>> import fnn.plot
        >>> figure = fnn.plot.heat_map([[0.9, 0.8]], ("seed", [0]), ("learning rate", [0.1, 0.2]), "accuracy")
        >>> figure.axes[0].get_xlabel(), [text.get_text() for text in figure.axes[0].texts]
        ('learning rate', ['0.900', '0.800'])
    """
    cells = np.asarray(values, float)
    expected = len(rows[1]), len(columns[1])
    if cells.shape != expected:
        raise checks.wrong_shape("heat_map", "values", f"{expected}, as the names say", cells.shape)
    names, under = names_of(rows[1]), names_of(columns[1])
    letters = 0.085 * longest(names), 0.06 * longest(under)  # inches; those under the columns may be slanted
    figure = blank(2.2 + 0.75 * expected[1] + letters[0], 1.6 + 0.45 * expected[0] + letters[1])
    axes = figure.subplots()
    drawn = axes.imshow(np.ma.masked_invalid(cells), aspect="auto", cmap="viridis")
    figure.colorbar(drawn, label=score)
    finite = cells[np.isfinite(cells)]
    dark = cells <= (np.ptp(finite) / 2 + finite.min() if finite.size else 0)
    _write(axes, cells, _score, dark, (rows[0], names), (columns[0], under), room=7)
    return figure


def _score(value: float) -> str:
    """Three decimals where they say enough, three digits of what is small or large."""
    return format(value, ".3f" if value == 0 or 0.1 <= abs(value) < 1e4 else ".3g")


def confusion_matrix(matrix: Any, labels: Sequence[Any] | None = None) -> Figure:
    """A confusion matrix with its counts: rows are true classes, columns predicted ones.

    Args:
        matrix: (classes, classes) counts, from `fnn.metrics.confusion_matrix`.
        labels: names of the classes, texts or numbers; their numbers by default.

    Example:
        >>> import fnn.plot
        >>> fnn.plot.confusion_matrix([[5, 1], [0, 4]]).axes[0].get_ylabel()
        'true class'
    """
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"confusion_matrix: expected shape (classes, classes), got {counts.shape}")
    names = names_of(range(len(counts)) if labels is None else labels)
    if len(names) != len(counts):
        raise ValueError(f"confusion_matrix: expected labels for {len(counts)} classes, got {len(names)}")
    cell = max(0.45, 0.1 + 0.075 * longest(map(_count, counts.ravel())))  # inches
    side = max(3.0, cell * len(counts) + 1.5)
    letters = 0.1 * max(0, longest(names) - 10)
    figure = blank(side + letters, side + 0.7 * letters)
    axes = figure.subplots()
    # Shares of the true class: a rare class is as visible as a frequent one.
    of_class = counts.sum(axis=1, keepdims=True)
    shares = counts / np.where(of_class == 0, 1, of_class)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    _write(axes, counts, _count, shares > 0.6, ("true class", names), ("predicted class", names), room=4)
    return figure


def _count(value: Any) -> str:
    """A count in full; a share in three digits."""
    return str(int(value)) if np.isfinite(value) and value == int(value) else format(value, ".3g")


def _write(
    axes: Any,
    values: np.ndarray,
    text: Callable[[Any], str],
    dark: np.ndarray,
    rows: tuple[str, list[str]],
    columns: tuple[str, list[str]],
    room: int,
) -> None:
    """Every finite number in its cell, white where the ground is dark, and what rows and columns stand for: their
    names, slanted under the columns where one has more letters than there is room for."""
    for place, value in np.ndenumerate(values):
        if np.isfinite(value):
            shade = "white" if dark[place] else "black"
            axes.text(*place[::-1], text(value), ha="center", va="center", color=shade, fontsize=8)
    axes.set(xlabel=columns[0], ylabel=rows[0])
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if longest(columns[1]) > room else {}
    axes.set_xticks(range(len(columns[1])), columns[1], **slanted)
    axes.set_yticks(range(len(rows[1])), rows[1])


def score_by_size(curve: Any, metric: str = "loss") -> Figure:
    """Validation and training score against the number of training rows: mean over folds and seeds, ± one s.e.

    Args:
        curve: as returned by `fnn.selection.learning_curve`.
        metric: one of its scores.

    Example:
        >>> import numpy as np, fnn.plot
        >>> scores = {"loss": np.ones((2, 5, 1))}
        >>> curve = fnn.selection.LearningCurve(np.array([10, 20]), scores, scores)
        >>> fnn.plot.score_by_size(curve).axes[0].get_xlabel()
        'training rows'
    """
    return _bands("score_by_size", curve, metric, curve.sizes, np.arange(len(curve.sizes)), "training rows")


def validation_curve(found: Any, setting: str, metric: str = "loss") -> Figure:
    """Validation and training score against one setting of a cross-validation: mean over folds and seeds, ± one s.e.

    Args:
        found: as returned by `fnn.selection.cross_validate` with `over={setting: values}`.
        setting: the name of the setting, the only one; where its values span more than a factor of 20, the axis is
            logarithmic.
        metric: one of the scores.

    Example:
        >>> import numpy as np, fnn.plot
        >>> settings = ({"decay": 0.1}, {"decay": 0.2})
        >>> ones = np.ones((2, 5, 1), int)
        >>> parts = {"loss": ones}, {"loss": ones}, {}, ones, ones < 1, ones > 0, ones, ones[:, 0, 0]
        >>> found = fnn.selection.CrossValidation(settings, *parts)
        >>> fnn.plot.validation_curve(found, "decay").axes[0].get_xlabel()
        'decay'
    """
    names = list(found.settings[0])
    if names != [setting]:
        raise ValueError(f"validation_curve: expected {setting!r} to be the only setting, got {names}")
    values = np.array([one[setting] for one in found.settings])
    order = np.argsort(values)
    values = values[order]
    figure = _bands("validation_curve", found, metric, values, order, setting)
    if values[0] > 0 and values[-1] > 20 * values[0]:
        figure.axes[0].set_xscale("log")
    return figure


def _bands(where: str, found: Any, metric: str, x: np.ndarray, order: np.ndarray, xlabel: str) -> Figure:
    """A line with a band for validation and one for training."""
    checks.one_of(where, "metric", metric, found.scores)
    figure, axes = panel(5, 3.5, xlabel=xlabel, ylabel=metric)
    for name, scores in {"validation": found.scores, "training": found.training_scores}.items():
        color = COLORS[name]
        folds = mean_of(scores[metric], axis=2)[order]
        mean, error = mean_of(folds, axis=1), np.nan_to_num(standard_error(folds))
        axes.plot(x, mean, marker="o", color=color, label=f"{name}, mean ± one standard error")
        band(axes, x, mean - error, mean + error, color=color, alpha=0.2)
    legend_above(axes)
    return figure


def rate_range(found: Any) -> Figure:
    """The loss at every learning rate, early and at the end: mean over seeds ± one standard deviation, and the best.

    Args:
        found: a `RateRange`, of `fnn.selection.rate_range`. Rates at which a seed diverged have no point.

    Example:
        >>> import numpy as np, fnn.plot
        >>> losses = np.array([[[2.0, 1.9]], [[2.0, 0.5]], [[2.0, np.nan]]])
        >>> figure = fnn.plot.rate_range(fnn.selection.RateRange(np.array([0.01, 0.1, 1.0]), losses))
        >>> figure.axes[0].get_xlabel()
        'learning rate'
    """
    steps = found.losses.shape[-1]
    early = found._replace(losses=found.losses[..., : -(-steps // 5)])
    shown = {f"after {each.losses.shape[-1]} steps": each.final for each in (early, found)}
    figure, axes = panel(6.0, 3.8, xlabel="learning rate", ylabel="training loss")
    for (label, losses), color in zip(shown.items(), (PALETTE[5], PALETTE[0]), strict=False):
        mean, spread = losses.mean(axis=1), losses.std(axis=1)
        axes.plot(found.rates, mean, color=color, label=label, marker="o", markersize=3)
        band(axes, found.rates, mean - spread, mean + spread, color=color, alpha=0.25)
    axes.axvspan(*found.spread, color=PALETTE[4], alpha=0.2, linewidth=0, label="best of single seeds")
    axes.axvline(found.suggestion, color=PALETTE[1], linestyle="--", label=f"suggestion, {found.suggestion:.2g}")
    finite = np.concatenate([each[np.isfinite(each)] for each in shown.values()])
    axes.set_xscale("log")
    if finite.size and (finite > 0).all():
        axes.set_yscale("log")
    # Beyond a few times the first loss nothing is to be seen, and a band about a mean may reach below 0.
    first = float(np.nanmean(found.losses[..., 0]))
    if finite.size:
        highest = max(loss + abs(loss) for loss in (first, finite.min()))
        axes.set_ylim(0.8 * finite.min() if finite.min() > 0 else None, highest)
    legend_above(axes)
    return figure
