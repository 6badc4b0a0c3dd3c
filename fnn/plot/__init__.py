"""Figures of what a run produced; each function returns a matplotlib figure: `figure.savefig("curves.png")`."""

from fnn.plot.training import confusion_matrix, learning_curves

__all__ = ["confusion_matrix", "learning_curves"]
