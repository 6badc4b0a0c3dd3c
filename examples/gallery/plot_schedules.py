"""
Schedules and what they do to a loss
====================================

The same network, the same key, four ways down from the same rate, on labels of which a fifth is noise: a constant rate
never settles. All are trained at once: a schedule is a row of a table, and the run is mapped over the rows.
"""

import jax
import jax.numpy as jnp
import numpy as np
from drawing import COLORS, DASHES, sheet
from sklearn.datasets import load_digits

import fnn

EPOCHS, STEPS, S = 30, 48, fnn.schedules
SCHEDULES = {
    "constant": S.constant_schedule(2.0),
    "step: half every 10 epochs": S.step_decay(2.0, 10, 0.5),
    "multi-step: a tenth at 15 and 25": S.multi_step(2.0, [15, 25]),
    "exponential": S.exponential_decay(2.0, 10, 0.4),
    "cosine": S.cosine_decay_schedule(2.0, EPOCHS),
}
x, y = load_digits(return_X_y=True)
x, rng = (x[:768] / 16).astype(np.float32), np.random.default_rng(0)
y = np.where(rng.random(768) < 0.2, rng.integers(10, size=768), y[:768])  # a fifth of the labels is noise
model, task = fnn.models.softmax_regression(10), fnn.tasks.multiclass(10)


def losses(table):
    run = fnn.trainer(model, fnn.optim.sgd(lambda step: table[step]), task, epochs=EPOCHS, batch_size=16)
    return run(jax.random.key(0), (x, y))[1]["loss"]


steps = jnp.arange(EPOCHS * STEPS)
tables = jnp.stack([jax.vmap(S.in_epochs(schedule, STEPS))(steps) for schedule in SCHEDULES.values()])
found = jax.vmap(losses)(tables)
figure, (rates, curves) = sheet(1, 2, width=4.6, height=3.2)
for place, name in enumerate(SCHEDULES):
    style = dict(color=COLORS[place], linestyle=DASHES[place % 4], label=name)
    rates.plot(np.arange(EPOCHS * STEPS) / STEPS, tables[place], **style)
    curves.plot(np.arange(1, EPOCHS + 1), found[place], **style)
rates.set(xlabel="epoch", ylabel="learning rate")
curves.set(xlabel="epoch", ylabel="training loss, nats", ylim=(0.8, 2.2))
figure.legend(*rates.get_legend_handles_labels(), loc="outside upper center", ncols=3)
