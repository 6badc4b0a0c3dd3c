"""Figures of what a run produced; each function returns a matplotlib figure: `figure.savefig("curves.png")`.

Arrays of other shapes, more or fewer names than there are things, a score that is not there and nothing to draw are a
`ValueError`.
"""
# ruff: noqa: F403

from fnn.plot import images, scores, series
from fnn.plot.images import *
from fnn.plot.scores import *
from fnn.plot.series import *

__all__ = [*images.__all__, *scores.__all__, *series.__all__]
