"""The sheet every figure is drawn on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(width: float, height: float) -> Figure:
    """A figure of its own, in inches: no global state, no window."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('fnn.plot needs matplotlib; run pip install "fnn[plot]"') from error
    return Figure(figsize=(width, height), layout="constrained")
