"""What stands beside the arrays of a model in a file: the names of its classes, and a fitted scaler."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from fnn import checks, data
from fnn.data.scaling import Scaler
from fnn.layer import Layer
from fnn.layer.parts import output_shape
from fnn.saving import content
from fnn.train.trained import Trained
from fnn.typing import PyTree


def require_outputs(where: str, classes: Sequence[Any], model: Layer, trained: Trained, x: Any) -> None:
    """Require no more class names than the model has outputs, or two for one."""
    found = jax.tree.leaves(output_shape(model, trained.params, trained.state, x))
    if len(found) != 1 or found[0].ndim < 2:  # one number for each row may be the class itself
        return
    outputs = found[0].shape[-1]
    if len(classes) > (most := max(outputs, 2)):
        raise ValueError(
            f"{where}: expected the names of at most {most} classes of a model with outputs (…, {outputs}), got "
            f"{len(classes)}"
        )


def classes_as_json(where: str, classes: Sequence[Any] | None) -> list[Any] | None:
    if classes is None:
        return None
    given = np.asarray(classes).tolist() if hasattr(classes, "dtype") else classes
    names = [name.item() if isinstance(name, np.generic) else name for name in given]
    if isinstance(classes, str):
        raise checks.not_one(where, "classes", "a list of texts or numbers", classes)
    for name in names:
        checks.instance(where, "each of classes", name, str | int | float, "a text or a number")
    return json.loads(json.dumps(names))


def notes_as_json(where: str, notes: dict[str, Any] | None) -> dict[str, Any] | None:
    """What somebody writes beside a model, if it comes back from JSON as it went in."""
    if notes is None:
        return None
    checks.instance(where, "notes", notes, dict, "a dict")
    for name, note in notes.items():
        try:
            same = isinstance(name, str) and json.loads(json.dumps(note, allow_nan=False)) == note
        except (TypeError, ValueError):
            same = False
        if not same:
            raise TypeError(
                f"{where}: expected notes that JSON gives back as they were, texts, numbers, None, lists and dicts by "
                f"texts, got {checks.describe_given(note)} at {name!r}; write float(…), list(…) or .tolist()"
            )
    return notes


def scaler_as_json(where: str, scaler: tuple[Scaler, Any] | None) -> tuple[list[Any] | None, content.NamedArrays]:
    """Name, settings and columns of a fitted scaler, and its statistics as arrays of a file."""
    if scaler is None:
        return None, {}
    if not (isinstance(scaler, tuple) and len(scaler) == 2 and isinstance(scaler[0], Scaler)):
        came = "a scaler without its statistics" if isinstance(scaler, Scaler) else checks.describe(scaler)
        raise TypeError(f"{where}: expected scaler=(scaler, scaler.fit(x)), got {came}")
    kind, statistics = scaler[0].kind, scaler[1]
    if kind is None:
        raise TypeError(
            f"{where}: expected a scaler of fnn.data, whose name and settings can be written; got one of yours"
        )
    fits = data.scaling.from_kind(kind)[1]
    if not isinstance(statistics, fits):
        raise TypeError(
            f"{where}: expected scaler=(scaler, scaler.fit(x)) with {fits.__name__} of a {kind[0]} scaler, got "
            f"{type(statistics).__name__}; fit this scaler, or write {fits.__name__}({', '.join(fits._fields)})"
        )
    arrays = {f"scaler.{name}": content.storable(name, value) for name, value in statistics._asdict().items()}
    return [kind[0], [float(setting) for setting in kind[1]], list(statistics.columns)], arrays


def scaler_from_json(kind: list[Any] | None, arrays: content.NamedArrays) -> tuple[Scaler, PyTree] | None:
    if kind is None:
        return None
    scaler, fits = data.scaling.from_kind((kind[0], tuple(kind[1])))
    statistics = fits(*(arrays[f"scaler.{name}"] for name in fits._fields))
    statistics.columns = tuple(kind[2]) if len(kind) > 2 else ()  # older files do not know them
    return scaler, statistics
