"""The sheet every figure is drawn on, its colours, and where a legend goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fnn import checks

if TYPE_CHECKING:
    from matplotlib.figure import Figure
else:
    Figure = Any

# Okabe and Ito (2008): told apart with every kind of colour vision.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


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


def write_cells(axes: Any, values: np.ndarray, form: str, is_dark: np.ndarray) -> None:
    """Every finite number in its cell, white where the ground is dark."""
    for place, value in np.ndenumerate(values):
        if np.isfinite(value):
            shade = "white" if is_dark[place] else "black"
            axes.text(*place[::-1], format(value, form), ha="center", va="center", color=shade, fontsize=8)


def style(place: int) -> dict[str, Any]:
    """Colour and dashes of one line of several: the colours come again with other dashes."""
    return {"color": PALETTE[place % len(PALETTE)], "linestyle": ("-", "--", ":", "-.")[place // len(PALETTE) % 4]}


def legend_above(axes: Any) -> None:
    """The legend above the panel, in as many columns as there is room for: inside it would lie on the data."""
    names = axes.get_legend_handles_labels()[1]
    width = axes.figure.get_figwidth() * axes.get_position().width
    room = int(width / (0.6 + 0.085 * max(map(len, names))))  # inches of a sample of the line, and of a letter
    columns = max(1, min(len(names), room))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, frameon=False)
