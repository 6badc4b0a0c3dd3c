"""
What L1 leaves and L2 shrinks
=============================

Ten measurements of patients, and a straight line that predicts the progress of their disease. Under an L1 penalty the
coefficients leave one after another, exactly zero; under L2 all of them shrink and none goes.
"""

import jax
import jax.numpy as jnp
import numpy as np
from drawing import COLORS, DASHES, sheet
from sklearn.datasets import load_diabetes

import fnn

data = load_diabetes()
x = (data.data / data.data.std(axis=0)).astype(np.float32)
y = ((data.target - data.target.mean()) / data.target.std()).astype(np.float32)

strengths = jnp.logspace(-3, 0, 40)
lasso = jax.vmap(lambda strength: fnn.models.lasso(x, y, l1=strength, iterations=500).params["kernel"][:, 0])(strengths)
ridges = jnp.logspace(0, 5, 40)
ridge = jax.vmap(lambda strength: fnn.models.least_squares(x, y, ridge=strength)["kernel"][:, 0])(ridges)

figure, (left, right) = sheet(1, 2, width=4.4, height=3.4, sharey=True)
for place, name in enumerate(data.feature_names):
    style = dict(color=COLORS[place % 7], linestyle=DASHES[place // 7], label=name)
    left.semilogx(strengths, lasso[:, place], **style)
    right.semilogx(ridges, ridge[:, place], **style)
zeros = (np.asarray(lasso) == 0).sum(axis=1)
left.set(title="L1: exact zeros", xlabel="strength λ", ylabel="coefficient, deviations")
right.set(title="L2: small numbers", xlabel="strength λ")
figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=5)
assert zeros[-1] >= 9 > zeros[0], "the path ends with nothing left"
