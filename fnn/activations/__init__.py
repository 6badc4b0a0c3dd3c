"""Activation functions: elementwise unless said, in the dtype of x, with the derivative of the formula everywhere.

Names and signatures are those of `jax.nn` where it has the function. What `jax.nn` lets become NaN at large inputs
(an overflow in the branch that is not taken) is written here so that it cannot.

Which one: in hidden layers relu, then leaky_relu or elu if units die; tanh only in shallow nets, sigmoid never. At the
output the task knows: sigmoid for two classes, softmax for several, identity for values.

`prelu(x, alpha)` and `rrelu(x, key)` are the pure functions; `fnn.prelu()` and `fnn.rrelu()` are the layers.
"""

from fnn.activations.gates import gelu, glu, hard_silu, hard_swish, mish, silu, swish
from fnn.activations.rectifiers import celu, elu, leaky_relu, prelu, relu, relu6, rrelu, selu  # noqa: F401
from fnn.activations.sigmoids import (
    hard_sigmoid,
    hard_tanh,
    log_sigmoid,
    sigmoid,
    soft_sign,
    softplus,
    softsign,
    squareplus,
    tanh,
)
from fnn.activations.softmax import log_softmax, softmax
from fnn.activations.steps import binary_step, identity, sign
from fnn.activations.thresholds import hard_shrink, hardmax, soft_shrink, swiglu, thresholded_relu

__all__ = [
    "binary_step",
    "celu",
    "elu",
    "gelu",
    "glu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "hardmax",
    "identity",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "sign",
    "silu",
    "soft_shrink",
    "soft_sign",
    "softmax",
    "softplus",
    "softsign",
    "squareplus",
    "swiglu",
    "swish",
    "tanh",
    "thresholded_relu",
]
