"""Figures of what a run produced; each function returns a matplotlib figure: `figure.savefig("curves.png")`."""

from fnn.plot.images import filters, image_grid, misclassified
from fnn.plot.rates import rate_range
from fnn.plot.scores import heat_map, score_by_size, validation_curve
from fnn.plot.series import curves, forecast
from fnn.plot.training import confusion_matrix, learning_curves

__all__ = [
    "confusion_matrix",
    "curves",
    "filters",
    "forecast",
    "heat_map",
    "image_grid",
    "learning_curves",
    "misclassified",
    "rate_range",
    "score_by_size",
    "validation_curve",
]
