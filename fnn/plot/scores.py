"""Figures of scores: of two settings, against one, against the size of the training set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fnn import checks
from fnn.plot.canvas import (
    COLORS,
    Figure,
    band,
    blank,
    legend_above,
    longest,
    name_cells,
    names_of,
    panel,
    write_cells,
)
from fnn.selection.result import mean_of, standard_error

__all__ = ["heat_map", "score_by_size", "validation_curve"]


def heat_map(values: Any, rows: tuple[str, Sequence[Any]], columns: tuple[str, Sequence[Any]], score: str) -> Figure:
    """A score for every combination of two things, its number in every cell.

    Args:
        values: (rows, columns); cells that are not finite (runs that diverged) stay empty.
        rows, columns: what they stand for, and the name of each.
        score: what the colours show.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: if there are not as many names as rows and columns.

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
    write_cells(axes, cells, _score, cells <= (np.ptp(finite) / 2 + finite.min() if finite.size else 0))
    axes.set(xlabel=columns[0], ylabel=rows[0])
    name_cells(axes, names, under, room=7)
    return figure


def _score(value: float) -> str:
    """Three decimals where they say enough, three digits of what is small or large."""
    return format(value, ".3f" if value == 0 or 0.1 <= abs(value) < 1e4 else ".3g")


def score_by_size(curve: Any, metric: str = "loss") -> Figure:
    """Validation and training score against the number of training rows: mean over folds and seeds, ± one s.e.

    Args:
        curve: as returned by `fnn.selection.learning_curve`.
        metric: one of its scores.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: for a score that is not there.

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
        setting: the name of the setting.
        metric: one of the scores.

    Returns:
        A matplotlib figure, logarithmic where the values span more than a factor of 20.

    Raises:
        ValueError: if this is not the only setting, for a score that is not there.

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
