"""Activation functions: elementwise unless said, in the dtype of x, with the derivative of the formula everywhere.

x is a floating-point array of any shape; integers become numbers of the default precision. What the Args do not allow
is a `ValueError`.

Names and signatures are those of `jax.nn` where it has the function. What `jax.nn` lets become NaN at large inputs
(an overflow in the branch that is not taken) is written here so that it cannot.

Which one: in hidden layers relu, then leaky_relu or elu if units die; tanh only in shallow nets, sigmoid never. At the
output the task knows: sigmoid for two classes, softmax for several, identity for values.

`prelu(x, alpha)` and `rrelu(x, key)` are the pure functions; `fnn.prelu()` and `fnn.rrelu()` are the layers.
"""
# ruff: noqa: F403, F405

from fnn.activations.gates import *
from fnn.activations.rectifiers import *
from fnn.activations.sigmoids import *
from fnn.activations.softmax import *
from fnn.activations.thresholds import *

# Written out, because type checkers take the names of `fnn` from here and follow no list that is computed.
__all__ = [
    "binary_step", "celu", "elu", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh",
    "hardmax", "identity", "leaky_relu", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid",
    "sign", "silu", "soft_shrink", "soft_sign", "softmax", "softplus", "softsign", "squareplus", "swiglu", "swish",
    "tanh", "thresholded_relu",
]  # fmt: skip
