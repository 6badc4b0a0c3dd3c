"""Many trainings as one compiled program: members in chunks, chunks over devices."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fnn import checks
from fnn.kernels import placement
from fnn.layer import Layer
from fnn.layer.protocol import any_layer
from fnn.train.console import interruption, progress_bar
from fnn.train.sharding import agreed, fetch, put, replicate
from fnn.typing import PyTree

MEMORY_SHARE = 0.25
"""Share of the memory there is that the arrays of one chunk may take."""


REMEMBERED = 16
"""How many compiled programs are kept, the last ones asked for."""


def remembered(make: Callable[..., Any]) -> Callable[..., Any]:
    """`make` called once for the same arguments: what it makes keeps its compiled program.

    The same layer, transform or function is the same argument; an equal one, built again, is another.
    """
    made: dict[Any, tuple[Any, tuple[Any, ...]]] = {}

    @functools.wraps(make)
    def again(*given: Any) -> Any:
        key = _identity(given)
        # What was made holds its arguments, so that no other object takes their place in memory.
        made[key] = made.pop(key) if key in made else (make(*given), given)
        while len(made) > REMEMBERED:
            del made[next(iter(made))]
        return made[key][0]

    return again


def _identity(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(map(_identity, value))
    if isinstance(value, dict):
        return tuple((name, _identity(part)) for name, part in value.items())
    return value if isinstance(value, (int, float, str, type(None))) else id(value)


def available_bytes() -> int:
    """Memory of this process's first device, or of the machine."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 2**32


def bytes_per_member(member: Callable[..., Any], first: PyTree, shared: PyTree) -> int:
    """What one member holds at once, counted on its traced program: the arrays of the widest loop body."""
    return 2 * _live_bytes(jax.jit(member).trace(first, shared).jaxpr.jaxpr)


def _live_bytes(jaxpr: Any) -> int:
    own = sum(_size(v.aval) for equation in jaxpr.eqns for v in equation.outvars if len(equation.outvars) > 1)
    inner = [0]
    for equation in jaxpr.eqns:
        for value in equation.params.values():
            for part in value if isinstance(value, (tuple, list)) else (value,):
                body = getattr(part, "jaxpr", part)
                if hasattr(body, "eqns"):
                    inner.append(_live_bytes(body))
    widest = max((_size(v.aval) for equation in jaxpr.eqns for v in equation.outvars), default=0)
    return max(own, widest) + max(inner)


def _size(aval: Any) -> int:
    itemsize = getattr(aval.dtype, "itemsize", 4) if hasattr(aval, "dtype") else 4
    return math.prod(getattr(aval, "shape", ())) * itemsize


def batched_is_faster(model: Layer) -> bool:
    """Whether members of this model run faster as one batched program (vmap) than one after another in it (lax.map).

    Milliseconds per member, digits, 2 epochs, on one CPU device and on two, one round (`python -m benchmarks members`;
    the loop calls `cross_validate` for one member after another):

    |           | vmap        | lax.map     | loop |
    |-----------|------------:|------------:|-----:|
    | MLP × 16  | 1.59 / 1.02 | 2.58 / 1.43 | 4.14 |
    | MLP × 128 | 2.17 / 0.79 | 2.20 / 1.01 | 4.51 |
    | CNN × 16  | 46.3 / 18.2 | 28.3 / 12.8 | 30.3 |
    | LSTM × 16 | 23.9 / 11.1 | 15.6 / 10.5 | 18.6 |
    | LSTM × 64 | 18.8 / 15.5 | 16.3 / 10.8 | 19.8 |

    A batched convolution is a grouped one everywhere; a batched recurrence is many small products, which a GPU or TPU
    is expected to run at once (not measured).
    """
    on_cpu = placement.platform() == "cpu"
    return not any_layer(model, lambda facts: facts.convolves or (facts.recurs and on_cpu))


