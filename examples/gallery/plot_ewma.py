"""
Averages that forget
====================

The exponentially weighted average at three β remembers about 1/(1 − β) days. It starts at zero, which the correction
1/(1 − βᵗ) makes good: thin lines are without it.
"""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from drawing import COLORS, DASHES, sheet

import fnn

file = Path(os.environ.get("FNN_DATA", "")) / "series" / "daily-min-temperatures.csv"
if file.exists():
    lines = file.read_text().splitlines()[1:366]
    days, place = np.array([float(line.split(",")[1]) for line in lines]), "Melbourne, 1981, lowest of each day"
else:
    rng = np.random.default_rng(0)
    days = 11 + 4 * np.cos(np.arange(365) * 2 * np.pi / 365) + np.convolve(rng.normal(size=368), np.ones(4))[2:367]
    place = "a year as in Melbourne, drawn (the real one: FNN_DATA)"


def average(decay, debias):
    rule = fnn.optim.ema(decay, debias=debias)
    start = rule.init(jnp.zeros(()))
    _, values = jax.lax.scan(lambda state, day: rule.update(day, state)[::-1], start, jnp.asarray(days, jnp.float32))
    return values


figure, (panel,) = sheet(width=8.5, height=3.6)
panel.plot(days, ".", color="0.7", markersize=4, label="measured")
for color, dashes, decay in zip(COLORS, DASHES, (0.5, 0.9, 0.98), strict=False):
    panel.plot(average(decay, True), color=color, linestyle=dashes, label=f"β = {decay}: {1 / (1 - decay):.0f} days")
    panel.plot(average(decay, False), color=color, linewidth=0.7)
panel.set(xlabel="day of the year", ylabel="temperature, °C", title=place)
panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=4)
