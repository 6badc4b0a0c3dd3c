"""One layer used in several places of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from fnn import checks
from fnn.layer.protocol import Facts, Layer, as_layer
from fnn.typing import Key, PyTree

__all__ = ["shared"]


def shared(layer: Layer, body: Callable[[Layer], Layer]) -> Layer:
    """One set of parameters used in several places (tied layers).

    `body(use)` builds a model in which `use` stands wherever the shared layer is wanted, as often as wanted.
    The gradient is the sum over all places.

    Args:
        layer: the layer to share; it may not keep state (a running mean has no single value in two places).
        body: layer -> layer.

    Returns:
        A layer with `params = {"shared": …, "body": …}`.

    Raises:
        ValueError: if `layer` keeps state, or `body` does not use it.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> tied = fnn.shared(fnn.dense(4), lambda use: fnn.serial(use, fnn.tanh, use, fnn.tanh, fnn.dense(1)))
        >>> params, state = tied.init(jax.random.key(0), jnp.ones((8, 4)))
        >>> sorted(params), tied.apply(params, state, jnp.ones((8, 4)))[0].shape
        (['body', 'shared'], (8, 1))
    """
    checks.instance("shared", "body", body, Callable, "a function layer -> layer", "write lambda use: fnn.serial(use)")
    layer = as_layer(layer)

    def refuse() -> PyTree:
        raise ValueError(
            f"shared: the body was rebuilt around other layers, but {layer.name} is hidden in a layer of it that does "
            "not show its parts; give that layer parts and rebuild"
        )

    place = _placeholder(layer, _init_empty, refuse)
    inside, init = as_layer(body(place)), _init_of(layer, body)

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        own = params["shared"]
        use = _placeholder(layer, _init_empty, lambda: own)
        return as_layer(body(use)).apply(params["body"], state, x, key=key, train=train)

    facts = Facts(ends_in=inside.facts.ends_in)
    if not _stands_in(inside, place):  # hidden in a layer that does not show its parts: nothing can be rebuilt
        return Layer(init, apply, f"shared({layer.name})", (layer, inside), facts=facts)

    def rebuild(new: tuple[Layer, ...]) -> Layer:
        return shared(new[0], lambda use: _with(new[1], place, use))

    facts = facts._replace(places=((("shared",), None), (("body",), ())))
    return Layer(init, apply, f"shared({layer.name})", (layer, inside), rebuild, facts)


def _init_of(layer: Layer, body: Callable[[Layer], Layer]) -> Callable[..., tuple[PyTree, PyTree]]:
    """Initializes the body around a layer that is initialized where it is used first."""

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        found: list[PyTree] = []

        def first_use(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
            if not found:
                params, state = layer.init(key, x)
                if jax.tree.leaves(state):
                    raise ValueError(f"shared: {layer.name} keeps state, which cannot be shared between places")
                found.append(params)
            return (), ()

        params, state = as_layer(body(_placeholder(layer, first_use, lambda: found[0]))).init(key, x)
        if not found:
            raise ValueError("shared: body(use) never uses the shared layer")
        return {"shared": found[0], "body": params}, state

    return init


def _placeholder(layer: Layer, init: Callable[..., Any], find: Callable[[], PyTree]) -> Layer:
    """What a body uses for the shared layer, whose parameters are found when it is applied: it stays the same whatever
    the body is mapped by."""

    def apply(
        _: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        return layer.apply(find(), (), x, key=key, train=train)

    def same(_: tuple[Layer, ...]) -> Layer:
        return place

    place = Layer(init, apply, layer.name, (), same, Facts(ends_in=layer.facts.ends_in))
    return place


def _init_empty(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
    return (), ()


def _stands_in(model: Layer, place: Layer) -> bool:
    return model.rebuild is place.rebuild or any(_stands_in(part, place) for part in model.parts)


def _with(model: Layer, place: Layer, use: Layer) -> Layer:
    """The model with `use` where `place` stands."""
    if model.rebuild is place.rebuild:
        return use
    return model if model.rebuild is None else model.rebuild(tuple(_with(part, place, use) for part in model.parts))
