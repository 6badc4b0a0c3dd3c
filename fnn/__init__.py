"""fnn: neural networks as pure functions over parameter pytrees, with jit-compiled kernels.

Layers, activations, combinators and verbs stand here (`fnn.conv`, `fnn.relu`, `fnn.serial`, `fnn.fit`); families stand in
their module (`fnn.losses`, `fnn.optim`, `fnn.schedules`, `fnn.initializers`, `fnn.metrics`, `fnn.tasks`, …).
"""
# ruff: noqa: F401, F403

from fnn import optim
from fnn.layer import *
