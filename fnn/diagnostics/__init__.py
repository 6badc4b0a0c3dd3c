"""Looking into a model: its layers, what happens in them, where a number ceased to be finite. Print what is found."""
# ruff: noqa: F403, F405

from fnn.diagnostics.activity import *
from fnn.diagnostics.layer_table import *
from fnn.train.replay import Divergence, explain_divergence

__all__ = [
    "Diagnosis", "Divergence", "LayerRow", "Summary", "diagnose", "explain_divergence", "summary",
]  # fmt: skip
