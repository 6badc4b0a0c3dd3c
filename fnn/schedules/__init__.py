"""Learning-rate schedules: pure functions of the step, which may be traced.

A setting out of its range is a ValueError when the schedule is made.
"""
# ruff: noqa: F403

from fnn.schedules import decay, piecewise, warmup
from fnn.schedules.decay import *
from fnn.schedules.piecewise import *
from fnn.schedules.warmup import *

__all__ = [*decay.__all__, *piecewise.__all__, *warmup.__all__]
