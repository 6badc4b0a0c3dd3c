"""Figures over time: several curves, a forecast with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fnn import checks
from fnn.plot.canvas import PALETTE, STYLES, Figure, band, legend_above, mark_alone, panel, style

__all__ = ["curves", "forecast"]


def curves(
    x: Any, series: Mapping[str, Any], *, xlabel: str, ylabel: str, level: tuple[float, str] | None = None
) -> Figure:
    """Several named curves over the same axis.

    Args:
        x: (points,), the places on the axis.
        series: name -> (points,).
        xlabel, ylabel: what the axes show, with units.
        level: (value, name) of a horizontal line to compare with.

    Returns:
        A matplotlib figure; a legend names at most 28 curves, more would look alike.

    Raises:
        ValueError: for no curve, or one of another length than `x`.

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
        axes.plot(x, values, label=name if len(series) <= STYLES else None, **style(place))
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
        truth: (steps,), what came.
        median: (steps,), the forecast.
        low, high: (steps,), the ends of the interval.
        before: values before the first forecast.
        xlabel, ylabel: what the axes show, with units.
        interval: name of the interval, for instance "80 % interval".

    Returns:
        A matplotlib figure; the forecasts start at step 0.

    Raises:
        ValueError: for arrays of different lengths.

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
