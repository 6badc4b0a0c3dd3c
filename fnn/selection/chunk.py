"""Members in groups as one resumable program: the host says how many steps, and hears of Ctrl-C in between."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from fnn.selection.training import Member, Running
from fnn.typing import Array, PyTree


class ChunkProgram(NamedTuple):
    """What decides the program of a chunk: `build(description)` makes the `Member`, `group` of them are trained
    together, as one batched program where it is more than one."""

    build: Callable[[Any], Member]
    description: Any
    together: bool
    group: int
    mesh: Mesh | None


class Place(NamedTuple):
    """Where one device stands in its part of a chunk: the group, its epoch, the step; each of shape (1,)."""

    group: Array
    epoch: Array
    step: Array


class State(NamedTuple):
    """What a chunk carries between two calls."""

    place: Place
    running: Running
    results: PyTree


def begin_chunk(given: ChunkProgram, arguments: PyTree, shared: PyTree, first: Array) -> State:
    """Room for everything a chunk carries."""

    def begin(arguments: PyTree, shared: PyTree, first: Array) -> State:
        pieces = _group(given)
        running = jax.eval_shape(pieces.begin, _rows(arguments, 0, given.group), shared)
        results = jax.eval_shape(pieces.finish, _rows(arguments, 0, given.group), shared, running)
        count = jax.tree.leaves(arguments)[0].shape[0]
        every = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape[1:]), leaf.dtype), results)
        zero = jnp.zeros(1, jnp.int32)
        return State(
            Place(zero, zero + first, zero + 0),
            *jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (running, every)),
        )

    spread = _spread(given.mesh, begin, (True, False, False))
    return spread(arguments, shared, first)


def advance_chunk(given: ChunkProgram, *values: PyTree) -> State:
    """`_advance` on every device: up to `steps` steps more, all of `values` arrays, one program for all of them."""
    return _spread(given.mesh, functools.partial(_advance, given), (True, True, False, False, True, False))(*values)


def _advance(
    given: ChunkProgram,
    state: State,
    arguments: PyTree,
    shared: PyTree,
    ends: tuple[Array, Array],
    limit: Array,
    steps: Array,
) -> State:
    pieces, (first, last) = _group(given), ends

    def more(carry: tuple[State, Array]) -> Array:
        return (carry[1] > 0) & (carry[0].place.group[0] < limit[0])

    def epoch(carry: tuple[State, Array]) -> tuple[State, Array]:
        ((group, number, step), running, results), left = carry[0], carry[1]
        group, number, step = group[0], number[0], step[0]
        one = _rows(arguments, group * given.group, given.group)
        fresh = (number == first) & (step == 0)
        running = jax.lax.cond(fresh, lambda: pieces.begin(one, shared), lambda: running)
        whole = pieces.steps(one, shared)
        until = jnp.minimum(step + left, whole)
        running = pieces.advance(one, shared, running, number, step, until)
        closed = until == whole
        running = jax.lax.cond(closed, lambda: pieces.close(one, shared, running, number), lambda: running)
        done = closed & ((number + 1 >= last) | running.carry.over.all())
        results = jax.lax.cond(
            done, lambda: _write(results, pieces.finish(one, shared, running), group * given.group), lambda: results
        )
        number = jnp.where(done, first, jnp.where(closed, number + 1, number))
        place = Place((group + done.astype(jnp.int32))[None], number[None], jnp.where(closed, 0, until)[None])
        return State(place, running, results), left - (until - step)

    return jax.lax.while_loop(more, epoch, (state, steps))[0]


def _group(given: ChunkProgram) -> Member:
    """The pieces of a member over the rows of a group: batched, or for the one row there is."""
    member = given.build(given.description)

    def over(function: Callable[..., Any], axes: tuple[int | None, ...]) -> Callable[..., Any]:
        if given.together:
            return jax.vmap(function, axes)

        def single(*values: Any) -> Any:
            rows = (
                jax.tree.map(lambda leaf: leaf[0], value) if axis == 0 else value
                for value, axis in zip(values, axes, strict=True)
            )
            return jax.tree.map(lambda leaf: leaf[None], function(*rows))

        return single

    return Member(
        over(member.begin, (0, None)),
        lambda one, shared: member.steps(jax.tree.map(lambda leaf: leaf[0], one), shared),
        over(member.advance, (0, None, 0, None, None, None)),
        over(member.close, (0, None, 0, None)),
        over(member.finish, (0, None, 0)),
    )


def _rows(arguments: PyTree, begin: Array | int, count: int) -> PyTree:
    return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, begin, count), arguments)


def _write(results: PyTree, part: PyTree, begin: Array) -> PyTree:
    return jax.tree.map(
        lambda whole, rows: jax.lax.dynamic_update_slice_in_dim(whole, rows, begin, axis=0), results, part
    )


def _spread(mesh: Mesh | None, function: Callable[..., Any], split: tuple[bool, ...]) -> Callable[..., Any]:
    """Members never speak to each other, so each device runs its own part of the chunk without communication."""
    if mesh is None:
        return function
    axis = PartitionSpec(mesh.axis_names[0])
    specs = tuple(axis if one else PartitionSpec() for one in split)
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=axis, check_vma=False)
