"""Which layer of a model an array belongs to, or an error comes from, and what to call it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax

from fnn import checks
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


class _Place(NamedTuple):
    """Where an error comes from: the way down to the layer, the layer and its input, what the error itself says."""

    path: tuple[int, ...]
    layer: str
    came: str
    text: str

    def __str__(self) -> str:
        return f"layer {' > '.join(map(str, self.path))}, {self.layer}"


@contextmanager
def locate_errors(place: int, layer: Layer, x: Any) -> Iterator[None]:
    """Say in any error which layer of a composed model it comes from, and what shape came in.

    The error is amended, not replaced: its kind and its traceback stay. A model inside a model puts its own place
    before the one that is there, "layer 0 > 2 > 1, dense(8): …".
    """
    try:
        yield
    except Exception as error:
        inner = getattr(error, "_place", None) or _Place((), layer.name, f" (input {checks.describe(x)})", str(error))
        _amend(error, inner._replace(path=(place, *inner.path)))
        raise


def _amend(error: Any, place: _Place) -> None:
    if type(error).__str__ is BaseException.__str__ and len(error.args) == 1:
        error.args = (f"{place}: {place.text}{place.came}",)
    else:  # a text that the kind of error makes from other parts (KeyError, OSError) is left to it
        notes = [note for note in getattr(error, "__notes__", ()) if note != getattr(error, "_note", None)]
        error._note = f"in {place}{place.came}"
        error.__notes__ = [*notes, error._note]
    error._place = place