def run_members(
    member: Callable[[PyTree, PyTree], PyTree],
    arguments: PyTree,
    shared: PyTree,
    *,
    together: bool,
    chunk: int | None = None,
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> tuple[PyTree, np.ndarray]:
    """`member(one row of arguments, shared)` for every row, and which rows were finished (Ctrl-C keeps those).

    Args:
        member: a pure function.
        arguments: arrays with one row per member.
        shared: arrays all members read.
        together: run a chunk's members as one batched program (`vmap`), or one after another inside it (`lax.map`).
        chunk: members per call; by default as many as fit into a quarter of the memory.
        mesh: devices to split each chunk over; by default all of them.
        progress: show a bar over the chunks, with the time left.
    """
    count = jax.tree.leaves(arguments)[0].shape[0]
    devices = len(jax.devices()) if mesh is None else mesh.size
    mesh = mesh or (Mesh(np.asarray(jax.devices()), ("members",)) if devices > 1 and count >= devices else None)
    if chunk is None:
        first = jax.tree.map(lambda leaf: leaf[0], arguments)
        fit = max(1, int(MEMORY_SHARE * available_bytes() // max(1, bytes_per_member(member, first, shared))))
        chunk = min(count, fit) if together else min(count, max(devices, -(-count // 20)))
    chunk = agreed(checks.integer("members", "chunk", chunk))
    chunk = chunk if mesh is None else -(-chunk // mesh.size) * mesh.size
    compiled = _compiled(member, together, mesh)
    shared = replicate(mesh, shared)
    results: list[PyTree] = []
    with (
        progress_bar(progress if count > chunk else progress or False, count, "model") as show,
        interruption() as asked,
    ):
        for begin in range(0, count, chunk):
            if asked():
                break
            rows = np.minimum(np.arange(begin, begin + chunk), count - 1)
            part = fetch(compiled(_over(mesh, jax.tree.map(lambda leaf, rows=rows: leaf[rows], arguments)), shared))
            size = min(chunk, count - begin)
            results.append(jax.tree.map(lambda leaf, size=size: leaf[:size], part))
            show(size, {})
    finished = np.arange(count) < sum(jax.tree.leaves(part)[0].shape[0] for part in results)
    if not results:
        raise KeyboardInterrupt
    return jax.tree.map(lambda *parts: filled(_joined(parts), count), *results), finished


def _over(mesh: Mesh | None, arguments: PyTree) -> PyTree:
    """One row of the arguments after another on the devices of the mesh."""
    return arguments if mesh is None else put(arguments, NamedSharding(mesh, PartitionSpec(mesh.axis_names[0])))


def _joined(parts: tuple[Any, ...]) -> Any:
    return jnp.concatenate(parts) if jnp.issubdtype(parts[0].dtype, jax.dtypes.prng_key) else np.concatenate(parts)


def filled(values: Any, count: int) -> Any:
    """Rows of members that were not reached are NaN, -1 for integers, and for random keys the first one again."""
    if len(values) == count:
        return values
    if jnp.issubdtype(values.dtype, jax.dtypes.prng_key):
        return jnp.concatenate([values, jnp.broadcast_to(values[:1], (count - len(values), *values.shape[1:]))])
    missing = np.nan if jnp.issubdtype(values.dtype, jnp.inexact) else -1
    rest = np.full((count - len(values), *values.shape[1:]), missing).astype(values.dtype)
    return np.concatenate([values, rest])


@functools.lru_cache(maxsize=REMEMBERED)
def _compiled(
    member: Callable[[PyTree, PyTree], PyTree], together: bool, mesh: Mesh | None
) -> Callable[[PyTree, PyTree], PyTree]:
    def chunk(arguments: PyTree, shared: PyTree) -> PyTree:
        if together:
            return jax.vmap(jax.jit(member), (0, None))(arguments, shared)
        return jax.lax.map(lambda one: member(one, shared), arguments)

    if mesh is None:
        return jax.jit(chunk)
    axis = PartitionSpec(mesh.axis_names[0])
    # Members never speak to each other, so each device runs its own part of the chunk without communication.
    return jax.jit(jax.shard_map(chunk, mesh=mesh, in_specs=(axis, PartitionSpec()), out_specs=axis, check_vma=False))
