"""What `init` and `apply` are called with, and what to write where it is something else."""

from __future__ import annotations

import functools
import numbers
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks

MISSING: Any = object()
"""The default of an argument that must be given, where Python's own message would not say what to write."""


def require_init(key: Any, x: Any) -> None:
    """Require the arguments of `init`: a random key (None where nothing is drawn) and an example of the input."""
    dtype = getattr(key, "dtype", None)
    if key is not None and (dtype is None or not (jnp.issubdtype(dtype, jax.dtypes.prng_key) or dtype == jnp.uint32)):
        came = repr(key) if isinstance(key, int) else checks.describe(key)
        raise TypeError(
            f"init(key, x): expected a random key first, got {came}; write model.init(jax.random.key(0), x)"
        )
    if x is MISSING:
        raise TypeError("init(key, x): expected an example of the input; write model.init(jax.random.key(0), x)")


def require_apply(x: Any) -> None:
    """Require the arguments of `apply`."""
    if x is MISSING:
        raise TypeError(
            "apply(params, state, x): expected three arguments, got two; state is what init returned beside the "
            "parameters, () for a model that keeps none"
        )


def _pair(call: str, parts: str, found: Any) -> tuple[Any, Any]:
    """Of somebody's own layer it may be one array, whose rows would come apart in silence."""
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise TypeError(
            f"{call}: expected it to return {parts}, got {checks.describe(found)}; state is () for a layer that keeps "
            "none, which fnn.stateless makes of two functions without one"
        )
    checks.leaves(call, found)
    first, second = found
    return first, second


params_and_state = functools.partial(_pair, "init", "(params, state)")
"""What `init` returned."""

output_and_state = functools.partial(_pair, "apply", "(y, state)")
"""What `apply` returned."""


def mirror(x: Any) -> Any:
    """The shapes and dtypes of `x`, so that building a model never computes with the data."""

    def shape_and_dtype(leaf: Any) -> jax.ShapeDtypeStruct:
        if not (hasattr(leaf, "dtype") or isinstance(leaf, numbers.Number)) or hasattr(leaf, "numpy"):
            raise checks.not_an_array("init", "x", leaf)
        return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))

    return jax.tree.map(shape_and_dtype, x)


def example(x: Any) -> Any:
    """The shapes and dtypes of an input; of a shape, batch axis included, in float32."""
    if isinstance(x, list | tuple) and x and all(isinstance(size, int) for size in x):
        return jax.ShapeDtypeStruct(tuple(x), jnp.float32)
    return mirror(x)
