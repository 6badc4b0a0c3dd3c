"""The sheet every figure is drawn on, its colours, and where a legend goes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from fnn import checks

if TYPE_CHECKING:
    from matplotlib.figure import Figure
else:
    Figure = Any

# Okabe and Ito (2008): told apart with every kind of colour vision.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

COLORS = {"training": PALETTE[0], "validation": PALETTE[1]}
"""Of the rows that a score is of."""


def blank(width: float, height: float) -> Figure:
    """A figure of its own, in inches: no global state, no window."""
    drawing = checks.package("matplotlib.figure", "fnn.plot", "matplotlib", "plot")
    return drawing.Figure(figsize=(width, height), layout="constrained")


def panel(width: float, height: float, **labels: str) -> tuple[Figure, Any]:
    """A figure of one panel: its axes are named by the `labels`, `xlabel` and `ylabel`, and carry a grid."""
    sheet = blank(width, height)
    axes = sheet.subplots()
    axes.set(**labels)
    axes.grid(alpha=0.3)
    return sheet, axes


def names_of(values: Iterable[Any]) -> list[str]:
    """What stands at ticks: texts and whole numbers as they are, others in as few digits as tell them apart."""
    given = list(values)
    whole = [str(value) for value in given]
    for digits in (3, 6):
        names = [f"{value:.{digits}g}" if isinstance(value, float | np.floating) else str(value) for value in given]
        if len(set(names)) == len(set(whole)):
            return names
    return whole


def longest(names: Iterable[str]) -> int:
    """Letters of the longest name."""
    return max(map(len, names), default=0)


def mark_alone(axes: Any) -> None:
    """A marker at each point without a finite neighbour: a line alone would not show it."""
    for line in axes.lines:
        alone = find_alone(line.get_ydata(orig=False))
        if alone.size:
            line.set(marker="o", markersize=4, markevery=alone.tolist())


def band(axes: Any, x: Any, low: Any, high: Any, **look: Any) -> None:
    """The area between two curves; a stroke where a point has no finite neighbour to span it to."""
    x, low, high = map(np.asarray, (x, low, high))
    axes.fill_between(x, low, high, linewidth=0, **look)
    if (alone := find_alone(high - low)).size:
        axes.vlines(x[alone], low[alone], high[alone], linewidth=4, **look | {"label": None})


def find_alone(values: Any) -> np.ndarray:
    """Places of the finite values between others that are not, or the end."""
    finite = np.pad(np.isfinite(np.asarray(values, float)), 1)
    return np.flatnonzero(finite[1:-1] & ~finite[:-2] & ~finite[2:])


def legend_above(axes: Any) -> None:
    """The legend above the panel, in as many columns as there is room for: inside it would lie on the data.

    The sheet grows by the rows that do not fit on it.
    """
    names = axes.get_legend_handles_labels()[1]
    if not names:
        return
    width = axes.figure.get_figwidth() * axes.get_position().width
    room = int(width / (0.6 + 0.085 * longest(names)))  # inches of a sample of the line, and of a letter
    columns = max(1, min(len(names), room))
    axes.figure.set_figheight(axes.figure.get_figheight() + 0.2 * max(0, -(-len(names) // columns) - 4))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, frameon=False)
