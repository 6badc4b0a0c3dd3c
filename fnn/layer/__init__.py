"""The layer protocol and the combinators. A layer is two pure functions; a model is a layer."""

from fnn.layer.combinators import concatenate, parallel, residual, serial
from fnn.layer.freezing import Frozen, frozen
from fnn.layer.parts import map_layers
from fnn.layer.protocol import Facts, Layer, Penalty, as_layer, constructor, stateless
from fnn.layer.sharing import shared

__all__ = [
    "Facts",
    "Frozen",
    "Layer",
    "Penalty",
    "as_layer",
    "concatenate",
    "constructor",
    "frozen",
    "map_layers",
    "parallel",
    "residual",
    "serial",
    "shared",
    "stateless",
]
