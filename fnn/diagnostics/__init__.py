"""Looking into a model: its layers, what happens in them, and where the first number ceased to be finite."""
# ruff: noqa: F401, F403

from fnn.diagnostics import activity, layer_table
from fnn.diagnostics.activity import *
from fnn.diagnostics.layer_table import *
from fnn.train.replay import Divergence, explain_divergence

__all__ = sorted([*activity.__all__, *layer_table.__all__, "Divergence", "explain_divergence"])
