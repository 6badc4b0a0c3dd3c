"""What the likelihoods with a scale share: its logarithm, and residuals in its unit."""

from __future__ import annotations

import math

import jax.numpy as jnp

from fnn.losses.reduction import negligible, number_or_alike, visible
from fnn.typing import Array, ArrayLike


def log_scale_of(
    name: str, argument: str, scale: ArrayLike | None, log_scale: ArrayLike | None, like: Array, mask: Array | None
) -> Array:
    """The logarithm of the scale in the shape of the predictions, from whichever of the two was given."""
    if scale is not None and log_scale is None:
        if (visible(scale, mask if jnp.ndim(scale) else None) <= 0).any():
            raise ValueError(f"{name}: expected positive {argument}; write log_{argument}= for an unbounded output")
        value = number_or_alike(name, argument, scale, "predictions", like)
    elif log_scale is not None and scale is None:
        value = number_or_alike(name, f"log_{argument}", log_scale, "predictions", like)
    else:
        raise ValueError(f"{name}: expected either {argument} or log_{argument}")
    value = jnp.broadcast_to(value, like.shape)
    if mask is not None:
        value = jnp.where(mask, value, 1 if log_scale is None else 0)
    return jnp.log(value) if log_scale is None else value


def divide_by_scale(r: Array, log_scale: Array) -> Array:
    """`r · exp(-log_scale)`, 0 where `r` is 0 however small the scale is."""
    vanishing = negligible(r) & (log_scale < -0.5 * math.log(jnp.finfo(r.dtype).max))
    return r * jnp.exp(-jnp.where(vanishing, 0, log_scale))
