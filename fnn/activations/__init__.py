"""Activation functions: elementwise unless said, in the dtype of x, with the derivative of the formula everywhere.

Names and signatures are those of `jax.nn` where it has the function. What `jax.nn` lets become NaN at large inputs
(an overflow in the branch that is not taken) is written here so that it cannot.

Which one: in hidden layers relu, then leaky_relu or elu if units die; tanh only in shallow nets, sigmoid never. At the
output the task knows: sigmoid for two classes, softmax for several, identity for values.

`prelu(x, alpha)` and `rrelu(x, key)` are the pure functions; `fnn.prelu()` and `fnn.rrelu()` are the layers.
"""
# ruff: noqa: F403

from fnn.activations.gates import *
from fnn.activations.rectifiers import *
from fnn.activations.sigmoids import *
from fnn.activations.softmax import *
from fnn.activations.steps import *
from fnn.activations.thresholds import *

__all__ = sorted(
    name
    for name, value in globals().items()
    if getattr(value, "__module__", "").startswith(f"{__name__}.") and name not in ("prelu", "rrelu")
)
