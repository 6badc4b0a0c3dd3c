"""Trained models in files: one safetensors file that carries a digest of its content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.data.scaling import Scaler
from fnn.diagnostics import summary
from fnn.layer import Layer
from fnn.layer.arguments import example, params_and_state
from fnn.layer.naming import key_of, owner_of
from fnn.saving import content
from fnn.saving.metadata import classes_as_json, notes_as_json, require_outputs, scaler_as_json, scaler_from_json
from fnn.saving.run import read_trained
from fnn.train.sharding import shard
from fnn.train.trained import Trained, as_trained, fits_shape
from fnn.versions import __version__

__all__ = ["Metadata", "load", "read_metadata", "save"]

FORMAT = 1
_KEYS = {"format", "fnn", "jax", "description", "paths", "scaler", "classes"}
"""Of every file; "notes" came later."""


class Metadata(NamedTuple):
    """What a file says beside the arrays of the model.

    - `description`: the model as a table, or as the calls that built it.
    - `fnn`, `jax`: the versions that wrote it.
    - `scaler`: `(scaler, statistics)`; `classes`: their names; `notes`: a dict of yours. None where none was given.

    Example:
        >>> import fnn
        >>> fnn.Metadata("dense(2)", "0.1.0", "0.10.2").classes is None
        True
    """

    description: str
    fnn: str
    jax: str
    scaler: tuple[Scaler, Any] | None = None
    classes: tuple[Any, ...] | None = None
    notes: dict[str, Any] | None = None


def save(
    path: str | Path,
    trained: Trained,
    *,
    model: Layer | None = None,
    x: Any = None,
    scaler: tuple[Scaler, Any] | None = None,
    classes: Sequence[Any] | None = None,
    notes: dict[str, Any] | None = None,
) -> None:
    """Write a trained model into one safetensors file, which any program that reads safetensors can read.

    Arrays keep their dtypes, but that numbers and NumPy arrays are written in the one JAX computes with, float32 for
    float64 without x64; their names are flat, "params.2.dense.kernel". The file takes its place only when it is
    whole; if it cannot be written, what stood there is kept.

    Args:
        path: of the file, "model.safetensors".
        trained: its `Trained(params, state)`, or a `TrainState`: what its optimizer evaluates with.
        model: the model, for the names of its layers and a description in the file.
        x: an input of the model, or its shape: the description is then `fnn.summary`'s table.
        scaler: `(scaler, statistics)` of the features, of `fnn.data.standard_scaler` or `min_max_scaler`.
        classes: the names of the classes in the order of their numbers, texts or numbers.
        notes: what else belongs to it, as JSON holds it: names of columns, a vocabulary, scores.

    Raises:
        ValueError, TypeError: for what the format cannot hold, naming it.

    Example:
        >>> import jax, jax.numpy as jnp, fnn, os, tempfile
        >>> model, x = fnn.serial(fnn.dense(4), fnn.relu, fnn.dense(2)), jnp.ones((1, 3))
        >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
        >>> fnn.save(path, fnn.Trained(*model.init(jax.random.key(0), x)), model=model)
        >>> fnn.load(path, like=(model, x)).params[2]["kernel"].shape
        (4, 2)
    """
    leaves = jax.tree.leaves_with_path(as_trained("save", trained))
    places = [jax.tree_util.keystr(place) for place, _ in leaves]
    names = [_flat_name(model, place) for place, _ in leaves]
    if len(set(names)) < len(names):  # a key with a dot in it reads like two
        names = places
    arrays = {
        name: content.storable(name, content.canonical("save", name, leaf))
        for name, (_, leaf) in zip(names, leaves, strict=True)
    }
    if classes is not None and model is not None and x is not None:
        require_outputs("save", classes, model, as_trained("save", trained), example(x))
    kind, statistics = scaler_as_json("save", scaler)
    about = {
        "format": FORMAT,
        "fnn": __version__,
        "jax": jax.__version__,
        "description": "" if model is None else repr(model) if x is None else str(summary(model, x)),
        "paths": dict(zip(names, places, strict=True)),
        "scaler": kind,
        "classes": classes_as_json("save", classes),
        "notes": notes_as_json("save", notes),
    }
    content.write(path, arrays | statistics, about)


def load(path: str | Path, like: Any, *, which: str = "best") -> Trained:
    """Read what `fnn.save` wrote, or what a run has saved so far. Nothing in the file is executed.

    Args:
        path: of the file, or the directory that `fit` was given as `checkpoint`.
        like: what it must fit: `(model, x)`, the model with an input or its shape, or a `Trained` of arrays or
            `jax.ShapeDtypeStruct`s. Arrays that lie on several devices say where those read will lie.
        which: of a directory, the "last" epoch or the "best": that of early stopping, without it the one of those kept
            with the smallest loss, on validation rows if there are any.

    Returns:
        `Trained(params, state)`, every array in the dtype in which it was saved.

    Raises:
        ValueError: for a file that is damaged or not of `fnn.save`, or of another model, naming the layers that differ.

    Example:
        >>> import jax, jax.numpy as jnp, fnn, os, tempfile
        >>> path, model = os.path.join(tempfile.mkdtemp(), "model.safetensors"), fnn.dense(2)
        >>> fnn.save(path, fnn.Trained(*model.init(jax.random.key(0), jnp.ones((1, 3)))))
        >>> trained = fnn.load(path, like=(model, (1, 3)))
        >>> fnn.predict(model, trained, jnp.ones((5, 3))).shape
        (5, 2)
    """
    expected, other, model = _read_like(like)
    if Path(path).is_dir():
        saved, description = read_trained(Path(path), which), ""
        names = {place: place.removeprefix(".") for place in saved}
    else:
        arrays, about = _read(path)
        saved, description = {place: arrays[name] for name, place in about["paths"].items()}, about["description"]
        names = {place: name for name, place in about["paths"].items()}
    wrong = _differences(expected, other, model, saved, names)
    if wrong:
        written = f"\nIt was saved from\n{description}" if description else ""
        raise ValueError(f"load: {path} is of another model: {checks.first_few(wrong)}{written}")

    def put_leaf(place: Any, leaf: Any) -> jax.Array:
        array = jnp.asarray(saved[jax.tree_util.keystr(place)])
        return shard(array, leaf.sharding) if len(getattr(leaf.sharding, "device_set", ())) > 1 else array

    return jax.tree.map_with_path(put_leaf, expected)


def read_metadata(path: str | Path) -> Metadata:
    """What a file of `fnn.save` says beside the arrays: description, versions, scaler, class names and notes.

    Raises:
        ValueError: for a file that is damaged or not of `fnn.save`.

    Example:
        >>> import jax.numpy as jnp, fnn, os, tempfile
        >>> path, scaler = os.path.join(tempfile.mkdtemp(), "model.safetensors"), fnn.data.standard_scaler()
        >>> fitted = scaler, scaler.fit(jnp.array([[1.0], [3.0]]))
        >>> fnn.save(path, fnn.Trained((), ()), scaler=fitted, classes=["cat", "dog"], notes={"columns": ["age"]})
        >>> about = fnn.read_metadata(path)
        >>> scaler, statistics = about.scaler
        >>> scaler.transform(statistics, jnp.array([[4.0]])).tolist(), about.classes[1], about.notes
        ([[2.0]], 'dog', {'columns': ['age']})
    """
    arrays, about = _read(path)
    classes = None if about["classes"] is None else tuple(about["classes"])
    scaler, notes = scaler_from_json(about["scaler"], arrays), about.get("notes")
    return Metadata(about["description"], about["fnn"], about["jax"], scaler, classes, notes)


def _read(path: str | Path) -> tuple[content.NamedArrays, dict[str, Any]]:
    arrays, about = content.read(Path(path))
    described = isinstance(about, dict) and set(about) >= _KEYS and isinstance(about["paths"], dict)
    if not described or not set(about["paths"]) <= set(arrays):
        raise checks.not_written_by("load", path, "fnn.save", "its description is another one")
    if about["format"] != FORMAT:
        raise ValueError(f"load: {path} was written by fnn {about['fnn']}, which is newer; install that version")
    return arrays, about


def _read_like(like: Any) -> tuple[Trained, Trained, Layer | None]:
    """What a file must hold: shapes, the same for inputs of another number of rows, and the model, if it is known."""
    if isinstance(like, Layer):
        raise TypeError(f"load: expected like to be (model, x), got {checks.describe(like)} alone; x may be a shape")
    if not (isinstance(like, tuple) and len(like) == 2 and isinstance(like[0], Layer)):
        trained = as_trained("load, like", like)
        shapes = jax.tree.map(
            lambda a: a if hasattr(a, "sharding") else jax.eval_shape(lambda: jnp.asarray(a)), trained
        )
        return shapes, shapes, None
    model, x = like[0], example(like[1])

    def shapes_for(more: int) -> Trained:
        rows = jax.tree.map(lambda a: jax.ShapeDtypeStruct((a.shape[0] + more, *a.shape[1:]), a.dtype), x)
        return Trained(*params_and_state(jax.eval_shape(model.init, jax.random.key(0), rows)))

    return shapes_for(0), shapes_for(1), model


def _differences(
    expected: Trained, other: Trained, model: Layer | None, saved: content.NamedArrays, names: dict[str, str]
) -> list[str]:
    """What the file has not, has otherwise and has beyond the model, each with its layer."""
    leaves = jax.tree.leaves_with_path(expected)
    said, known = [], set()
    for (path, leaf), varying in zip(leaves, jax.tree.leaves(other), strict=True):
        place = jax.tree_util.keystr(path)
        known.add(place)
        if complaint := _complaint(leaf, varying, saved.get(place)):
            said.append(f"{_label(model, path)} {complaint}")
    return said + [
        f"{names[p]} is {checks.describe(saved[p])} there, not in the model" for p in saved if p not in known
    ]


def _complaint(leaf: Any, other: Any, came: np.ndarray | None) -> str | None:
    if came is None:
        return f"is {checks.describe(leaf)}, not in the file"
    fits = fits_shape(came.shape, leaf.shape, other.shape)  # the state of a stateful layer follows the batch
    wide = came.dtype != jax.dtypes.canonicalize_dtype(came.dtype)
    if fits and leaf.dtype == came.dtype and not wide:
        return None
    text = f"is {checks.describe(leaf)}, {checks.describe(came)} in the file"
    if wide:
        return f'{text}; write jax.config.update("jax_enable_x64", True)'
    return f"{text}; give like= in the dtype of the file, and cast what is read" if fits else text


def _label(model: Layer | None, path: tuple[Any, ...]) -> str:
    if model is None:
        return _flat_name(None, path)
    what = key_of(path[0])
    return owner_of(model, path[1:], Trained._fields.index(what)).text(what)


def _flat_name(model: Layer | None, path: tuple[Any, ...]) -> str:
    """`params.2.dense.kernel`: the places that lead to the layer, the word it is called by, the name in the layer."""
    if model is None:
        return jax.tree_util.keystr(path, simple=True, separator=".")
    what = key_of(path[0])
    owner = owner_of(model, path[1:], Trained._fields.index(what))
    own = [jax.tree_util.keystr((key,), simple=True) for key in owner.own]
    return ".".join([what, *map(str, owner.numbers), owner.layer.name.partition("(")[0], *own])
