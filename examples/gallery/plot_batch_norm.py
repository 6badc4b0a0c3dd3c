"""
Batch norm on and off
=====================

Eight layers, the same network with and without it, at three learning rates: normalized it trains at rates that kill the
plain one.
"""

import jax
import jax.numpy as jnp
import numpy as np
from drawing import COLORS, legend, sheet
from sklearn.datasets import load_digits

import fnn

x, y = load_digits(return_X_y=True)
x, y = (x[:768] / 16).astype(np.float32), y[:768]
task, rates = fnn.tasks.multiclass(10), jnp.array([0.01, 0.1, 1.0])


def network(norm):
    hidden = [fnn.dense(32), *norm, fnn.relu]
    return fnn.serial(*hidden * 8, fnn.dense(10))


def losses(model, rate):
    run = fnn.trainer(model, fnn.optim.sgd(rate, momentum=0.9), task, epochs=20, batch_size=64)
    return run(jax.random.key(0), (x, y))[1]["loss"]


figure, panels = sheet(1, 3, width=3.0, height=2.8, sharey=True)
for place, (name, norm) in enumerate({"without": (), "with batch norm": (fnn.batch_norm(),)}.items()):
    model = network(norm)
    found = jax.vmap(lambda rate, model=model: losses(model, rate))(rates)
    for panel, rate, loss in zip(panels, rates, found, strict=True):
        panel.plot(range(1, 21), loss, color=COLORS[place], linestyle="-" if norm else "--", label=name)
        panel.set(title=f"rate {float(rate):g}", ylim=(0, 3), xticks=[1, 10, 20])
panels[0].set_ylabel("training loss, nats")
figure.supxlabel("epoch")
legend(figure, panels[0])
