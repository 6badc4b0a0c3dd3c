"""
The range of learning rates
===========================

Short runs at twenty-five rates, from six seeds each: 150 networks in one program. Too small and nothing moves, too
large and nothing holds; the band between is where to look, and its width what one run alone would not have told.
"""

import jax
import numpy as np
from drawing import COLORS, legend, sheet
from sklearn.datasets import load_digits

import fnn

x, y = load_digits(return_X_y=True)
x = (x / 16).astype(np.float32)
figure, panels = sheet(1, 2, width=4.4, height=3.2, sharey=True)
for panel, (name, rule) in zip(
    panels, {"gradient descent": fnn.optim.sgd, "Adam": fnn.optim.adam}.items(), strict=True
):
    found = fnn.selection.rate_range(
        fnn.models.mlp((32,), 10), rule, fnn.tasks.multiclass(10), (x, y),
        key=jax.random.key(0), rates=25, seeds=6, steps=60, low=1e-5, high=100.0,
    )  # fmt: skip
    last = found.losses[..., -15:].mean(axis=-1)
    panel.plot(found.rates, last, ".", color=COLORS[0], markersize=4)
    panel.plot(found.rates, last.mean(axis=1), color=COLORS[0], label="mean of six seeds (points)")
    panel.axvline(found.suggestion, color=COLORS[1], linestyle="--", label="suggestion")
    panel.axvspan(*found.spread, color=COLORS[4], alpha=0.25, label="best of single seeds")
    panel.set(xscale="log", ylim=(0, 5), xlabel="learning rate", title=f"{name}: {found.suggestion:.2g}")
panels[0].set_ylabel("loss after 60 steps, nats")
legend(figure, panels[0])
