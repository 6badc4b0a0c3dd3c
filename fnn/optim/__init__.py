"""Optimizers: transforms from gradients to updates. Rules, wrappers, and the conventions of others as `presets`.

A setting out of its range, or a word that is none of its words, is a ValueError when the rule is made, and so is, at
`update`, the absence of what the rule needs besides the gradients: the parameters, the loss, a metric.
"""
# ruff: noqa: F403

from fnn.optim import presets
from fnn.optim.accumulation import *
from fnn.optim.adafactor import *
from fnn.optim.adagrad import *
from fnn.optim.adam import *
from fnn.optim.adam_variants import *
from fnn.optim.averaging import *
from fnn.optim.fast_and_slow import *
from fnn.optim.gradient_descent import *
from fnn.optim.grouping import *
from fnn.optim.layerwise import *
from fnn.optim.lbfgs import *
from fnn.optim.learning_rate import *
from fnn.optim.line_search import *
from fnn.optim.loss_scale import *
from fnn.optim.muon import *
from fnn.optim.orthogonalization import *
from fnn.optim.plateau import *
from fnn.optim.regularization import *
from fnn.optim.rmsprop import *
from fnn.optim.second_moments import *
from fnn.optim.sign import *
from fnn.optim.transform import *
from fnn.optim.wrappers import *

__all__ = ["presets"]
__all__ += [name for name, value in globals().items() if getattr(value, "__module__", "").startswith("fnn.optim.")]
