"""Which layer an array of a model belongs to, and what to call it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from fnn.layer.parts import places_of
from fnn.layer.protocol import Layer


class Owner(NamedTuple):
    """The places that lead to a layer, the layer, and what is left of the array's keys: its name in that layer."""

    numbers: tuple[int, ...]
    layer: Layer
    own: tuple[Any, ...]

    def text(self, what: str) -> str:
        """`layer 3 > 0, dense(10): kernel`; `what` where the layer's parameters are one array without a name."""
        own = jax.tree_util.keystr(self.own, simple=True, separator="/") or what
        place = f"layer {' > '.join(map(str, self.numbers))}, " if self.numbers else ""
        return f"{place}{self.layer.name}: {own}"


def owner_of(model: Layer, path: tuple[Any, ...], place: int) -> Owner:
    """Whose array stands under these keys, of the parameters (`place` 0) or of the state (1)."""
    numbers: tuple[int, ...] = ()
    while (inner := _inside(model, path, place)) is not None:
        number, model, used = inner
        numbers, path = (*numbers, number), path[used:]
    return Owner(numbers, model, path)


def _inside(model: Layer, path: tuple[Any, ...], place: int) -> tuple[int, Layer, int] | None:
    for number, (part, *where) in enumerate(places_of(model)):
        keys = where[place]
        if keys is not None and tuple(map(key_of, path[: len(keys)])) == keys:
            return number, part, len(keys)
    return None


def key_of(entry: Any) -> Any:
    """The key, index or name that an entry of a path stands for."""
    return getattr(entry, "key", getattr(entry, "idx", getattr(entry, "name", None)))
