"""Does a layer keep the protocol? The checks every layer of fnn passes, for anyone's layer."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Layer, as_layer
from fnn.layer.arguments import mirror
from fnn.layer.protocol import LayerLike
from fnn.testing.gradients import check_gradients, is_float
from fnn.typing import Key, PyTree

__all__ = ["check_layer"]

DTYPES = ("float32", "bfloat16", "float16", "float64")


def _cast(tree: PyTree, dtype: Any) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype) if is_float(leaf) else jnp.asarray(leaf), tree)


def _require_same_shapes(what: str, got: PyTree, expected: PyTree) -> None:
    got, expected = mirror(got), mirror(expected)
    if got != expected:
        raise AssertionError(f"{what}: {got} instead of {expected}")


def _require_equal(what: str, got: PyTree, expected: PyTree, *, exact: bool = False) -> None:
    """Equal bit for bit, or to the rounding of the dtype and the size of the values."""
    _require_same_shapes(what, got, expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        tolerance = 0.0
        if not exact and is_float(a):
            largest = float(jnp.max(jnp.abs(b), initial=1).astype(jnp.float32))
            tolerance = 200 * float(jnp.finfo(a.dtype).eps) * largest
        x, y = np.asarray(a).astype(np.float64), np.asarray(b).astype(np.float64)
        if not np.allclose(x, y, rtol=0, atol=tolerance, equal_nan=True):
            raise AssertionError(f"{what}: they differ by {np.nanmax(np.abs(x - y)):.3g}")


def check_layer(layer: LayerLike, x: Any, *, key: Key | None = None, order: int = 1) -> None:
    """Require that `layer` keeps the protocol of layers on the input `x`.

    In this order: `init` is deterministic and reads only shape and dtype; `apply` has the shapes
    `jax.eval_shape` predicts and keeps the structure of the state; inference needs no key, is deterministic and
    leaves the state alone; training is reproducible from its key; jit = eager; vmap over members = a loop; the
    second call does not compile again; float32, bfloat16, float16 and float64 are kept; gradients are finite
    and those of finite differences (`check_gradients`).

    Args:
        layer: a layer, or a bare function of arrays.
        x: an input, batch axis included; a few rows are enough.
        key: a random key; `jax.random.key(0)` unless given.
        order: how many derivatives are checked.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.testing.check_layer(fnn.dense(3), jnp.array([[1.0, 2.0], [-1.0, 0.5]]))
        >>> fnn.testing.check_layer(lambda x: x.astype(jnp.float32), jnp.ones((2, 2)))
        Traceback (most recent call last):
        AssertionError: check_layer, <lambda>: dtype of bfloat16 input is not kept...
    """
    layer = as_layer(layer)
    x = jax.tree.map(jnp.asarray, x)
    key = jax.random.key(0) if key is None else key
    try:
        params, state = _check_init(layer, key, x)
        for train in (False, True):
            _check_apply(layer, params, state, x, key, train)
        _check_members(layer, key, x)
        _check_dtypes(layer, key, x)
        _check_derivatives(layer, params, state, x, key, order)
    except AssertionError as error:
        raise AssertionError(f"check_layer, {layer.name}: {error}") from error


def _check_init(layer: Layer, key: Key, x: Any) -> tuple[PyTree, PyTree]:
    first = layer.init(key, x)
    _require_equal("init twice with one key", layer.init(key, x), first, exact=True)
    _require_equal("init from shape and dtype alone", layer.init(key, mirror(x)), first, exact=True)
    return first


def _check_apply(layer: Layer, params: PyTree, state: PyTree, x: Any, key: Key, train: bool) -> None:
    mode = f"train={train}"
    traces = 0

    def apply(params: PyTree, state: PyTree, x: Any, key: Key) -> tuple[Any, PyTree]:
        nonlocal traces
        traces += 1
        return layer.apply(params, state, x, key=key if train else None, train=train)

    eager = apply(params, state, x, key)
    _require_equal(f"the same call twice, {mode}", apply(params, state, x, key), eager, exact=True)
    predicted = jax.eval_shape(apply, params, state, x, key)
    _require_same_shapes(f"shapes differ from jax.eval_shape, {mode}", eager, predicted)
    _require_same_shapes(f"state changes its structure, {mode}", eager[1], state)
    if not train:
        _require_equal("inference changes the state", eager[1], state, exact=True)

    # A new function: jit would take the trace of eval_shape for its own.
    traces, jitted = 0, jax.jit(lambda *args: apply(*args))
    y, new_state = jitted(params, state, x, key)
    _require_equal(f"jit differs from eager, {mode}", (y, new_state), eager)
    jitted(params, new_state, x, key)
    if traces != 1:
        raise AssertionError(f"the second call compiles again, {mode}: weak or changing types in the state")


def _check_members(layer: Layer, key: Key, x: Any) -> None:
    keys = jax.random.split(key, 2)

    def member(key: Key) -> Any:
        params, state = layer.init(key, x)
        return [layer.apply(params, state, x, key=key, train=train) for train in (False, True)]

    loop = [jax.jit(member)(key) for key in keys]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *loop)
    _require_equal("vmap over members differs from a loop", jax.jit(jax.vmap(member))(keys), stacked)


def _check_dtypes(layer: Layer, key: Key, x: Any) -> None:
    if not all(map(is_float, jax.tree.leaves(x))):
        return
    with jax.enable_x64(True):
        for dtype in DTYPES:
            cast = _cast(x, dtype)
            params, state = jax.eval_shape(layer.init, key, cast)
            _require_dtype(dtype, " by init", params)
            for train in (False, True):
                y, _ = jax.eval_shape(functools.partial(layer.apply, key=key, train=train), params, state, cast)
                _require_dtype(dtype, f", train={train}", y)


def _require_dtype(dtype: str, where: str, tree: PyTree) -> None:
    if any(leaf.dtype != dtype for leaf in jax.tree.leaves(tree) if is_float(leaf)):
        raise AssertionError(f"dtype of {dtype} input is not kept{where}")


def _check_derivatives(layer: Layer, params: PyTree, state: PyTree, x: Any, key: Key, order: int) -> None:
    with jax.enable_x64(True):
        wide = _cast(state, jnp.float64)
    for train in (False, True):

        def outputs(params: PyTree, x: Any, state: PyTree = wide, train: bool = train) -> Any:
            return layer.apply(params, state, x, key=key, train=train)[0]

        try:
            check_gradients(outputs, params, x, order=order)
        except AssertionError as error:
            raise AssertionError(f"gradient, train={train}, {error}") from error
