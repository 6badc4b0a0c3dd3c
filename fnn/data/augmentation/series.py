"""Augmentations of time series."""

from __future__ import annotations

import jax

from fnn import checks
from fnn.data.augmentation.images import gaussian_noise
from fnn.data.augmentation.protocol import Augmentation, each_example
from fnn.typing import Array, ArrayLike, Key

__all__ = ["jitter", "random_window"]


def jitter(deviation: ArrayLike = 0.03) -> Augmentation:
    r"""Add independent noise to every reading: $y_t = x_t + σ ε_t$; `gaussian_noise` by its name for time series.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x, _ = fnn.data.jitter(0.5)(jax.random.key(0), jnp.zeros((100, 50, 2)), None)
        >>> round(x.std().item(), 1)
        0.5

    References:
        Um et al., Data Augmentation of Wearable Sensor Data for Parkinson's Disease Monitoring, 2017.
    """
    checks.in_range("jitter", "deviation", deviation, 0)
    return gaussian_noise(deviation)


def random_window(length: int) -> Augmentation:
    r"""Cut a random stretch out of every series: $y_t = x_{s+t}$, $t = 0 … l-1$, $s$ uniform in $0 … n-l$.

    Args:
        length: $l$, steps kept of series as long or longer, (batch, time, features) to (batch, length, features). The
            model must take both lengths, because validation sees whole series.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x, _ = fnn.data.random_window(3)(jax.random.key(0), jnp.arange(10.0).reshape(1, 10, 1), None)
        >>> (x[0, :, 0] - x[0, 0, 0]).tolist()
        [0.0, 1.0, 2.0]

    References:
        Le Guennec et al., Data Augmentation for Time Series Classification using Convolutional Neural Networks, 2016.
    """
    length = checks.integer("random_window", "length", length)

    def change(key: Key, x: Array) -> Array:
        if length > x.shape[0]:
            raise ValueError(f"random_window: expected length <= {x.shape[0]}, the steps of x, got {length}")
        start = jax.random.randint(key, (), 0, x.shape[0] - length + 1)
        return jax.lax.dynamic_slice_in_dim(x, start, length, axis=0)

    return each_example("random_window", change, 3, "(batch, time, features)")
