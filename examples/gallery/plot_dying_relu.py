"""
A dying ReLU and its rescue
===========================

Units whose input is below zero for every row: there a relu has no gradient, so they stay silent and the network learns
nothing more than its last bias. The same parameters with a leaky relu wake up.
"""

import jax
import jax.numpy as jnp
import numpy as np
from drawing import COLORS, DASHES, legend, sheet

import fnn

rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, size=(128, 4)).astype(np.float32)
y = np.sin(3 * x[:, :1]) + x[:, 1:2]
leaky = lambda x: fnn.leaky_relu(x, 0.2)  # noqa: E731
hidden = fnn.dense(64, bias_init=fnn.initializers.constant(-2.4))  # where too large a step may have pushed them


def train(activation, steps, start=None):
    """The state, and step by step the loss and the share of units that no row teaches anything."""
    slopes = jax.vmap(jax.vmap(jax.grad(activation)))
    model = fnn.serial(hidden, activation, fnn.dense(1))
    step = fnn.train_step(model, fnn.optim.adam(0.03), fnn.losses.mse)

    def one(state, key):
        inputs = hidden.apply(state.params[0], (), x)[0]
        dead = (slopes(inputs) == 0).all(axis=0).mean()
        state, loss = step.update(state, key, (x, y))
        return state, (loss, 100 * dead)

    begun = step.init(jax.random.key(0), x, start)
    return jax.jit(lambda state: jax.lax.scan(one, state, jax.random.split(jax.random.key(1), steps)))(begun)


dead, before = train(fnn.relu, 100)
figure, panels = sheet(2, 1, width=6.5, height=2.2, sharex=True)
for place, (name, activation) in enumerate({"relu goes on": fnn.relu, "leaky relu from step 100": leaky}.items()):
    _, after = train(activation, 500, fnn.Trained(dead.params, dead.state))
    style = dict(color=COLORS[place], linestyle=DASHES[place], label=name)
    for panel, begun, ended in zip(panels, before, after, strict=True):
        panel.plot(jnp.concatenate([begun, ended]), **style)
panels[0].set(yscale="log", ylabel="mean squared error")
panels[1].set(xlabel="step", ylabel="dead units, %", ylim=(-5, 105))
legend(figure, panels[0])
for panel in panels:
    panel.axvline(100, color="0.5", linewidth=1)
