"""Through which layers the features of a flattened image flow: whose arrays follow the order of its axes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax

from fnn.layer import Layer
from fnn.layer.watching import Call, watch
from fnn.typing import PyTree, Shape


class FeatureOrder(NamedTuple):
    """The shape (*spatial, channels) of which a layer's inputs, or its outputs, are the entries; None for none. It is
    lost where such entries come by a way that is not followed."""

    inputs: Shape | None = None
    outputs: Shape | None = None
    lost: bool = False


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
    jax.eval_shape(lambda p, s, v: flow.end(watch(model, p, s, flow.see).apply(p, s, v)[0]), params, state, x)
    return flow.found


class _Flow:
    """What is known while a model is traced layer by layer."""

    def __init__(self) -> None:
        self.found: dict[tuple[int, ...], FeatureOrder] = {}
        self.known: dict[int, _Features] = {}
        self.unread: dict[int, Any] = {}  # entries of an image that no layer has taken: merged, they come as unknown
        self.convolved = False

    def see(self, call: Call) -> Any:
        if hasattr(call.x, "shape") and hasattr(call.y, "shape"):
            self.learn(call) if jax.tree.leaves(call.params) else self.plain(call.x, call.y)
        self.convolved |= call.layer.facts.convolves
        return call.y

    def end(self, y: Any) -> Any:
        if self.found and self.is_lost(y):
            last = next(reversed(self.found))
            self.found[last] = self.found[last]._replace(lost=True)
        return y

    def is_lost(self, x: Any) -> bool:
        return bool(self.unread) and id(x) not in self.known and hasattr(x, "ndim") and x.ndim == 2

    def of(self, x: Any) -> _Features:
        return self.known.get(id(x), _Features(None, (), None))

    def give(self, x: Any, y: Any, shape: Shape | None, makers: tuple[tuple[int, ...], ...]) -> None:
        """`y` was made of `x`; of one channel, or one position, there is one order."""
        self.unread.pop(id(x), None)
        shape = shape if shape and math.prod(shape) not in (shape[-1], math.prod(shape[:-1])) else None
        self.known[id(y)] = _Features(shape, makers, y)
        if shape:
            self.unread[id(y)] = y

    def learn(self, call: Call) -> None:
        place, y = call.path, call.y
        shape, makers, _ = self.of(call.x)
        found = self.found.pop(place, FeatureOrder())  # the last one is the last that was seen
        self.found[place] = found._replace(inputs=shape, lost=found.lost or self.is_lost(call.x))
        mixes = any(leaf.ndim > 1 for leaf in jax.tree.leaves(call.params))
        through = call.x.shape == y.shape and not mixes  # a norm or a slope: feature by feature
        self.give(call.x, y, *(shape, (*makers, place)) if through else (None, (place,)))

    def plain(self, x: Any, y: Any) -> None:
        shape, makers, _ = self.of(x)
        if x.ndim > y.ndim == 2 and y.shape[1] == math.prod(x.shape[1:]):
            if x.ndim > 3 or self.convolved:
                self.give(x, y, tuple(x.shape[1:]), ())
        elif y.ndim > max(x.ndim, 3) and x.ndim == 2 and x.shape[1] == math.prod(y.shape[1:]):
            self.unread.pop(id(x), None)
            for maker in makers:
                self.found[maker] = self.found[maker]._replace(outputs=tuple(y.shape[1:]))
        elif x.shape == y.shape:
            self.give(x, y, shape, makers)
