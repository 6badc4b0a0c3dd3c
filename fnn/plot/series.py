"""Figures over time: several curves, a forecast with its interval, the history of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fnn import checks
from fnn.plot.canvas import COLORS, PALETTE, Figure, band, blank, legend_above, mark_alone, panel

__all__ = ["curves", "forecast", "learning_curves"]

DASHES = ("-", "--", ":", "-.")
STYLES = len(PALETTE) * len(DASHES)
"""Lines that can be told apart: the colours come again with other dashes."""


def curves(
    x: Any, series: Mapping[str, Any], *, xlabel: str, ylabel: str, level: tuple[float, str] | None = None
) -> Figure:
    """Several named curves over the same axis.

    Args:
        x: (points,), the places on the axis.
        series: name -> (points,); a legend names at most 28 curves, more would look alike.
        xlabel, ylabel: what the axes show, with units.
        level: (value, name) of a horizontal line to compare with.

    Example:
        >>> import fnn.plot
        >>> figure = fnn.plot.curves([1, 2], {"LSTM": [0.2, 0.1]}, xlabel="step", ylabel="loss", level=(0.17, "mean"))
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['LSTM', 'mean']
    """
    checks.at_least_one("curves", "curve", len(series))
    figure, axes = panel(6.5, 4, xlabel=xlabel, ylabel=ylabel)
    for place, (name, values) in enumerate(series.items()):
        if np.shape(values) != np.shape(x):
            raise ValueError(f"curves: expected {np.size(x)} points in {name!r}, as in x, got shape {np.shape(values)}")
        color, dashes = PALETTE[place % len(PALETTE)], DASHES[place // len(PALETTE) % len(DASHES)]
        axes.plot(x, values, label=name if len(series) <= STYLES else None, color=color, linestyle=dashes)
    mark_alone(axes)
    if level is not None:
        axes.axhline(level[0], color="0.5", linestyle=(0, (1, 2)), label=level[1])
    legend_above(axes)
    return figure


def forecast(
    truth: Any,
    median: Any,
    low: Any,
    high: Any,
    *,
    before: Any = (),
    xlabel: str = "step",
    ylabel: str = "value",
    interval: str = "interval",
) -> Figure:
    """What was forecast against what came, with the prediction interval.

    Args:
        truth: (steps,), what came, from step 0 on.
        median: (steps,), the forecast.
        low, high: (steps,), the ends of the interval.
        before: values before the first forecast.
        xlabel, ylabel: what the axes show, with units.
        interval: name of the interval, for instance "80 % interval".

    Example:
        >>> import fnn.plot
        >>> fnn.plot.forecast([1, 2], [1, 2], [0, 1], [2, 3], before=[0], ylabel="°C").axes[0].get_ylabel()
        '°C'
    """
    shapes = {name: np.shape(values) for name, values in dict(truth=truth, median=median, low=low, high=high).items()}
    if len(set(shapes.values())) > 1 or len(shapes["truth"]) != 1:
        raise ValueError(f"forecast: expected arrays of one length (steps,), got {shapes}")
    figure, axes = panel(9, 3.5, xlabel=xlabel, ylabel=ylabel)
    steps = np.arange(len(truth))
    band(axes, steps, low, high, color=PALETTE[5], alpha=0.4, label=interval)
    axes.plot(steps, median, color=PALETTE[0], linewidth=1, label="forecast")
    # On top: what came is what the forecast is looked at for.
    axes.plot(np.arange(-len(before), len(truth)), [*before, *truth], color="black", linewidth=1, label="what came")
    mark_alone(axes)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    legend_above(axes)
    return figure


def learning_curves(history: Mapping[str, Any]) -> Figure:
    """Training and validation loss by epoch, and one panel per further metric of the history.

    Training and validation keep their colours in all panels; a panel of one of them says which on its axis.

    Args:
        history: as returned by a `trainer` run or `fit`; entries that are not series over epochs are left out.

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
