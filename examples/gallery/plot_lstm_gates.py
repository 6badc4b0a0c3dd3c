"""
An LSTM's gates over a sentence
===============================

A small LSTM has learnt to continue a text, letter by letter. Its gates, computed from its weights: what is let in, what
is kept, what is shown; after a space the network begins a new word.
"""

import jax
import jax.numpy as jnp
import numpy as np
from drawing import sheet

import fnn

TEXT = "the cat sat on the mat and the rat sat on the hat and the cat ate the rat. " * 12
LETTERS, UNITS, LENGTH = sorted(set(TEXT)), 24, 24
numbers = np.array([LETTERS.index(letter) for letter in TEXT])
rows = np.lib.stride_tricks.sliding_window_view(numbers, LENGTH + 1)
one_hot = np.eye(len(LETTERS), dtype=np.float32)

model = fnn.serial(fnn.lstm(UNITS, return_sequences=True), fnn.dense(len(LETTERS)))
loss = fnn.losses.softmax_cross_entropy_with_integer_labels
run = fnn.trainer(model, fnn.optim.adam(1e-2), loss, epochs=4, batch_size=64)
trained, history = run(jax.random.key(0), (one_hot[rows[:, :-1]], rows[:, 1:]))
params = trained.params[0]


def step(carry, letter):
    """The equations of the LSTM, gate by gate."""
    h, c = carry
    i, f, g, o = jnp.split(letter @ params["kernel"] + h @ params["recurrent_kernel"] + params["bias"], 4)
    i, f, o = map(fnn.sigmoid, (i, f, o))
    c = f * c + i * fnn.tanh(g)
    return (o * fnn.tanh(c), c), (i, f, o)


sentence = TEXT[:39]
_, gates = jax.lax.scan(step, (jnp.zeros(UNITS), jnp.zeros(UNITS)), one_hot[numbers[:39]])
order = np.argsort(gates[1].mean(axis=0))  # units that forget first, units that keep last

figure, panels = sheet(3, 1, width=8.5, height=1.9, sharex=True)
for panel, name, gate in zip(panels, ("input i", "forget f", "output o"), gates, strict=True):
    shades = panel.imshow(gate[:, order].T, aspect="auto", cmap="cividis", vmin=0, vmax=1)
    panel.set(ylabel=f"{name}\nunit", yticks=[0, UNITS - 1], yticklabels=[1, UNITS])
    panel.grid(visible=False)
panels[2].set_xticks(range(39), [letter.replace(" ", "␣") for letter in sentence])
panels[2].set_xlabel("the sentence, letter by letter")
panels[0].set_title(f"loss {float(history['loss'][-1]):.2f} nats per letter after {len(history['loss'])} epochs")
figure.colorbar(shades, ax=panels, label="0 closed … 1 open")
