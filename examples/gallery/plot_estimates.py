"""
How far an estimate is off
==========================

A model fitted on sixty rows, drawn fifty times. Its error on all other rows is known; how far are the estimates from it
that see the sixty rows only? One split is a lottery; folds repeat it, leave-one-out uses every row.
"""

import jax
import jax.numpy as jnp
import numpy as np
from drawing import COLORS, sheet
from sklearn.datasets import load_diabetes

import fnn

x, y = load_diabetes(return_X_y=True)
x = jnp.asarray(x / x.std(axis=0), jnp.float32)
y = jnp.asarray(y, jnp.float32)
ROWS, S = 60, fnn.selection


def error(train, valid):
    """Root of the mean squared error on `valid` of ridge regression on `train`."""
    params = fnn.models.least_squares(x[train], y[train], ridge=5.0)
    return jnp.mean((x[valid] @ params["kernel"][:, 0] + params["bias"] - y[valid]) ** 2)


@jax.jit
def estimate(rows, train, valid):
    """The mean over folds, minus the error on the rows that were never seen."""
    seen, others = rows[:ROWS], rows[ROWS:]
    folds = jax.vmap(lambda train, valid: error(seen[train], seen[valid]))(train, valid)
    return jnp.sqrt(folds.mean()) - jnp.sqrt(error(seen, others))


WAYS = {
    "hold-out, 20 %": lambda seed: S.hold_out(ROWS, 0.2, seed=seed),
    "5 folds": lambda seed: S.k_fold(ROWS, 5, seed=seed),
    "5 folds, 4 times": lambda seed: S.repeated([S.k_fold(ROWS, 5, seed=4 * seed + k) for k in range(4)]),
    "leave one out": lambda seed: S.leave_one_out(ROWS),
}
figure, (panel,) = sheet(width=7.0, height=3.4)
rng = np.random.default_rng(0)
draws = [rng.permutation(len(y)) for _ in range(50)]
for place, way in enumerate(WAYS.values()):
    off = np.array([estimate(rows, *way(seed)) for seed, rows in enumerate(draws)])
    panel.plot(place + rng.uniform(-0.18, 0.18, 50), off, "o", color=COLORS[place], alpha=0.5, markersize=4)
    panel.errorbar(place + 0.3, off.mean(), off.std(), color="black", marker="s", capsize=4)
panel.axhline(0, color="0.5", linewidth=1)
panel.set(xticks=range(4), xticklabels=WAYS, ylabel="estimate − true error, points", xlim=(-0.5, 3.6))
panel.set_title("fifty draws of sixty rows; squares: mean ± one deviation")
