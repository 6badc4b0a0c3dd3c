"""
Initial weights and the spread of activations
=============================================

Through twenty layers of 256 units: too small weights and the signal dies, too large and it saturates or explodes;
Xavier keeps it behind tanh, He behind relu.
"""

import jax
import jax.numpy as jnp
from drawing import COLORS, DASHES, legend, sheet

import fnn

I = fnn.initializers
STARTS = {
    "normal, 0.01": I.normal(0.01), "normal, 0.2": I.normal(0.2), "Xavier (Glorot)": I.xavier_normal(),
    "He (Kaiming)": I.he_normal(), "LeCun": I.lecun_normal(), "orthogonal": I.orthogonal(),
}  # fmt: skip
x = jax.random.normal(jax.random.key(0), (128, 256))


@jax.jit
def deviations(weights, activation):
    def layer(signal, kernel):
        signal = jax.lax.switch(activation, [fnn.tanh, fnn.relu], signal @ kernel)
        return signal, signal.std()

    return jax.lax.scan(layer, x, weights)[1]


figure, panels = sheet(1, 2, width=4.4, height=3.2, sharey=True)
for place, (name, draw) in enumerate(STARTS.items()):
    weights = jnp.stack([draw(key, (256, 256)) for key in jax.random.split(jax.random.key(1), 20)])
    for number, panel in enumerate(panels):
        spread = deviations(weights, number)
        style = dict(color=COLORS[place], linestyle=DASHES[place % 4], label=name)
        panel.semilogy(range(1, 21), jnp.maximum(spread, 1e-12), **style)
panels[0].set(title="behind tanh", ylabel="deviation of activations", ylim=(1e-8, 1e8))
panels[1].set(title="behind relu")
figure.supxlabel("layer, from the input")
legend(figure, panels[0], columns=3)
