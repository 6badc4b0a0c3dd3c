"""A function written in JAX's own operations alone, for tools that read programs and do not know fnn's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn.kernels.convolution import plain as products
from fnn.typing import PyTree

__all__ = ["plain"]

_CALLS = frozenset({"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "checkpoint"})


def plain(function: Callable[..., PyTree], *like: PyTree) -> Callable[..., PyTree]:
    """The same function in operations of JAX alone: convolutions are XLA's, calls are written out.

    It is traced here and now, so that a tool which changes `jax.numpy` while it reads does not meet fnn's code. With it
    jax2onnx writes any fnn model; see the recipe on saving.

    Args:
        function: of arrays, for instance a model at inference.
        *like: its arguments, or `jax.ShapeDtypeStruct`s of them, with sizes of `jax.export.symbolic_shape` where any
            will do.

    Returns:
        A function of arguments of these shapes.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model, x = fnn.conv(4, 3), jnp.ones((1, 5, 5, 2))
        >>> params, state = model.init(jax.random.key(0), x)
        >>> forward = fnn.interop.plain(lambda x: model.apply(params, state, x)[0], x)
        >>> "fnn" in str(jax.make_jaxpr(forward)(x)), forward(x).shape
        (False, (1, 5, 5, 4))
    """
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)), like)
    closed, outputs = jax.make_jaxpr(function, return_shape=True)(*shapes)

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
    if primitive.name.startswith("fnn_"):
        return [getattr(products, primitive.name.removeprefix("fnn_"))(*given, **settings)]
    inside = settings.get("jaxpr", settings.get("call_jaxpr"))
    if primitive.name in _CALLS and inside is not None:
        return _run(getattr(inside, "jaxpr", inside), getattr(inside, "consts", ()), given)
    found = primitive.bind(*given, **primitive.get_bind_params(settings))
    return found if primitive.multiple_results else [found]
