"""
Losses and what they pull with
==============================

Above the loss, below its gradient: squares are pulled hardest by the worst rows, Huber and log cosh by all alike, a
quantile more from one side than from the other.
"""

import jax
import jax.numpy as jnp
from drawing import COLORS, DASHES, sheet

import fnn

L = fnn.losses
REGRESSION = {
    "half a square": L.l2_loss, "absolute": L.absolute_error, "Huber, δ = 1": L.huber_loss, "log cosh": L.log_cosh,
    "quantile 0.9": lambda error: L.quantile_loss(-error, jnp.zeros_like(error), 0.9),
}  # fmt: skip
CLASSES = {
    "cross-entropy": lambda score: L.sigmoid_binary_cross_entropy(score, jnp.ones_like(score)),
    "hinge": lambda score: L.hinge_loss(score, jnp.ones_like(score)),
    "squared hinge": lambda score: L.squared_hinge_loss(score, jnp.ones_like(score)),
    "perceptron": lambda score: L.perceptron_loss(score, jnp.ones_like(score)),
}

x = jnp.linspace(-4, 4, 401)
figure, panels = sheet(2, 2, width=4.6, height=2.6, sharex="col")
for column, losses in enumerate((REGRESSION, CLASSES)):
    for place, (name, loss) in enumerate(losses.items()):
        style = dict(color=COLORS[place], linestyle=DASHES[place % 4])
        panels[column].plot(x, loss(x), label=name, **style)
        panels[2 + column].plot(x, jax.vmap(jax.grad(loss))(x), **style)
    panels[column].legend(loc="upper center", bbox_to_anchor=(0.5, 1.42), ncols=2, fontsize=9)
    panels[column].set_ylim(-0.2, 5)
panels[0].set_ylabel("loss")
panels[2].set(xlabel="prediction − target", ylabel="gradient", ylim=(-3.2, 3.2))
panels[3].set(xlabel="score of a row of class 1", ylim=(-3.2, 3.2))
