"""Errors inside a model name the layer they come from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from fnn import checks
from fnn.layer.protocol import Layer


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
