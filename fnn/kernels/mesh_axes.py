"""Kernels under a mesh: whatever its axes are, the same numbers, split over the devices as the arguments came.

Automatic axes need nothing: XLA carries the splitting through. With explicit ones, as `jax.make_mesh((n,), ("data",))`
has, the type of an array says how it is split, and every reshape, gather and loop has to say how its result is.
A kernel says it once: `auto_axes(kernel, PartitionSpec(…))(x, …)` computes over automatic axes and names how the result
is split. With manual axes, inside `shard_map`, the type says over which axes the values differ, and what a loop carries
has to differ from the start: `alike`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec, reshard, use_abstract_mesh

from fnn.typing import PyTree

WHOLE = PartitionSpec()
"""The same on every device."""


def explicit_mesh(tree: PyTree) -> AbstractMesh | None:
    """The mesh with explicit axes on which one of the arrays lies, if one does."""
    for leaf in jax.tree.leaves(tree):
        mesh = jax.typeof(leaf).sharding.mesh
        if mesh.explicit_axes:
            return mesh
    return None


def split_of(x: Any) -> tuple[Any, ...]:
    """For each axis of `x`, the explicit mesh axes it is split over; None where it is whole."""
    spec = jax.typeof(x).sharding.spec
    return (*spec, *[None] * (x.ndim - len(spec)))


def features_are_split(x: Any) -> bool:
    """Whether the last axis lies on several devices, as that of the outputs of a wide layer may."""
    return explicit_mesh(x) is not None and split_of(x)[-1] is not None


def rows_and_features(where: str, x: Any, kernel: Any = None, ndim: int | None = None) -> PartitionSpec:
    """What has the rows of `x` and the features of the kernel (None: of `x`), and is whole in between."""
    rows, features = split_of(x)[0], split_of(x if kernel is None else kernel)[-1]
    shared = _names(rows) & _names(features)
    if shared:
        raise ValueError(
            f"{where}: expected the rows of x and the features of the kernel on different mesh axes, got both on "
            f"{', '.join(map(repr, sorted(shared)))}; write jax.reshard(kernel, NamedSharding(mesh, P())) for a "
            "kernel that is whole on every device"
        )
    return PartitionSpec(rows, *[None] * ((x.ndim if ndim is None else ndim) - 2), features)


def _names(axes: Any) -> set[str]:
    return set() if axes is None else set(axes) if isinstance(axes, tuple) else {axes}


def rows_of(x: Any) -> PartitionSpec:
    """What has the rows of `x`, and is whole elsewhere."""
    return PartitionSpec(split_of(x)[0])


def manual_axes(x: Any) -> frozenset[str]:
    """Inside `shard_map`, the mesh axes over which the values differ, by the name it has in this jax or had before."""
    kind = jax.typeof(x)
    return kind.manual_axis_type.varying if hasattr(kind, "manual_axis_type") else getattr(kind, "vma", frozenset())


def alike(tree: PyTree) -> PyTree:
    """Inside `shard_map`, all varying over the same mesh axes: what was common to all devices sums its gradient."""
    over: frozenset[str] = frozenset().union(*map(manual_axes, jax.tree.leaves(tree)))

    def cast(x: Any) -> Any:
        missing = tuple(over - manual_axes(x))
        return jax.lax.pcast(x, missing, to="varying") if missing else x

    return jax.tree.map(cast, tree)


def auto_axes(kernel: Callable[..., PyTree], out: PyTree = WHOLE) -> Callable[..., PyTree]:
    """`kernel` over automatic axes, its results split as `out` says: a tree of `PartitionSpec`, or one for all.

    Every array must be an argument: one that the kernel had captured would still lie on explicit axes.
    """

    def automatic(*args: Any) -> PyTree:
        mesh = explicit_mesh(args)
        if mesh is None:
            return kernel(*args)
        inside = mesh.update_axis_types(dict.fromkeys(mesh.explicit_axes, AxisType.Auto))
        with use_abstract_mesh(inside):
            results = kernel(*reshard(args, NamedSharding(inside, PartitionSpec())))
        return reshard(results, jax.tree.map(lambda spec: NamedSharding(mesh, spec), out))

    return automatic
