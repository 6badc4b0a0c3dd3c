"""Modules of flax and equinox as layers, so that fnn trains them and they stand in a model beside its layers."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.layer import Facts, Layer, as_layer
from fnn.typing import Key, PyTree

__all__ = ["module_layer"]


def module_layer(module: Any) -> Layer:
    """A module of flax (linen or nnx) or equinox as a layer; `fnn.as_layer` and `serial` ask it.

    A linen module is initialised by its own `init`. Modules of nnx and equinox hold their arrays already, with which
    the layer begins whatever its key. Equinox's are for one example, and mapped over the batch. In training a module
    is told so: linen by the argument of its `__call__` that it has for it (`train`, `training`, `deterministic`,
    `use_running_average`), nnx by `train()`, equinox by `inference_mode`; the key of the step goes to "dropout".

    Returns:
        A layer: its parameters are linen's "params", nnx's `Param`s, equinox's floating-point arrays; its state all
        other variables.

    Raises:
        TypeError: for a module of equinox that keeps a state, and for anything else.

    Example:
        >>> import flax.linen as nn, jax, jax.numpy as jnp, fnn
        >>> model = fnn.serial(nn.Dense(4), fnn.relu, fnn.dense(2))
        >>> params, state = model.init(jax.random.key(0), jnp.ones((5, 3)))
        >>> model.apply(params, state, jnp.ones((5, 3)))[0].shape
        (5, 2)
    """
    for name, adapt in (("flax.linen", _linen), ("flax.nnx", _nnx), ("equinox", _equinox)):
        library = sys.modules.get(name)
        if library is not None and isinstance(module, library.Module):
            return adapt(library, module)._replace(name=type(module).__name__, facts=Facts(random=True))
    raise TypeError(
        f"expected a layer, a function of arrays, or a module of flax or equinox, got {checks.name_of(module)}"
    )


def _linen(linen: Any, module: Any) -> Layer:
    known = inspect.signature(type(module).__call__).parameters
    told = {name: name not in ("deterministic", "use_running_average") for name in _TRAINING if name in known}

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        # linen computes with its example, which for fnn is a shape.
        x = jax.tree.map(lambda a: jnp.zeros(jnp.shape(a), jnp.result_type(a)), x)
        options = {name: not straight for name, straight in told.items()}
        variables = dict(module.init({"params": key, "dropout": jax.random.fold_in(key, 1)}, x, **options))
        return variables.pop("params", {}), variables

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        options: dict[str, Any] = {name: train == straight for name, straight in told.items()}
        if key is not None:
            options["rngs"] = {"dropout": key}
        if not train or not state:
            return module.apply({"params": params, **state}, x, **options), state
        return module.apply({"params": params, **state}, x, mutable=list(state), **options)

    return Layer(init, apply)


_TRAINING = ("train", "training", "deterministic", "use_running_average")


def _nnx(nnx: Any, module: Any) -> Layer:
    # Its own random keys are no state: the key of the call stands in their place.
    graph, params, random, rest = nnx.split(module, nnx.Param, nnx.RngState, ...)

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        return nnx.to_pure_dict(params), nnx.to_pure_dict(rest)

    def apply(
        given: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        here = nnx.clone(params), nnx.clone(rest)
        for filled, arrays in zip(here, (given, state), strict=True):
            nnx.replace_by_pure_dict(filled, arrays)
        called = nnx.merge(graph, here[0], nnx.clone(random), here[1])
        called.train() if train else called.eval()
        if key is not None:
            nnx.reseed(called, default=key)
        y = called(x)
        return y, nnx.to_pure_dict(nnx.split(called, nnx.Param, nnx.RngState, ...)[3]) if train else state

    return Layer(init, apply)


def _equinox(equinox: Any, module: Any) -> Layer:
    is_index = lambda node: isinstance(node, equinox.nn.StateIndex)  # noqa: E731
    if any(map(is_index, jax.tree.leaves(module, is_leaf=is_index))):
        raise TypeError(
            f"{type(module).__name__} of equinox keeps a state, which belongs to a call with equinox's State; use "
            "fnn.batch_norm() in its place"
        )
    if type(module).__module__.startswith("equinox.") and not type(module).__module__.startswith("equinox.nn"):
        return as_layer(lambda x: module(x))  # a function that equinox has wrapped
    params, fixed = equinox.partition(module, equinox.is_inexact_array)
    draws = "key" in inspect.signature(type(module).__call__).parameters

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        return params, ()

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        called = equinox.nn.inference_mode(equinox.combine(params, fixed), value=not train)
        if not draws or key is None:
            return jax.vmap(called)(x), state
        return jax.vmap(lambda one, key: called(one, key=key))(x, jax.random.split(key, x.shape[0])), state

    return Layer(init, apply)
