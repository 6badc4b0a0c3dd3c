"""Arrays: their dtypes and shapes."""

from __future__ import annotations

import numbers
from collections.abc import Collection
from typing import Any

import jax.numpy as jnp

from fnn.checks.words import describe, not_an_array
from fnn.typing import ArrayLike


def floating(where: str, name: str, x: ArrayLike) -> None:
    """Require a real floating-point array."""
    if not (hasattr(x, "dtype") or isinstance(x, numbers.Number)) or hasattr(x, "numpy") or hasattr(x, "to_numpy"):
        raise not_an_array(where, name, x)
    dtype = jnp.result_type(x)
    if not jnp.issubdtype(dtype, jnp.floating):
        scaled = " / 255" if dtype == jnp.uint8 else ""
        raise TypeError(
            f"{where}: expected {name} to be floating-point, got {describe(x)}; "
            f"write {name}.astype(jnp.float32){scaled}"
        )


def rank(where: str, name: str, x: Any, ranks: int | Collection[int], layout: str) -> None:
    """Require `x.ndim` in `ranks`; `layout` names the axes, "(batch, features)"."""
    allowed = (ranks,) if isinstance(ranks, int) else ranks
    if not hasattr(x, "shape"):
        raise not_an_array(where, name, x)
    if len(x.shape) not in allowed:
        raise ValueError(f"{where}: expected {name} of shape {layout}, got {describe(x)}")


def same_shape(where: str, first: str, a: Any, second: str, b: Any) -> None:
    """Require equal shapes: nothing is broadcast silently."""
    if jnp.shape(a) != jnp.shape(b):
        hint = ""
        if sorted(str(d) for d in jnp.shape(a) if d != 1) == sorted(str(d) for d in jnp.shape(b) if d != 1):
            hint = f"; write {second}.reshape({first}.shape) if they mean the same"
        raise ValueError(
            f"{where}: expected {first} and {second} of the same shape, got {jnp.shape(a)} and {jnp.shape(b)}{hint}"
        )


def looks_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether these seem to be square images of one or three channels with the channels before height and width."""
    return len(shape) == 4 and shape[1] in (1, 3) and shape[2] == shape[3] and shape[3] > 4


def images(where: str, x: Any) -> None:
    """Require (batch, height, width, channels)."""
    if len(x.shape) != 4 or looks_channels_first(x.shape):
        repair = "jnp.moveaxis(x, 1, -1)" if len(x.shape) == 4 else "x[..., None]" if len(x.shape) == 3 else "x[None]"
        raise ValueError(
            f"{where}: expected images of shape (batch, height, width, channels), got {describe(x)}; write {repair}"
        )


def same_features(where: str, expected: tuple[int, ...], came: tuple[int, ...], x: Any) -> None:
    """Require the features of `x` to have the shape that the layer was initialised with."""
    if expected != came:
        first, second = (shape[0] if len(shape) == 1 else shape for shape in (expected, came))
        raise ValueError(f"{where}: expected {first} features, as initialised, got {second} in {describe(x)}")
