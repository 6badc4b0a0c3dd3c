"""
Many trainings at once
======================

Seven learning rates × eight seeds × four folds: 224 networks trained by one compiled program. Every thin line is the
score of a network on the fold it has not seen, the thick one their mean.
"""

import jax
import numpy as np
from drawing import COLORS, sheet
from sklearn.datasets import load_breast_cancer

import fnn

x, y = load_breast_cancer(return_X_y=True)
rates = [1e-4, 3e-4, 1e-3, 1e-2, 1e-1, 3e-1, 1.0]
found = fnn.selection.cross_validate(
    fnn.models.mlp((16,), 2), fnn.optim.adam, fnn.tasks.multiclass(2), (x.astype(np.float32), y),
    key=jax.random.key(0), folds=4, seeds=8, epochs=15, over={"learning_rate": rates},
    scaler=fnn.data.standard_scaler(), progress=False,
)  # fmt: skip

curves = found.curves["validation_accuracy"].reshape(len(rates), -1, 15)
figure, panels = sheet(1, 7, width=1.75, height=2.6, sharey=True)
for panel, rate, networks in zip(panels, rates, curves, strict=True):
    panel.plot(np.arange(1, 16), 100 * networks.T, color=COLORS[5], alpha=0.5, linewidth=0.6)
    panel.plot(np.arange(1, 16), 100 * networks.mean(axis=0), color=COLORS[0])
    panel.set(title=f"rate {rate:g}", ylim=(35, 101), xticks=[1, 8, 15])
panels[0].set_ylabel("accuracy, % of rows not seen")
figure.supxlabel("epoch")
