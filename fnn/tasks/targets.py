"""Raw targets as arrays, with a clear error on wrong ones."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.typing import Array, ArrayLike


def require_width(name: str, outputs: Array, width: int) -> None:
    if outputs.ndim != 2 or outputs.shape[-1] != width:
        raise ValueError(
            f"{name}: expected outputs of shape (batch, {width}), got {outputs.shape}; end the model in dense({width})"
        )


def numbers(name: str, targets: ArrayLike) -> Array:
    """Targets as an array, or a message for what cannot be one."""
    if not checks.is_concrete(targets):
        return targets
    host = np.asarray(targets)
    if host.dtype.kind not in "biuf" and not jnp.issubdtype(host.dtype, jnp.floating):
        raise TypeError(
            f"{name}: expected numeric targets, got {host.dtype}; "
            "write labels, targets = numpy.unique(targets, return_inverse=True)"
        )
    if jnp.issubdtype(host.dtype, jnp.floating) and not np.isfinite(host).all():
        raise ValueError(
            f"{name}: targets contain NaN or infinity, first at row {int(np.argwhere(~np.isfinite(host))[0, 0])}"
        )
    return jnp.asarray(targets)


def _flat(name: str, targets: Array) -> Array:
    if targets.ndim == 2 and targets.shape[-1] == 1:
        targets = targets[:, 0]
    if targets.ndim != 1:
        raise ValueError(f"{name}: expected targets of shape (batch,), got {targets.shape}")
    return targets


def classes_of(name: str, targets: ArrayLike, classes: int) -> Array:
    """Integer classes in [0, classes); float arrays that hold whole numbers are accepted."""
    array = _flat(name, numbers(name, targets))
    if checks.is_concrete(array):
        host = np.asarray(array).astype(np.float64)
        wrong = (host != np.round(host)) | (host < 0) | (host >= classes)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"{name}: expected classes 0 … {classes - 1}, got {np.asarray(array)[row]} at row {row}; "
                "write labels, targets = numpy.unique(targets, return_inverse=True)"
            )
    return array.astype(jnp.int32)


def values_of(name: str, targets: ArrayLike, width: int) -> Array:
    array = numbers(name, targets)
    if array.ndim == 1 and width == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] != width:
        raise ValueError(f"{name}: expected targets of shape (batch, {width}), got {array.shape}")
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.float32)
