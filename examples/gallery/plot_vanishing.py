"""
Vanishing gradients
===================

Ten layers deep, how much of the gradient reaches each of them: at the start, and after training. Ten sigmoids in a row
let next to nothing through to the first layer.
"""

import jax
import jax.numpy as jnp
import numpy as np
from drawing import COLORS, legend, sheet

import fnn

rng = np.random.default_rng(0)
x = rng.normal(size=(256, 8)).astype(np.float32)
y = (np.sin(2 * x[:, 0]) + x[:, 1] > 0).astype(int)
STARTS = {"sigmoid": "glorot_uniform", "tanh": "glorot_uniform", "relu": "he_normal"}
task = fnn.tasks.multiclass(2)


def norms(model, trained):
    """The norm of the gradient of each hidden layer's weights."""

    def loss(params):
        return task.loss(model.apply(params, trained.state, x)[0], y).mean()

    gradients = jax.jit(jax.grad(loss))(trained.params)
    return [float(jnp.linalg.norm(gradient["kernel"])) for gradient in gradients if gradient][:-1]


figure, panels = sheet(1, 2, width=4.2, height=3.2, sharey=True)
for color, marker, (name, start) in zip(COLORS, "os^", STARTS.items(), strict=False):
    hidden = fnn.dense(32, kernel_init=getattr(fnn.initializers, start)())
    model = fnn.serial(*[layer for _ in range(10) for layer in (hidden, getattr(fnn, name))], fnn.dense(2))
    run = fnn.trainer(model, fnn.optim.adam(1e-3), task, epochs=20)
    key = jax.random.key(0)
    started = fnn.Trained(*model.init(key, x))
    for panel, trained in zip(panels, (started, run(key, (x, y), start=started)[0]), strict=True):
        panel.semilogy(range(1, 11), norms(model, trained), color=color, marker=marker, label=name)
panels[0].set(ylabel="norm of the gradient", title="at the start")
panels[1].set(title="after 20 epochs")
legend(figure, panels[0])
figure.supxlabel("layer, from the input")
