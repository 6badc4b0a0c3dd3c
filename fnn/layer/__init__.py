"""The layer protocol and the combinators. A layer is two pure functions; a model is a layer."""
# ruff: noqa: F403

from fnn.layer.combinators import *
from fnn.layer.freezing import *
from fnn.layer.parts import *
from fnn.layer.protocol import *
from fnn.layer.sharing import *

__all__ = sorted(
    name for name, value in globals().items() if getattr(value, "__module__", "").startswith(f"{__name__}.")
)
