"""A function written in JAX's own operations alone, for tools that read programs and do not know fnn's."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax

from fnn.kernels.convolution.products import plain_form
from fnn.layer.arguments import mirror
from fnn.typing import PyTree

__all__ = ["plain"]

_CALLS = frozenset({"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "checkpoint"})


def plain(function: Callable[..., PyTree], *like: PyTree) -> Callable[..., PyTree]:
    """The same function in operations of JAX alone: convolutions are XLA's, calls are written out, forms a CPU's.

    It is traced here and now, so that a tool which changes `jax.numpy` while it reads does not meet fnn's code. With it
    jax2onnx writes fnn's layers; see the recipe on ONNX.

    Args:
        function: of arrays, for instance a model at inference.
        *like: arguments of the shapes that it will take, or `jax.ShapeDtypeStruct`s of them, with sizes of
            `jax.export.symbolic_shape` where any will do.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model, x = fnn.conv(4, 3), jnp.ones((1, 5, 5, 2))
        >>> params, state = model.init(jax.random.key(0), x)
        >>> forward = fnn.interop.plain(lambda x: model.apply(params, state, x)[0], x)
        >>> "fnn" in str(jax.make_jaxpr(forward)(x)), forward(x).shape
        (False, (1, 5, 5, 4))
    """
    closed, outputs = jax.make_jaxpr(function, return_shape=True)(*mirror(like))

    def run(*given: PyTree) -> PyTree:
        results = _run(closed.jaxpr, closed.consts, jax.tree.leaves(given))
        return jax.tree.unflatten(jax.tree.structure(outputs), results)

    return run


def _run(jaxpr: Any, consts: Any, given: list[Any]) -> list[Any]:
    known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *given), strict=True))

    def read(var: Any) -> Any:
        return var.val if hasattr(var, "val") else known[var]

    for equation in jaxpr.eqns:
        results = _one(equation, [read(var) for var in equation.invars])
        known.update(zip(equation.outvars, results, strict=True))
    return [read(var) for var in jaxpr.outvars]


def _one(equation: Any, given: list[Any]) -> list[Any]:
    primitive, settings = equation.primitive, equation.params
    if product := plain_form(primitive):
        closed = jax.make_jaxpr(functools.partial(product, **settings))(*given)
        return _run(closed.jaxpr, closed.consts, given)
    if primitive.name == "platform_index":
        return [_of_cpu(settings["platforms"])]
    if settings.get("branches_platforms"):
        chosen = settings["branches"][_of_cpu(settings["branches_platforms"])]
        return _run(chosen.jaxpr, chosen.consts, given[1:])
    inside = settings.get("jaxpr", settings.get("call_jaxpr"))
    if primitive.name in _CALLS and inside is not None:
        return _run(getattr(inside, "jaxpr", inside), getattr(inside, "consts", ()), given)
    if primitive is lax.conv_general_dilated_p:
        given, settings = _usual_layout(given, settings)
    if primitive is lax.reduce_precision_p and settings["mantissa_bits"] == 0:  # a scale, which cancels again
        return [lax.exp2(lax.round(lax.log(given[0]) * math.log2(math.e)))]
    settings = {name: _inside(value) for name, value in settings.items()}
    found = primitive.bind(*given, **primitive.get_bind_params(settings))
    return found if primitive.multiple_results else [found]


def _of_cpu(platforms: Sequence[Sequence[str] | None]) -> int:
    """The form that differs between platforms is the one of a CPU; None are all that are not named."""
    return next(place for place, names in enumerate(platforms) if names is None or "cpu" in names)


def _inside(value: Any) -> Any:
    """The programs of a loop's body or a branch, rewritten alike."""
    if isinstance(value, tuple) and any(hasattr(part, "in_avals") for part in value):
        return tuple(map(_inside, value))
    if not hasattr(value, "in_avals"):
        return value
    return jax.make_jaxpr(lambda *given: _run(value.jaxpr, value.consts, list(given)))(*value.in_avals)


def _usual_layout(given: list[Any], settings: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """A kernel (out, in, …) of any order as (…, in, out), which every reader of convolutions takes."""
    numbers = settings["dimension_numbers"]
    order = (*numbers.rhs_spec[2:], numbers.rhs_spec[1], numbers.rhs_spec[0])
    rank = len(order)
    usual = numbers._replace(rhs_spec=(rank - 1, rank - 2, *range(rank - 2)))
    return [given[0], lax.transpose(given[1], order)], settings | {"dimension_numbers": usual}
