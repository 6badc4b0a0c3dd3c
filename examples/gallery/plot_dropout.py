"""
Dropout is an ensemble
======================

With dropout left on at inference every call is another network. They agree where there were data and part where there
were none: their spread says what the network does not know.
"""

import jax
import jax.numpy as jnp
import numpy as np
from drawing import COLORS, sheet

import fnn

rng = np.random.default_rng(1)
x = np.concatenate([rng.uniform(-3, -0.7, 60), rng.uniform(1.0, 2.5, 60)]).astype(np.float32)[:, None]
y = np.sin(2 * x[:, 0]) + 0.1 * rng.normal(size=120).astype(np.float32)
hidden = [fnn.dense(64), fnn.relu, fnn.dropout(0.2)]
model = fnn.serial(*hidden * 2, fnn.dense(1))
run = fnn.trainer(model, fnn.optim.adam(1e-2), fnn.tasks.regression(), epochs=200, batch_size=40)
trained, _ = run(jax.random.key(0), (x, y))

grid = jnp.linspace(-6, 6, 200)[:, None]
sampled = fnn.mc_dropout(model)
keys = jax.random.split(jax.random.key(1), 100)
draws = jax.vmap(lambda key: sampled.apply(*trained, grid, key=key)[0][:, 0])(keys)
mean, spread = draws.mean(axis=0), 2 * draws.std(axis=0)

figure, (panel,) = sheet(width=7.5, height=3.4)
panel.fill_between(grid[:, 0], mean - spread, mean + spread, color=COLORS[5], alpha=0.35, label="± two deviations")
panel.plot(grid[:, 0], draws[:12].T, color="0.55", linewidth=0.6)
panel.plot([], [], color="0.55", linewidth=0.6, label="twelve of the networks")
panel.plot(grid[:, 0], mean, color=COLORS[0], label="their mean")
panel.plot(x[:, 0], y, ".", color="black", markersize=4, label="training rows")
panel.set(xlabel="input", ylabel="output", ylim=(-5, 5))
figure.legend(loc="outside upper center", ncols=2)
