"""The layers inside a layer: who they are, and where their arrays stand."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from fnn.layer.arguments import output_and_state
from fnn.layer.protocol import Facts, Layer
from fnn.typing import PyTree

__all__ = ["map_layers"]


def map_layers(function: Callable[[Layer], Layer], model: Layer) -> Layer:
    """The same model with `function(layer)` in the place of every elementary layer.

    What is made of layers (`serial`, `residual`, `shared`, `weight_norm`, …) is rebuilt around the new ones, so
    parameters and state keep their structure if `function` keeps that of each layer.

    Args:
        function: layer -> layer.
        model: a layer.

    Example:
        >>> import fnn
        >>> model = fnn.serial(fnn.dense(2), fnn.relu, fnn.residual(fnn.dense(2)))
        >>> names = []
        >>> _ = fnn.map_layers(lambda layer: names.append(layer.name) or layer, model)
        >>> names
        ['dense(2)', 'relu', 'dense(2)', 'identity']
    """
    if model.rebuild is None:
        return function(model)
    return model.rebuild(tuple(map_layers(function, part) for part in model.parts))


def any_layer(model: Layer, holds: Callable[[Facts], bool]) -> bool:
    """Whether the model, or a layer inside it, states something."""
    return holds(model.facts) or any(any_layer(part, holds) for part in model.parts)


def count_rows(model: Layer, where: Any) -> Layer:
    """The model to which only the rows count where the mask holds, as far as its layers state how."""
    if not any_layer(model, lambda facts: facts.over_rows is not None):
        return model
    if model.facts.over_rows is not None:
        return model.facts.over_rows(where)._replace(name=model.name)
    if model.rebuild is None:
        return model
    return model.rebuild(tuple(count_rows(part, where) for part in model.parts))._replace(name=model.name)


def at(tree: PyTree, keys: tuple[Any, ...] | None) -> PyTree:
    """What stands under these keys, one after another; () under None."""
    return () if keys is None else functools.reduce(lambda node, key: node[key], keys, tree)


def put(tree: PyTree, keys: tuple[Any, ...] | None, value: PyTree) -> PyTree:
    """The tree with `value` under these keys; as it is for None."""
    if keys is None:
        return tree
    if not keys:
        return value
    inner = put(tree[keys[0]], keys[1:], value)
    if isinstance(tree, dict):
        return {**tree, keys[0]: inner}
    return (*tree[: keys[0]], inner, *tree[keys[0] + 1 :])


def within(model: Layer, params: PyTree, state: PyTree) -> list[tuple[Layer, PyTree, PyTree]] | None:
    """Every part with its parameters and state; None where those of the whole are not made up of theirs."""
    places = model.facts.places
    if places is not None:
        return [(part, at(params, p), at(state, s)) for part, (p, s) in zip(model.parts, places, strict=True)]
    if not model.parts or not isinstance(params, tuple) or len(params) != len(model.parts):
        return None
    return list(zip(model.parts, params, states_of(model.parts, state), strict=True))


def places_of(model: Layer) -> list[tuple[Layer, tuple[Any, ...], tuple[Any, ...] | None]]:
    """Every part with the keys of its parameters and of its state, as far as the model states them."""
    if model.facts.places is not None:
        return [(part, *keys) for part, keys in zip(model.parts, model.facts.places, strict=True)]
    return [(part, (number,), (number,)) for number, part in enumerate(model.parts)]


def put_within(
    model: Layer, parts: list[tuple[Layer, PyTree, PyTree]], params: PyTree, state: PyTree
) -> tuple[PyTree, PyTree]:
    """Parameters and state of the whole with those of its parts, as `within` gave them, in their places."""
    if model.facts.places is None:
        return tuple(p for _, p, _ in parts), join_states([s for *_, s in parts])
    for (_, new_params, new_state), (p, s) in zip(parts, model.facts.places, strict=True):
        params, state = put(params, p, new_params), put(state, s, new_state)
    return params, state


def is_empty(state: PyTree) -> bool:
    return isinstance(state, tuple) and not state


def join_states(states: Any) -> PyTree:
    """The states of the parts; () where no part keeps any, because every call from Python pays for every node."""
    return () if all(is_empty(state) for state in states) else tuple(states)


def states_of(parts: tuple[Layer, ...], state: PyTree) -> PyTree:
    """One state for every part of a combination."""
    return ((),) * len(parts) if is_empty(state) else state


def output_shape(layer: Layer, params: PyTree, state: PyTree, x: Any) -> Any:
    """Shape and dtype of what `layer` returns for `x`, without computing it."""
    return jax.eval_shape(lambda p, s, v: output_and_state(layer.apply(p, s, v))[0], params, state, x)
