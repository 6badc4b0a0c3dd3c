"""Where the arrays of a run live: everything on one device, or batches split over a mesh, of one process or several."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from fnn import checks
from fnn.kernels.mesh_axes import explicit_mesh
from fnn.typing import PyTree

P = ParamSpec("P")
R = TypeVar("R")


def on_automatic_axes(run: Callable[P, R]) -> Callable[P, R]:
    """A run over automatic axes, be the mesh that it is given, that its data lie on or that surrounds it explicit.

    XLA then carries the split of a batch through whatever the model computes. What comes out lies on the mesh given.
    """

    @functools.wraps(run)
    def enter(*args: P.args, **options: P.kwargs) -> R:
        leaves = checks.leaves(run.__qualname__.partition(".")[0], (args, options), checks.is_iterator)
        mesh = next(filter(None, map(_explicit, leaves)), None)
        if mesh is None and jax.sharding.get_abstract_mesh().empty:
            return run(*args, **options)
        args, options = jax.tree.map(_on_automatic, (args, options), is_leaf=checks.is_iterator)
        with _no_mesh_around():
            result = run(*args, **options)
        return lay_on(mesh, result)

    return enter


def automatic(mesh: Any) -> Any:
    """The same devices, all axes automatic."""
    if mesh is None or AxisType.Explicit not in mesh.axis_types:
        return mesh
    kinds = (AxisType.Auto,) * len(mesh.axis_names)
    if isinstance(mesh, AbstractMesh):
        return AbstractMesh(mesh.axis_sizes, mesh.axis_names, axis_types=kinds)
    return Mesh(mesh.devices, mesh.axis_names, axis_types=kinds)


def lay_on(mesh: Any, tree: PyTree) -> PyTree:
    """What lies on the automatic axes of this mesh, on its own."""
    if mesh is None or AxisType.Explicit not in mesh.axis_types:
        return tree
    return jax.tree.map(functools.partial(_on_explicit, mesh), tree)


def _explicit(leaf: Any) -> Mesh | AbstractMesh | None:
    """The mesh with explicit axes that this is or lies on."""
    if isinstance(leaf, Mesh):
        return leaf if AxisType.Explicit in leaf.axis_types else None
    if not isinstance(leaf, jax.Array) or explicit_mesh(leaf) is None:
        return None
    return explicit_mesh(leaf) if isinstance(leaf, jax.core.Tracer) else leaf.sharding.mesh  # type: ignore[attr-defined]


def _on_automatic(leaf: Any) -> Any:
    mesh = _explicit(leaf)
    if mesh is None:
        return leaf
    return automatic(leaf) if isinstance(leaf, Mesh) else _put(automatic(mesh), leaf)


def _on_explicit(mesh: Any, leaf: Any) -> Any:
    if isinstance(leaf, jax.core.Tracer):
        return _put(mesh, leaf)
    lies_there = isinstance(leaf, jax.Array) and getattr(leaf.sharding, "mesh", None) == automatic(mesh)
    return _put(mesh, leaf) if lies_there else leaf


def _put(mesh: Any, leaf: Any) -> Any:
    if isinstance(leaf, jax.core.Tracer):
        return jax.sharding.reshard(leaf, NamedSharding(mesh, PartitionSpec()))
    return jax.device_put(leaf, NamedSharding(mesh, leaf.sharding.spec))


@contextmanager
def _no_mesh_around() -> Iterator[None]:
    """What `jax.set_mesh` has set is left: a run says itself where its arrays lie."""
    try:
        left = jax.set_mesh(Mesh(np.empty((), object), ()))
    except ValueError:  # being traced, where only the types are left
        with jax.sharding.use_abstract_mesh(AbstractMesh((), ())):
            yield
        return
    with left:
        yield


def check_mesh(where: str, mesh: Mesh | None, batch_size: int = 0) -> None:
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
    return tree if mesh is None else shard(tree, NamedSharding(mesh, PartitionSpec()))


def over_rows(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Rows, which are this axis of every array, split over the devices of the mesh."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, mesh.axis_names[0]))


def shard(tree: PyTree, sharding: NamedSharding) -> PyTree:
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
    return process_allgather(tree, tiled=True)


def whole(mesh: Mesh | None, tree: PyTree) -> PyTree:
    """In a program: the same values, whole on every device of the mesh."""
    return tree if mesh is None else jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))


def split(mesh: Mesh | None, tree: PyTree, axis: int = 0) -> PyTree:
    """In a program: the rows, which are this axis of every array, split over the mesh.

    Random numbers do not depend on it: JAX draws them by position, not by device.
    """
    return tree if mesh is None else jax.lax.with_sharding_constraint(tree, over_rows(mesh, axis))


def own_rows(tree: PyTree) -> PyTree:
    """NumPy arrays of arrays (slots, rows, …) that were split so, the rows that this process holds."""

    def one(leaf: Any) -> np.ndarray:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return np.asarray(leaf)
        parts = sorted(leaf.addressable_shards, key=lambda part: part.index[1].start or 0)
        return np.concatenate([np.asarray(part.data) for part in parts], axis=1)

    return jax.tree.map(one, tree)


def own_places(mesh: Mesh, size: int) -> np.ndarray:
    """The places in a batch of this size that this process computes."""
    parts = over_rows(mesh).addressable_devices_indices_map((size,)).values()
    return np.sort(np.concatenate([np.arange(size)[part] for part in parts]))


def round_up(mesh: Mesh | None, size: int) -> int:
    """A batch size that the devices of the mesh divide, not below the one given."""
    return size if mesh is None else -(-size // mesh.size) * mesh.size


WORD = 6
"""Numbers in a word of the processes: all have one length, so that each can be an answer to any other."""


def exchange(*numbers: int) -> np.ndarray:
    """What every process says, (processes, WORD), zeros behind its numbers."""
    word = np.zeros(WORD, np.int32)
    word[: len(numbers)] = numbers
    return np.asarray(process_allgather(word)).reshape(-1, WORD)
