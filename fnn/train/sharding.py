"""Where the arrays of a run live: everything on one device, or batches split over a mesh."""

from __future__ import annotations

from collections.abc import Callable

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fnn.typing import PyTree


def checked_mesh(where: str, mesh: Mesh | None, batch_size: int) -> None:
    """A mesh with one axis whose size divides the batch."""
    if mesh is None:
        return
    if len(mesh.axis_names) != 1:
        raise ValueError(
            f"{where}: expected a mesh with one axis, got {mesh.axis_names}; write fnn.devices.data_mesh()"
        )
    if batch_size % mesh.size:
        raise ValueError(f"{where}: expected a batch_size that {mesh.size} devices divide, got {batch_size}")


def replicate(mesh: Mesh | None, tree: PyTree) -> PyTree:
    """The same arrays on every device of the mesh."""
    return tree if mesh is None else jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def splitter(mesh: Mesh | None) -> Callable[[PyTree], PyTree]:
    """A function that splits the batch axis of every array over the mesh.

    Random numbers do not depend on it: JAX draws them by position, not by device.
    """
    if mesh is None:
        return lambda batch: batch
    sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))
    return lambda batch: jax.lax.with_sharding_constraint(batch, sharding)
