"""Many trainings as one compiled program: members in groups, groups over devices, a slice of time at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fnn import checks, programs
from fnn.kernels import placement
from fnn.layer import Layer
from fnn.layer.arguments import mirror, params_and_state
from fnn.layer.parts import any_layer
from fnn.selection.chunk import ChunkProgram, State, advance_chunk, begin_chunk
from fnn.selection.training import Member
from fnn.train.console import RESPONSE_SECONDS, interruption, progress_bar
from fnn.train.identity import digest_of
from fnn.train.loop import Carry
from fnn.train.processes import pace, require_same
from fnn.train.processes import together as together_over
from fnn.train.sharding import check_mesh, fetch, over_rows, replicate, shard
from fnn.train.trained import shapes_of
from fnn.typing import PyTree

MEMORY_SHARE = 0.25
"""Share of the memory there is that the arrays of one chunk may take."""

ALL_STEPS = 2**31 - 1

clock = time.perf_counter


SMALL_MEMBER = 2**17
"""Parameters of a member up to which members run faster side by side on a CPU: with gradient and moments 2 MiB."""


def batched_is_faster(model: Layer, x: PyTree) -> bool:
    """Whether members of this model run faster as one batched program (vmap) than one after another in it (lax.map).

    Milliseconds per member, one CPU device of two cores (AMD Zen 4), jax 0.12.0.1 (on 0.10.2 the same way wins but
    where a row is within a tenth). Digits, 2 epochs (`python -m benchmarks members`; the loop calls `cross_validate`
    for one member after another):

    |           | vmap | lax.map | loop |
    |-----------|-----:|--------:|-----:|
    | MLP × 16  | 2.54 |    2.77 | 8.78 |
    | MLP × 128 | 1.89 |    2.30 | 11.5 |
    | CNN × 16  | 64.0 |    50.6 | 63.0 |
    | LSTM × 16 | 18.8 |    25.0 | 36.4 |
    | LSTM × 64 | 22.6 |    26.1 | 37.8 |

    and dense networks of other sizes, 512 rows, 2 epochs, batch 32, Adam:

    | parameters | × 4, vmap | × 4, lax.map | × 16, vmap | × 16, lax.map |
    |-----------:|----------:|-------------:|-----------:|--------------:|
    |     17,226 |      2.71 |         2.54 |       2.75 |          3.60 |
    |     68,362 |      6.75 |         9.94 |       7.03 |          9.93 |
    |    101,770 |      6.68 |         9.08 |       10.5 |          8.65 |
    |    203,530 |      15.0 |         14.0 |       28.3 |          15.5 |
    |    407,050 |      47.5 |         27.0 |       51.7 |          25.8 |

    A member alone keeps its parameters, gradient and moments in the cores' own caches from step to step; many at once
    do not. A batched convolution is a grouped one everywhere. A batched recurrence is many small products: `lax.map`
    won on jax 0.10.2 (15.6 against 23.9 ms for 16) and wins on two devices with both, so it is taken, also where one
    device with jax 0.12 would be faster batched. Small steps leave a GPU idle: on an H100 (jax 0.11.2) the MLP × 16
    takes 1.91 ms batched, 6.15 by `lax.map` and 23.4 in a loop, the CNN × 16 2.86, 12.6 and 34.4. Others, and a TPU,
    were not measured.
    """
    if placement.platform() != "cpu":
        return True
    if any_layer(model, lambda facts: facts.convolves or facts.recurs):
        return False
    params, _ = jax.eval_shape(lambda: params_and_state(model.init(jax.random.key(0), shapes_of(x, 1))))
    return sum(leaf.size for leaf in jax.tree.leaves(params)) <= SMALL_MEMBER


def run_members(
    build: Callable[[Any], Member],
    description: Any,
    arguments: PyTree,
    shared: PyTree,
    *,
    first: int = 0,
    last: int,
    together: bool,
    chunk: int | None = None,
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> tuple[PyTree, np.ndarray]:
    """Train `build(description)` for every row of the arguments; and which were finished, as Ctrl-C keeps those.

    One program for a description (see `fnn.programs`), which runs a fifth of a second at a time. `together`, `chunk`,
    `mesh` and `progress` are as for `cross_validate`; one after another all are held at once by default. After Ctrl-C
    it is a `KeyboardInterrupt` if no member is finished.
    """
    count = jax.tree.leaves(arguments)[0].shape[0]
    check_mesh("members", mesh)
    devices = len(jax.devices()) if mesh is None else mesh.size
    mesh = mesh or (Mesh(np.asarray(jax.devices()), ("members",)) if devices > 1 and count >= devices else None)
    if chunk is None and not together:
        chunk = count
    if chunk is None:
        room = MEMORY_SHARE * placement.available_bytes()
        chunk = min(count, max(1, int(room // max(1, bytes_per_member(build, description, arguments, shared)))))
    chunk = pace(mesh, checks.integer("members", "chunk", chunk))
    own = -(-chunk // (1 if mesh is None else mesh.size))
    chunk = own if mesh is None else own * mesh.size
    given = ChunkProgram(build, description, together, own if together else 1, mesh)
    if together_over(mesh):
        settings = {"first": first, "last": last, "together": together, "chunk": chunk}
        arrays = {"data or keys": digest_of((arguments, shared))}
        require_same("members", mesh, {"settings": settings, "arrays": arrays, "programs": {}})
    shared, ends = replicate(mesh, (shared, (jnp.asarray(first), jnp.asarray(last))))
    results: list[PyTree] = []
    finished = np.zeros(count, bool)
    with progress_bar(progress, count, "model") as bar, interruption() as wished:
        show = lambda _, done: bar(done, {})  # noqa: E731
        asked = lambda: not pace(mesh, not wished())  # noqa: E731
        for begin in range(0, count, chunk):
            if asked():
                break
            rows = np.minimum(np.arange(begin, begin + chunk), count - 1)
            part = _over(mesh, jax.tree.map(lambda leaf, rows=rows: leaf[rows], arguments))
            state, done = _run_chunk(given, part, shared, ends, min(chunk, count - begin), show, asked)
            finished[begin : begin + chunk] = done[: count - begin]
            results.append(jax.tree.map(lambda leaf, begin=begin: leaf[: count - begin], fetch(state.results)))
    if not finished.any():
        raise KeyboardInterrupt
    return jax.tree.map(lambda *parts: _fill(_join(parts), finished), *results), finished


def run_alone(
    build: Callable[[Any], Member], description: Any, shared: PyTree, *, first: int, last: int, progress: bool | None
) -> tuple[Carry, bool]:
    """One member, as far as it came, and whether that is its end; after Ctrl-C it is not. A bar is over its epochs."""
    given, ends = ChunkProgram(build, description, False, 1, None), (jnp.asarray(first), jnp.asarray(last))
    with progress_bar(progress, last - first, "epoch") as bar, interruption() as asked:
        shown = 0

        def show(state: State, _: int) -> None:
            nonlocal shown
            carry = state.running.carry
            epochs = int(carry.epochs[0])
            bar(
                epochs - shown, {name: float(values[0, epochs - 1]) for name, values in carry.history.items() if epochs}
            )
            shown = epochs

        state, finished = _run_chunk(given, {"place": np.zeros(1, np.int32)}, shared, ends, 1, show, asked)
    return jax.tree.map(lambda leaf: leaf[0], state.running.carry), bool(finished[0])


def _run_chunk(
    given: ChunkProgram,
    arguments: PyTree,
    shared: PyTree,
    ends: tuple[Any, Any],
    real: int,
    show: Callable[[State, int], None],
    asked: Callable[[], bool],
) -> tuple[State, np.ndarray]:
    """The end of a chunk of which `real` members are meant, and which of them are finished."""
    devices = 1 if given.mesh is None else given.mesh.size
    own = jax.tree.leaves(arguments)[0].shape[0] // devices
    groups = np.clip(-(-(real - own * np.arange(devices)) // given.group), 0, own // given.group).astype(np.int32)
    limit = _over(given.mesh, groups)
    state: State = programs.compile(begin_chunk, given)(arguments, shared, ends[0])
    advance = programs.compile(advance_chunk, given, donate=(0,))
    steps, shown = 1, 0
    while True:
        began = clock()
        state = advance(state, arguments, shared, ends, limit, replicate(given.mesh, jnp.asarray(steps)))
        reached = np.asarray(fetch(state.place.group))
        members = np.minimum(reached * given.group, np.clip(real - own * np.arange(devices), 0, own))
        show(state, int(members.sum()) - shown)
        shown = int(members.sum())
        if (reached >= groups).all() or asked():
            return state, (np.arange(own) < members[:, None]).ravel()
        # A program that is still to be compiled says nothing about time: the next slice is no longer than this one.
        steps = min(max(1, int(min(4.0, RESPONSE_SECONDS / max(clock() - began, 1e-6)) * steps)), ALL_STEPS)
        steps = pace(given.mesh, steps)  # processes take the same steps, and their clocks differ


def _over(mesh: Mesh | None, arguments: PyTree) -> PyTree:
    """One row of the arguments after another on the devices of the mesh."""
    return arguments if mesh is None else shard(arguments, over_rows(mesh))


def _join(parts: tuple[Any, ...]) -> Any:
    return jnp.concatenate(parts) if jnp.issubdtype(parts[0].dtype, jax.dtypes.prng_key) else np.concatenate(parts)


def blank(values: Any, count: int) -> Any:
    """`count` rows of nothing in place of `values`: NaN, -1 for integers, and for random keys the first one."""
    if jnp.issubdtype(values.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(values[:1], (count, *values.shape[1:]))
    nothing = np.nan if jnp.issubdtype(values.dtype, jnp.inexact) else -1
    return np.full((count, *values.shape[1:]), nothing).astype(values.dtype)


def _fill(values: Any, finished: np.ndarray) -> Any:
    """A row for every member, also for those that were not finished."""
    if finished.all():
        return values
    return _join((values, blank(values, 1)))[np.where(finished, np.arange(len(finished)), -1)]


def bytes_per_member(build: Callable[[Any], Member], description: Any, arguments: PyTree, shared: PyTree) -> int:
    """What one member holds at once: the arrays of the widest loop body of its program, which is traced once."""
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], jnp.result_type(leaf)), arguments)
    return programs.remember(_count, (build, description, (one, mirror(shared))))


def _count(given: tuple[Callable[[Any], Member], Any, PyTree]) -> int:
    build, description, shapes = given
    member = build(description)

    def whole(one: PyTree, shared: PyTree) -> PyTree:
        place = jnp.zeros((), jnp.int32)
        running = member.begin(one, shared)
        running = member.advance(one, shared, running, place, place, place + member.steps(one, shared))
        return member.finish(one, shared, member.close(one, shared, running, place))

    return 2 * _live_bytes(jax.make_jaxpr(whole)(*shapes).jaxpr)


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
