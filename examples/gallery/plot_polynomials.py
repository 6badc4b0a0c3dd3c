"""
Too simple, right, too free
===========================

Polynomials through twenty noisy points: a line misses the shape, the fifth degree finds it, the sixteenth follows the
noise. The error on the training rows falls all the way; that on others says where to stop.
"""

import jax
import jax.numpy as jnp
import numpy as np
from drawing import COLORS, sheet

import fnn

rng = np.random.default_rng(3)


def wave(x):
    return np.sin(4 * x) + 0.4 * x


x, others = rng.uniform(-1, 1, 20), rng.uniform(-0.95, 0.95, 400)
y, truth = wave(x) + 0.25 * rng.normal(size=20), wave(others) + 0.25 * rng.normal(size=400)


@jax.jit
def fit(features, degree, inputs):
    """The best polynomial of this degree at `inputs`; higher powers are columns of zeros, and get no weight."""
    features, inputs = (jnp.where(jnp.arange(1, 18)[None] <= degree, array, 0) for array in (features, inputs))
    params = fnn.models.least_squares(features, jnp.asarray(y, jnp.float32))
    return (inputs @ params["kernel"] + params["bias"])[:, 0]


def values(degree, inputs):
    powers = [np.polynomial.chebyshev.chebvander(at, 17)[:, 1:].astype(np.float32) for at in (x, inputs)]
    return np.asarray(fit(powers[0], degree, powers[1]))


figure, panels = sheet(1, 4, width=2.9, height=2.9)
grid = np.linspace(-1, 1, 300)
for panel, degree in zip(panels, (1, 5, 16), strict=False):
    panel.plot(grid, wave(grid), color="0.6", linestyle="--", label="the truth")
    panel.plot(grid, values(degree, grid), color=COLORS[0], label="fitted")
    panel.plot(x, y, "k.", label="training rows")
    panel.set(title=f"degree {degree}", ylim=(-2.2, 2.2), xlabel="input")
panels[0].set_ylabel("output")
degrees = range(1, 18)
errors = [[np.sqrt(np.mean((values(d, a) - b) ** 2)) for a, b in ((x, y), (others, truth))] for d in degrees]
panels[3].semilogy(degrees, np.array(errors)[:, 0], color=COLORS[2], marker="o", label="error, training")
panels[3].semilogy(degrees, np.array(errors)[:, 1], color=COLORS[1], marker="s", label="error, other rows")
panels[3].set(title="root of mean squares", xlabel="degree")
handles = [panel.get_legend_handles_labels() for panel in (panels[0], panels[3])]
figure.legend(*map(list.__add__, *handles), loc="outside upper center", ncols=5)
