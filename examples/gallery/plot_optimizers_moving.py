"""
Optimizers, moving
==================

Five rules leave the same place at the same time: across the ravine and along it, and away from a saddle.
"""

import jax
import jax.numpy as jnp
import numpy as np
from drawing import COLORS, sheet
from matplotlib.animation import FuncAnimation

import fnn

O = fnn.optim
RULES = {
    "gradient descent": O.sgd(0.09), "momentum": O.momentum(0.01, 0.9), "Nesterov": O.sgd(0.01, 0.9, nesterov=True),
    "RMSProp": O.rmsprop(0.08), "Adam": O.adam(0.2),
}  # fmt: skip
PLACES = {
    "a ravine": (lambda p: 0.5 * p[0] ** 2 + 10 * p[1] ** 2, (-2.0, 0.9)),
    "a saddle": (lambda p: 0.5 * p[0] ** 2 - p[1] ** 2 + 0.25 * p[1] ** 4, (-2.0, 0.02)),
}


def path(rule, height, start):
    def step(carry, _):
        place, state = carry
        updates, state = rule.update(jax.grad(height)(place), state, place)
        return (O.apply_updates(place, updates), state), place

    return jax.lax.scan(step, (start, rule.init(start)), length=60)[1]


x, y = np.meshgrid(np.linspace(-2.4, 2.4, 121), np.linspace(-1.9, 1.9, 121))
figure, panels = sheet(1, 2, width=4.0, height=3.4, sharey=True)
lines = []
for panel, (ground, (height, start)) in zip(panels, PLACES.items(), strict=True):
    panel.contour(x, y, np.asarray(height(jnp.array([x, y]))), 12, colors="0.8", linewidths=0.6)
    panel.set(title=ground, xlim=(-2.4, 2.4), ylim=(-1.9, 1.9), xlabel="first parameter")
    panel.grid(visible=False)
    for color, (name, rule) in zip(COLORS, RULES.items(), strict=False):
        way = jax.jit(lambda start, rule=rule, height=height: path(rule, height, start))(jnp.array(start))
        (line,) = panel.plot(*way.T, color=color, marker="o", markevery=[-1], markersize=6, label=name)
        lines.append((line, np.asarray(way)))
panels[0].set_ylabel("second parameter")
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=9)


def draw(frame):
    for line, way in lines:
        line.set_data(*way[: frame + 1].T)


moving = FuncAnimation(figure, draw, frames=range(0, 60, 2), interval=120)
