"""Figures of a training run: learning curves, confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fnn.plot.canvas import (
    COLORS,
    Figure,
    blank,
    legend_above,
    longest,
    mark_alone,
    name_cells,
    names_of,
    write_cells,
)

__all__ = ["confusion_matrix", "learning_curves"]


def learning_curves(history: Mapping[str, Any]) -> Figure:
    """Training and validation loss by epoch, and one panel per further metric of the history.

    Training and validation keep their colours in all panels; a panel of one of them says which on its axis.

    Args:
        history: as returned by a `trainer` run or `fit`; entries that are not series over epochs are left out.

    Returns:
        A matplotlib figure; `figure.savefig("curves.png")`.

    Raises:
        ValueError: if the history holds no series.

    Example:
        >>> import fnn.plot
        >>> figure = fnn.plot.learning_curves({"loss": [2.0, 1.0], "validation_accuracy": [0.5, 0.9]})
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['loss, training', 'accuracy, validation']
    """
    series = {name: np.asarray(values) for name, values in history.items() if np.ndim(values) == 1 and len(values)}
    if np.ptp(series.get("learning_rate", [0.0, 1.0])) == 0:
        del series["learning_rate"]  # one that never changes is no curve
    if not series:
        raise ValueError(f"learning_curves: expected series over epochs, got {', '.join(history) or 'nothing'}")
    metrics = list(dict.fromkeys(name.removeprefix("validation_") for name in series))
    figure = blank(4.5 * len(metrics), 3.5)
    for axes, metric in zip(np.atleast_1d(figure.subplots(1, len(metrics))), metrics, strict=True):
        names = {"training": metric, "validation": f"validation_{metric}"}
        lines = {label: series[name] for label, name in names.items() if name in series}
        for label, values in lines.items():
            axes.plot(1 + np.arange(len(values)), values, color=COLORS[label], label=label)
        mark_alone(axes)
        axes.set(xlabel="epoch", ylabel=metric if len(lines) == 2 else f"{metric}, {next(iter(lines))}")
        if metric == "learning_rate":
            axes.set_ylabel("learning rate")  # neither of training rows nor of others
        else:
            legend_above(axes)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
    return figure


def confusion_matrix(matrix: Any, labels: Sequence[Any] | None = None) -> Figure:
    """A confusion matrix with its counts: rows are true classes, columns predicted ones.

    Args:
        matrix: (classes, classes) counts, from `fnn.metrics.confusion_matrix`.
        labels: names of the classes, texts or numbers; their numbers by default.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: for another shape, or if there are not as many names as classes.

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
    write_cells(axes, counts, _count, shares > 0.6)
    axes.set(xlabel="predicted class", ylabel="true class")
    name_cells(axes, names, names, room=4)
    return figure


def _count(value: Any) -> str:
    """A count in full; a share in three digits."""
    return str(int(value)) if np.isfinite(value) and value == int(value) else format(value, ".3g")
