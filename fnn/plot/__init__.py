"""Figures of what a run produced; each function returns a matplotlib figure: `figure.savefig("curves.png")`."""
# ruff: noqa: F403

from fnn.plot import images, rates, scores, series, training
from fnn.plot.images import *
from fnn.plot.rates import *
from fnn.plot.scores import *
from fnn.plot.series import *
from fnn.plot.training import *

__all__ = [*images.__all__, *rates.__all__, *scores.__all__, *series.__all__, *training.__all__]
