"""
Paths of optimizers
===================

Nine rules from the same start, forty steps each: down a ravine that is twenty times steeper across than along, and off
a saddle.
"""

import jax
import jax.numpy as jnp
import numpy as np
from drawing import COLORS, legend, sheet

import fnn

O = fnn.optim
RULES = {
    "gradient descent": O.sgd(0.09), "stochastic descent": O.chain(O.sgd(0.09)),
    "momentum, trace": O.momentum(0.01, 0.9), "momentum, average": O.momentum(0.1, 0.9, "average"),
    "momentum, velocity": O.momentum(lambda t: 0.02 * 0.95**t, 0.9, "velocity"),
    "Nesterov": O.sgd(0.01, 0.9, nesterov=True), "AdaGrad": O.adagrad(0.5), "RMSProp": O.rmsprop(0.08),
    "Adam": O.adam(0.2),
}  # fmt: skip
PLACES = {
    "ravine": (lambda p: 0.5 * p[0] ** 2 + 10 * p[1] ** 2, (-2.0, 0.9)),
    "saddle": (lambda p: 0.5 * p[0] ** 2 - p[1] ** 2 + 0.25 * p[1] ** 4, (-2.0, 0.02)),
}


def path(rule, height, start, noise):
    def step(carry, wind):
        place, state = carry
        updates, state = rule.update(jax.grad(height)(place) + wind, state, place)
        return (fnn.optim.apply_updates(place, updates), state), place

    start = jnp.array(start)
    return jax.lax.scan(step, (start, rule.init(start)), noise)[1]


x, y = np.meshgrid(np.linspace(-2.4, 2.4, 121), np.linspace(-1.9, 1.9, 121))
figure, panels = sheet(3, 6, width=1.9, height=1.9, sharex=True, sharey=True)
for row, (name, rule) in enumerate(RULES.items()):
    for column, (ground, (height, start)) in enumerate(PLACES.items()):
        panel = panels[2 * row + column]
        noise = jax.random.normal(jax.random.key(0), (40, 2)) * (0.8 if "stochastic" in name else 0.0)
        way = jax.jit(lambda noise, rule=rule, height=height, start=start: path(rule, height, start, noise))(noise)
        panel.contour(x, y, np.asarray(height(jnp.array([x, y]))), 12, colors="0.75", linewidths=0.6)
        panel.plot(*way.T, ".-", color=COLORS[column], markersize=4, linewidth=1, label="the path")
        panel.plot(*start, "k*", markersize=8, label="the start")
        panel.set(xlim=(-2.4, 2.4), ylim=(-1.9, 1.9), xticks=[-2, 0, 2])
        panel.grid(visible=False)
        panel.set_title(f"{name}\n{ground}", fontsize=9)
legend(figure, panels[0])
figure.supxlabel("first parameter")
figure.supylabel("second parameter")
