"""The means of an epoch as it goes: of its losses and metrics."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fnn.typing import Array


class Mean(NamedTuple):
    """Means over an epoch as they go: what was summed and what it weighs, `total` (…, 2), and what rounding would lose
    of both, `lost`, so that millions of rows in float32 add up to all digits."""

    total: Array
    lost: Array

    def plus(self, value: Array, weight: Array, counts: Array) -> Mean:
        """With one value more where it counts."""
        pair = jnp.stack([value * weight, jnp.broadcast_to(weight, value.shape)], -1)
        term = jnp.where(counts[..., None], pair, 0) - self.lost
        total = self.total + term
        return Mean(total, (total - self.total) - term)

    def so_far(self) -> Array:
        """NaN where nothing counted."""
        return self.total[..., 0] / self.total[..., 1]


@functools.partial(jax.tree_util.register_dataclass, data_fields=["all"], meta_fields=["names"])
@dataclasses.dataclass(frozen=True)
class Means:
    """The means of an epoch by their names, in one array: each of its own would be as many kernels."""

    names: tuple[str, ...]
    all: Mean

    def plus(self, values: Mapping[str, Array], weight: Array, counts: Mapping[str, Array]) -> Means:
        """With one value more of each that counts."""
        given, counted = (jnp.stack([of[name] for name in self.names]) for of in (values, counts))
        return Means(self.names, self.all.plus(given, weight, counted))

    def so_far(self) -> dict[str, Array]:
        """NaN where nothing counted."""
        return dict(zip(self.names, self.all.so_far(), strict=True))
