"""Through which layers the features of a flattened image flow: whose arrays follow the order of its axes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax

from fnn.layer import Layer
from fnn.layer.protocol import layers_within, within
from fnn.typing import PyTree, Shape


class Order(NamedTuple):
    """The shape (*spatial, channels) of which a layer's inputs, or its outputs, are the entries; None for none."""

    inputs: Shape | None = None
    outputs: Shape | None = None


class _Features(NamedTuple):
    """What the features at hand are entries of, and the layers that made them one by one."""

    shape: Shape | None
    makers: tuple[int, ...]
    tracer: Any  # kept, so that no other takes its place in memory, by which it is known


def orders(model: Layer, params: PyTree, state: PyTree, x: PyTree) -> list[Order]:
    """Of every elementary layer, in the order of the model's structure, what its features are entries of.

    A layer without parameters that makes vectors of images flattens them; one that makes images of vectors is the
    opposite. Sequences (batch, time, features) count as images where a convolution came before.
    """
    found: list[Order] = []
    known: dict[int, _Features] = {}
    convolved: list[bool] = []

    def of(x: Any) -> _Features:
        return known.get(id(x), _Features(None, (), None))

    def watched(layer: Layer, own: PyTree) -> Layer:
        place, leaves = len(found), jax.tree.leaves(own)
        found.append(Order())

        def apply(params: PyTree, state: PyTree, x: Any, /, **options: Any) -> tuple[Any, PyTree]:
            y, state = layer.apply(params, state, x, **options)
            if hasattr(x, "shape") and hasattr(y, "shape"):
                (meet_learned if leaves else meet_plain)(place, any(leaf.ndim > 1 for leaf in leaves), x, y)
            if layer.facts.convolves:
                convolved.append(True)
            return y, state

        return layer._replace(apply=apply)

    def meet_learned(place: int, mixes: bool, x: Any, y: Any) -> None:
        shape, makers, _ = of(x)
        found[place] = found[place]._replace(inputs=shape)
        if x.shape == y.shape and not mixes:  # a norm or a slope: feature by feature
            known[id(y)] = _Features(shape, (*makers, place), y)
        else:
            known[id(y)] = _Features(None, (place,), y)

    def meet_plain(_: int, __: bool, x: Any, y: Any) -> None:
        shape, makers, _ = of(x)
        if x.ndim > y.ndim == 2 and y.shape[1] == math.prod(x.shape[1:]):
            if x.ndim > 3 or convolved:
                known[id(y)] = _Features(tuple(x.shape[1:]), (), y)
        elif y.ndim > max(x.ndim, 3) and x.ndim == 2 and x.shape[1] == math.prod(y.shape[1:]):
            for maker in makers:
                found[maker] = found[maker]._replace(outputs=tuple(y.shape[1:]))
        elif x.shape == y.shape:
            known[id(y)] = _Features(shape, makers, y)

    def within_watched(layer: Layer, params: PyTree, state: PyTree) -> Layer:
        inside = within(layer, params, state)
        if layer.rebuild is not None and not layer.parts:
            return layer  # where the shared layer stands
        if inside is None:
            return watched(layer, params)
        if layer.rebuild is None:  # its parts are there, but it cannot be built of others
            found.extend(Order() for _ in layers_within(layer, params, state))
            return layer
        return layer.rebuild(tuple(within_watched(*part) for part in inside))

    whole = within_watched(model, params, state)
    jax.eval_shape(lambda p, s, v: whole.apply(p, s, v)[0], params, state, x)
    return found
