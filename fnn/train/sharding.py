"""Where the arrays of a run live: everything on one device, or batches split over a mesh, of one process or several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fnn.kernels import placement
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
    return tree if mesh is None else put(tree, NamedSharding(mesh, PartitionSpec()))


def put(tree: PyTree, sharding: NamedSharding) -> PyTree:
    """The arrays, which every process holds whole, laid out over the devices of all processes."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda leaf: _own_part(leaf, sharding), tree)


def _own_part(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_own_part(jax.random.key_data(leaf), sharding), impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])


def fetch(tree: PyTree) -> PyTree:
    """NumPy arrays of everything, also of what other processes computed."""
    if all(leaf.is_fully_addressable for leaf in jax.tree.leaves(tree)):
        return jax.device_get(tree)
    from jax.experimental.multihost_utils import process_allgather

    return process_allgather(tree, tiled=True)


def splitter(mesh: Mesh | None) -> Callable[[PyTree], PyTree]:
    """A function that splits the batch axis of every array over the mesh.

    Random numbers do not depend on it: JAX draws them by position, not by device.
    """
    if mesh is None:
        return lambda batch: batch
    sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))
    return lambda batch: jax.lax.with_sharding_constraint(batch, sharding)


def agreed(number: int) -> int:
    """The smallest of the numbers that the processes found: they must take the same steps."""
    if placement.hosts() == 1:
        return number
    from jax.experimental.multihost_utils import process_allgather

    return int(process_allgather(np.asarray(number)).min())
