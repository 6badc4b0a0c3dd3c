"""The layer protocol and the combinators. A layer is two pure functions; a model is a layer."""
# ruff: noqa: F403, F405

from fnn.layer.combinators import *
from fnn.layer.freezing import *
from fnn.layer.padded import *
from fnn.layer.parts import *
from fnn.layer.protocol import *
from fnn.layer.sharing import *

# Written out, because type checkers take the names of `fnn` from here and follow no list that is computed.
__all__ = [
    "Facts", "Frozen", "Layer", "Padded", "Penalty", "as_layer", "concatenate", "constructor", "frozen", "map_layers",
    "parallel", "residual", "serial", "shared", "stateless",
]  # fmt: skip
