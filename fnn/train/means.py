"""The means of an epoch as it goes: of its losses and metrics."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from fnn.typing import Array


@functools.partial(jax.tree_util.register_dataclass, data_fields=["total", "lost"], meta_fields=["names"])
@dataclasses.dataclass(frozen=True)
class Means:
    """Means over an epoch as they go, by their names: what was summed and what it weighs, `total` (names, 2), and what
    rounding would lose of both, `lost`, so that millions of rows in float32 add up to all digits. One array has them
    all: each of its own would be as many kernels."""

    names: tuple[str, ...]
    total: Array
    lost: Array

    def plus(self, values: Mapping[str, Array], weights: Mapping[str, Array], counts: Mapping[str, Array]) -> Means:
        """With one value more of each that counts."""
        value, weight, counted = (jnp.stack([of[name] for name in self.names]) for of in (values, weights, counts))
        pair = jnp.stack([value * weight, weight], -1)
        term = jnp.where(counted[..., None], pair, 0) - self.lost
        total = self.total + term
        return Means(self.names, total, (total - self.total) - term)

    def so_far(self) -> dict[str, Array]:
        """NaN where nothing counted."""
        return dict(zip(self.names, self.total[..., 0] / self.total[..., 1], strict=True))
