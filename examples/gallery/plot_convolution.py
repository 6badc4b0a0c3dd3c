"""
A convolution, its padding and its stride, and pooling
======================================================

A filter of 3 × 3 that looks for horizontal edges, over a digit of 8 × 8 pixels; what the borders and the steps do to
the size; and what two ways of pooling keep.
"""

import jax.numpy as jnp
from drawing import sheet
from sklearn.datasets import load_digits

import fnn

digit = jnp.asarray(load_digits().images[[3]][..., None] / 16, jnp.float32)
edges = jnp.array([[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]])[:, :, None, None] / 4
K = fnn.kernels
SHOWN = {
    "the digit": digit,
    "the filter": edges[None, :, :, :, 0],
    'padding "SAME"': K.conv(digit, edges),
    'padding "VALID"': K.conv(digit, edges, padding="VALID"),
    "stride 2": K.conv(digit, edges, stride=2),
    "dilation 2": K.conv(digit, edges, dilation=2, padding="VALID"),
    "max pooling, 2": K.max_pool(digit, 2),
    "average pooling, 2": K.avg_pool(digit, 2),
}

figure, panels = sheet(2, 4, width=2.3, height=2.5)
for panel, (name, image) in zip(panels, SHOWN.items(), strict=True):
    picture = image[0, :, :, 0]
    shades = panel.imshow(picture, cmap="PuOr", vmin=-1, vmax=1)
    height, width = picture.shape
    panel.set_title(f"{name}\n{height} × {width} pixels", fontsize=10)
    panel.set(xticks=[], yticks=[])
    panel.grid(visible=False)
figure.colorbar(shades, ax=panels, label="value", shrink=0.8)
