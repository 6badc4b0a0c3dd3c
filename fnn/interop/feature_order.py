"""Through which layers the features of a flattened image flow: whose arrays follow the order of its axes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax

from fnn.layer import Layer
from fnn.layer.watching import Call, watch
from fnn.typing import PyTree, Shape


class FeatureOrder(NamedTuple):
    """The shape (*spatial, channels) of which a layer's inputs, or its outputs, are the entries; None for none."""

    inputs: Shape | None = None
    outputs: Shape | None = None


class _Features(NamedTuple):
    """What the features at hand are entries of, and the layers that made them one by one."""

    shape: Shape | None
    makers: tuple[tuple[int, ...], ...]
    tracer: Any  # kept, so that no other takes its place in memory, by which it is known


def orders(model: Layer, params: PyTree, state: PyTree, x: PyTree) -> dict[tuple[int, ...], FeatureOrder]:
    """What the features of elementary layers are entries of, by the way down to each.

    A layer without parameters that makes vectors of images flattens them; one that makes images of vectors is the
    opposite. Sequences (batch, time, features) count as images where a convolution came before.
    """
    flow = _Flow()
    jax.eval_shape(lambda p, s, v: watch(model, p, s, flow.see).apply(p, s, v)[0], params, state, x)
    return flow.found


class _Flow:
    """What is known while a model is traced layer by layer."""

    def __init__(self) -> None:
        self.found: dict[tuple[int, ...], FeatureOrder] = {}
        self.known: dict[int, _Features] = {}
        self.convolved = False

    def see(self, call: Call) -> Any:
        if hasattr(call.x, "shape") and hasattr(call.y, "shape"):
            self.learn(call) if jax.tree.leaves(call.params) else self.plain(call.x, call.y)
        self.convolved |= call.layer.facts.convolves
        return call.y

    def of(self, x: Any) -> _Features:
        return self.known.get(id(x), _Features(None, (), None))

    def learn(self, call: Call) -> None:
        place, y = call.path, call.y
        shape, makers, _ = self.of(call.x)
        self.found[place] = self.found.get(place, FeatureOrder())._replace(inputs=shape)
        mixes = any(leaf.ndim > 1 for leaf in jax.tree.leaves(call.params))
        through = call.x.shape == y.shape and not mixes  # a norm or a slope: feature by feature
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
