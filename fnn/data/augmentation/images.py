"""Augmentations that move or cover pixels."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from fnn import checks, random_bits
from fnn.data.augmentation.protocol import (
    IMAGES,
    Augmentation,
    each_example,
    narrow,
    require_one_input,
    require_targets_of_rows,
)
from fnn.precision import wide_dtype
from fnn.typing import Array, ArrayLike, Key

__all__ = ["cutout", "gaussian_noise", "random_crop", "random_flip", "random_rotation", "random_shift"]

MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


def random_flip(axis: int = 2, *, rate: ArrayLike = 0.5) -> Augmentation:
    r"""Mirror a fraction of the examples along one axis: $y_i = x_{n-1-i}$ with probability `rate`, else $x_i$.

    Args:
        axis: any but the batch's; in (batch, height, width, channels) 2 swaps left and right, 1 top and bottom.
        rate: fraction of the examples mirrored, in [0, 1].

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x, _ = fnn.data.random_flip(rate=1.0)(jax.random.key(0), jnp.arange(3.0).reshape(1, 1, 3, 1), None)
        >>> x.ravel().tolist()
        [2.0, 1.0, 0.0]

    References:
        Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, 2012.
    """
    checks.in_range("random_flip", "rate", rate, 0, 1)
    axis = checks.integer("random_flip", "axis", axis, None)

    def augment(key: Key, x: Array, targets: object) -> tuple[Array, object]:
        require_one_input("random_flip", x)
        x = jnp.asarray(x)
        if x.ndim != 3 or axis in (1, -2):  # the features of a series move, its steps do not
            require_targets_of_rows("random_flip", x, targets)
        if not -x.ndim < axis < x.ndim or axis == 0:
            raise ValueError(f"random_flip: expected axis to be any axis of x but the first, got {axis} for {x.shape}")
        chosen = jax.vmap(lambda own: jax.random.bernoulli(own, jnp.asarray(rate, float)))(
            random_bits.split(key, x.shape[0])
        )
        return jnp.where(chosen.reshape(-1, *[1] * (x.ndim - 1)), jnp.flip(x, axis), x), targets

    return augment


def random_crop(padding: int, mode: str = "constant") -> Augmentation:
    r"""Pad height and width on every side, then cut the old size out at a random place.

    $y_{ij} = \mathrm{pad}(x)_{i+a,\,j+b}$ with $a, b$ uniform in $0 … 2p$: a shift by at most p whole pixels.

    Args:
        padding: $p \ge 0$ pixels.
        mode: what the padding holds, as in `jnp.pad`: "constant" (zeros), "edge", "reflect", "symmetric" or "wrap".

    Raises:
        ValueError: on padding that the mode cannot take from the image.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x, _ = fnn.data.random_crop(4)(jax.random.key(0), jnp.ones((8, 28, 28, 1)), None)
        >>> x.shape
        (8, 28, 28, 1)

    References:
        He et al., Deep Residual Learning for Image Recognition, 2016, section 4.2.
    """
    padding = checks.integer("random_crop", "padding", padding, 0)
    checks.one_of("random_crop", "mode", mode, MODES)

    def change(key: Key, x: Array) -> Array:
        height, width, _ = x.shape
        least = min(height, width) - (mode == "reflect")
        if mode not in ("constant", "edge") and padding > least:
            raise ValueError(f'random_crop: expected padding <= {least} for mode="{mode}", got {padding}')
        padded = jnp.pad(x, ((padding, padding), (padding, padding), (0, 0)), mode=mode)
        top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1)
        return jax.lax.dynamic_slice(padded, (top, left, 0), x.shape)

    return each_example("random_crop", change, 4, IMAGES, moves=True)


def _sample(x: Array, rows: Array, columns: Array) -> Array:
    """Bilinear values of an image at real coordinates; 0 outside."""
    height, width, _ = x.shape
    top, left = jnp.floor(rows), jnp.floor(columns)
    total = jnp.zeros((*rows.shape, x.shape[-1]), wide_dtype(x))
    # One row of the flattened image per pixel: a gather of channels, not of single numbers.
    pixels = x.reshape(height * width, -1)
    for down in (0, 1):
        for right in (0, 1):
            i, j = top + down, left + right
            share = (1 - jnp.abs(rows - i)) * (1 - jnp.abs(columns - j))
            inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
            place = (jnp.clip(i, 0, height - 1) * width + jnp.clip(j, 0, width - 1)).astype(jnp.int32)
            values = pixels.at[place].get(mode="promise_in_bounds").astype(total.dtype)
            total += jnp.where(inside[..., None], share[..., None].astype(total.dtype) * values, 0)
    return narrow(total, x.dtype)


def random_shift(pixels: ArrayLike) -> Augmentation:
    r"""Move every image by a random part of pixels: $y_{ij} = x(i - a,\ j - b)$, $a, b \sim U(-s, s)$.

    Between pixels the value is bilinear; from outside the image comes 0.

    Args:
        pixels: $s \ge 0$, the largest shift of height and of width.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x, _ = fnn.data.random_shift(2.0)(jax.random.key(0), jnp.ones((8, 28, 28, 1)), None)
        >>> x.shape
        (8, 28, 28, 1)

    References:
        Simard et al., Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis, 2003.
    """
    checks.in_range("random_shift", "pixels", pixels, 0)

    def change(key: Key, x: Array) -> Array:
        a, b = jax.random.uniform(key, (2,), wide_dtype(x), -1, 1) * jnp.asarray(pixels, wide_dtype(x))
        i, j = jnp.indices(x.shape[:2], wide_dtype(x))
        return _sample(x, i - a, j - b)

    return each_example("random_shift", change, 4, IMAGES, moves=True)


def random_rotation(degrees: ArrayLike) -> Augmentation:
    r"""Turn every image about its center by a random angle $φ \sim U(-d, d)$, counterclockwise.

    $y(u, v) = x(u\cosφ + v\sinφ,\ v\cosφ - u\sinφ)$, rows $u$ and columns $v$ counted from the center, bilinear
    between pixels, 0 outside.

    Args:
        degrees: $d \ge 0$.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x, _ = fnn.data.random_rotation(10.0)(jax.random.key(0), jnp.ones((8, 28, 28, 1)), None)
        >>> x[:, 13, 13, 0].round(3).min().item()
        1.0

    References:
        Simard et al., Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis, 2003.
    """
    checks.in_range("random_rotation", "degrees", degrees, 0)

    def change(key: Key, x: Array) -> Array:
        dtype = wide_dtype(x)
        angle = jax.random.uniform(key, (), dtype, -1, 1) * jnp.asarray(degrees, dtype) * (math.pi / 180)
        middle = (x.shape[0] - 1) / 2, (x.shape[1] - 1) / 2
        i, j = jnp.indices(x.shape[:2], dtype)
        u, v = i - middle[0], j - middle[1]
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        return _sample(x, u * cos + v * sin + middle[0], v * cos - u * sin + middle[1])

    return each_example("random_rotation", change, 4, IMAGES, moves=True)


def gaussian_noise(deviation: ArrayLike) -> Augmentation:
    r"""Add independent noise to every value: $y = x + σ ε$, $ε \sim N(0, 1)$; for time series known as jitter.

    Args:
        deviation: $σ \ge 0$, in the units of x, which has any shape.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x, _ = fnn.data.gaussian_noise(0.5)(jax.random.key(0), jnp.zeros((100, 50, 2)), None)
        >>> round(x.std().item(), 1)
        0.5

    References:
        Bishop, Training with Noise is Equivalent to Tikhonov Regularization, 1995.
    """
    checks.in_range("gaussian_noise", "deviation", deviation, 0)

    def change(key: Key, x: Array) -> Array:
        noise = jax.random.normal(key, x.shape, wide_dtype(x))
        return narrow(x.astype(noise.dtype) + jnp.asarray(deviation, noise.dtype) * noise, x.dtype)

    return each_example("gaussian_noise", change)


def inside_box(key: Key, shape: tuple[int, ...], sides: tuple[Array | int, Array | int]) -> Array:
    """The pixels of a box whose center is uniform over the image; what sticks out is cut off. (height, width, 1)."""
    inside = []
    for place, size, side in zip(random_bits.split(key), shape[:2], sides, strict=True):
        first = jax.random.randint(place, (), 0, size, jnp.int32) - jnp.asarray(side, jnp.int32) // 2
        steps = jnp.arange(size, dtype=jnp.int32)
        inside.append((steps >= first) & (steps < first + side))
    return (inside[0][:, None] & inside[1][None, :])[..., None]


def cutout(size: int) -> Augmentation:
    r"""Set a square of every image to 0: $y = x\,(1 - m)$, $m$ the square with a center uniform over the image.

    What sticks out of the image is cut off, as in the paper.

    Args:
        size: side of the square in pixels, at most the image's smaller one; 0 leaves the image as it is.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x, _ = fnn.data.cutout(8)(jax.random.key(0), jnp.ones((1, 28, 28, 1)), None)
        >>> 16 <= int((x == 0).sum()) <= 64
        True

    References:
        DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017.
    """
    size = checks.integer("cutout", "size", size, 0)

    def change(key: Key, x: Array) -> Array:
        if size > min(x.shape[:2]):
            raise ValueError(f"cutout: expected size <= {min(x.shape[:2])}, the image's smaller side, got {size}")
        return jnp.where(inside_box(key, x.shape, (size, size)), jnp.zeros((), x.dtype), x)

    return each_example("cutout", change, 4, IMAGES)
