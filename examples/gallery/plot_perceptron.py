"""
The perceptron's line moves
===========================

Rosenblatt's rule turns the line at every row it gets wrong, and stops when there is none: the theorem of 1962 says that
it will, if any line does.
"""

import warnings

import jax
import numpy as np
from drawing import COLORS, sheet

import fnn

rng = np.random.default_rng(4)
x = rng.normal(size=(80, 2)).astype(np.float32)
y = (x @ np.array([1.0, 0.7]) > 0.25).astype(int)
x = (x + 0.06 * np.where(y == 1, 1, -1)[:, None] * np.array([0.8, 0.6])).astype(np.float32)
x += np.array([2.0, 1.0], np.float32)  # far from the origin the bias has to be learnt too

line = np.array([-2.0, 6.0])
last = int(fnn.models.perceptron(x, y).epochs)
epochs = sorted({*np.unique(np.geomspace(1, last, 5).round().astype(int)).tolist()})
figure, panels = sheet(1, len(epochs), width=2.2, height=2.5, sharex=True, sharey=True)
for panel, count in zip(panels, epochs, strict=True):
    with warnings.catch_warnings(action="ignore"):  # that it has not converged yet is what is shown
        found = fnn.models.perceptron(x, y, epochs=count)
    (first, second), bias = np.asarray(found.params["kernel"])[:, 0], float(found.params["bias"][0])
    scores = x @ np.array([first, second]) + bias
    wrong = (scores > 0) != (y == 1)
    for label, marker in ((0, "o"), (1, "^")):
        panel.plot(*x[y == label].T, marker, color=COLORS[label], markersize=4, label=f"class {label}")
    panel.plot(*x[wrong].T, "ko", markersize=9, fillstyle="none", linestyle="none", label="wrong")
    panel.plot(line, -(first * line + bias) / second, color="black", label="the line")
    panel.set(title=f"epoch {count}: {wrong.sum()} wrong", xlim=(-1.5, 5.5), ylim=(-2.5, 4.5))
assert jax.numpy.all(found.converged)
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
figure.supxlabel("first feature")
figure.supylabel("second feature")
