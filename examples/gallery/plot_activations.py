"""
Activations and their derivatives
=================================

What a unit passes on, and what it lets back: where the dashed derivative is 0, nothing is learnt.
"""

import jax
import jax.numpy as jnp
from drawing import COLORS, legend, sheet

import fnn

SHOWN = [
    "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "soft_sign",
    "relu6", "hard_sigmoid", "hard_tanh", "hard_swish", "squareplus", "log_sigmoid", "hard_shrink", "soft_shrink",
]  # fmt: skip

x = jnp.linspace(-5, 5, 401)
figure, panels = sheet(4, 5, width=2.3, height=2.0, sharex=True)
for panel, name in zip(panels, SHOWN, strict=True):
    function = getattr(fnn, name)
    panel.plot(x, function(x), color=COLORS[0], label="f(x)")
    panel.plot(x, jax.vmap(jax.grad(function))(x), color=COLORS[1], linestyle="--", label="df/dx")
    panel.set(title=name, ylim=(-2.2, 3.2))
legend(figure, panels[0])
figure.supxlabel("x, input of the unit")
