"""Learning rates and what came of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.plot.canvas import PALETTE, Figure, band, legend_above, panel

__all__ = ["rate_range"]


def rate_range(found: Any) -> Figure:
    """The loss at every learning rate, early and at the end: mean over seeds ± one standard deviation, and the best.

    Args:
        found: a `RateRange`, of `fnn.selection.rate_range`. Rates at which a seed diverged have no point.

    Returns:
        A matplotlib figure.

    Example:
        >>> import numpy as np, fnn.plot
        >>> losses = np.array([[[2.0, 1.9]], [[2.0, 0.5]], [[2.0, np.nan]]])
        >>> figure = fnn.plot.rate_range(fnn.selection.RateRange(np.array([0.01, 0.1, 1.0]), losses))
        >>> figure.axes[0].get_xlabel()
        'learning rate'
    """
    steps = found.losses.shape[-1]
    shown = {
        f"after {count} steps": _mean_loss(found.losses, count) for count in dict.fromkeys((-(-steps // 5), steps))
    }
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


def _mean_loss(losses: np.ndarray, count: int) -> np.ndarray:
    """The mean of the last quarter of the first `count` steps, (rates, seeds)."""
    return losses[..., count - max(1, count // 4) : count].mean(axis=-1)
