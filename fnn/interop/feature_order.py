"""Through which layers the features of a flattened image flow: whose arrays follow the order of its axes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax

from fnn.layer import Layer
from fnn.layer.parts import layers_within, within
from fnn.typing import PyTree, Shape


class FeatureOrder(NamedTuple):
    """The shape (*spatial, channels) of which a layer's inputs, or its outputs, are the entries; None for none."""

    inputs: Shape | None = None
    outputs: Shape | None = None


class _Features(NamedTuple):
    """What the features at hand are entries of, and the layers that made them one by one."""

    shape: Shape | None
    makers: tuple[int, ...]
    tracer: Any  # kept, so that no other takes its place in memory, by which it is known


def orders(model: Layer, params: PyTree, state: PyTree, x: PyTree) -> list[FeatureOrder]:
    """Of every elementary layer, in the order of the model's structure, what its features are entries of.

    A layer without parameters that makes vectors of images flattens them; one that makes images of vectors is the
    opposite. Sequences (batch, time, features) count as images where a convolution came before.
    """
    flow = _Flow()
    whole = flow.through(model, params, state)
    jax.eval_shape(lambda p, s, v: whole.apply(p, s, v)[0], params, state, x)
    return flow.found


class _Flow:
    """What is known while a model is traced layer by layer."""

    def __init__(self) -> None:
        self.found: list[FeatureOrder] = []
        self.known: dict[int, _Features] = {}
        self.convolved = False

    def through(self, layer: Layer, params: PyTree, state: PyTree) -> Layer:
        """The layer with every elementary one in it watched."""
        inside = within(layer, params, state)
        if layer.rebuild is not None and not layer.parts:
            return layer  # where the shared layer stands
        if inside is None:
            return self.watch(layer, params)
        if layer.rebuild is None:  # its parts are there, but it cannot be built of others
            self.found.extend(FeatureOrder() for _ in layers_within(layer, params, state))
            return layer
        return layer.rebuild(tuple(self.through(*part) for part in inside))

    def watch(self, layer: Layer, own: PyTree) -> Layer:
        place, leaves = len(self.found), jax.tree.leaves(own)
        mixes = any(leaf.ndim > 1 for leaf in leaves)
        self.found.append(FeatureOrder())

        def apply(params: PyTree, state: PyTree, x: Any, /, **options: Any) -> tuple[Any, PyTree]:
            y, state = layer.apply(params, state, x, **options)
            if hasattr(x, "shape") and hasattr(y, "shape"):
                self.learn(place, mixes, x, y) if leaves else self.plain(x, y)
            self.convolved |= layer.facts.convolves
            return y, state

        return layer._replace(apply=apply)

    def of(self, x: Any) -> _Features:
        return self.known.get(id(x), _Features(None, (), None))

    def learn(self, place: int, mixes: bool, x: Any, y: Any) -> None:
        shape, makers, _ = self.of(x)
        self.found[place] = self.found[place]._replace(inputs=shape)
        through = x.shape == y.shape and not mixes  # a norm or a slope: feature by feature
        self.known[id(y)] = _Features(shape, (*makers, place), y) if through else _Features(None, (place,), y)

    def plain(self, x: Any, y: Any) -> None:
        shape, makers, _ = self.of(x)
        if x.ndim > y.ndim == 2 and y.shape[1] == math.prod(x.shape[1:]):
            if x.ndim > 3 or self.convolved:
                self.known[id(y)] = _Features(tuple(x.shape[1:]), (), y)
        elif y.ndim > max(x.ndim, 3) and x.ndim == 2 and x.shape[1] == math.prod(y.shape[1:]):
            for maker in makers:
                self.found[maker] = self.found[maker]._replace(outputs=tuple(y.shape[1:]))
        elif x.shape == y.shape:
            self.known[id(y)] = _Features(shape, makers, y)
