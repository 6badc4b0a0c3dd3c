"""What a member holds in memory at once, counted on its traced program."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn import programs
from fnn.layer.arguments import mirror
from fnn.selection.training import Member
from fnn.typing import PyTree


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
