"""Trained models as programs that run without fnn: `jax.export`, with what comes before and after the model."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.data.scaling import Scaler
from fnn.data.statistics import require_same_columns
from fnn.files import write_whole
from fnn.layer import Layer
from fnn.layer.arguments import mirror
from fnn.layer.protocol import identity
from fnn.saving.content import canonical
from fnn.saving.metadata import classes_as_json, require_outputs, scaler_as_json
from fnn.tasks import Task
from fnn.train.rows import require_finite
from fnn.train.trained import Trained, apply_trained, as_trained, check_trained
from fnn.typing import PyTree
from fnn.versions import __version__

__all__ = ["Exported", "export", "load_exported"]

MAGIC = b"fnn.export"
_DIGEST = 16
RESOLVED = 1e-4
"""Part of a column's spread that float32 must resolve, as `checks.cast` asks of data."""


@checks.refuse_pickling("read it again from its file, fnn.load_exported(path)")
class Exported(NamedTuple):
    """A program read from a file: call it with inputs.

    - `call(x)`: the predictions of any number of rows.
    - `expects`: its input, for people; `description`, of the model; `classes`: their names, if they were given.

    Example:
        >>> import fnn
        >>> fnn.Exported(lambda x: 2 * x, "float32[batch]", "double")(3)
        6
    """

    call: Callable[[PyTree], PyTree]
    expects: str
    description: str
    classes: tuple[Any, ...] | None = None

    def __call__(self, x: PyTree) -> PyTree:
        return self.call(x)


def export(
    model: Layer,
    trained: Trained,
    x: PyTree,
    task: Task | None = None,
    *,
    path: str | Path,
    scaler: tuple[Scaler, Any] | None = None,
    probabilities: bool = False,
    classes: Sequence[Any] | None = None,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
) -> None:
    """Write a trained model as one program for any number of rows, which runs without fnn and without the model's code.

    The file holds the parameters, the scaling before the model and the decoding after it. `fnn.load_exported(path)`
    reads it, and so does JAX alone: `jax.export.deserialize(open(path, "rb").read()).call(x)`.

    Args:
        model: the layer that was trained.
        trained: its `Trained(params, state)`, or a `TrainState`: what its optimizer evaluates with.
        x: an input, or `jax.ShapeDtypeStruct`s; the first axis becomes any number of rows. Axes that are symbolic
            already (`jax.export.symbolic_shape`) stay as they are, for images or sequences of any size.
        task: decodes the outputs to classes or values; None gives the outputs themselves.
        path: of the file.
        scaler: `(scaler, statistics)`: the program takes features as they were before scaling.
        probabilities: return the task's probabilities in the place of its decisions.
        classes: the names of the classes in the order of their numbers, for `load_exported(path).classes`.
        platforms: for which it is compiled; this machine need not have them.

    Raises:
        ImportError: without flatbuffers, which the extra "export" brings.
        ValueError: for parameters of another model, or a scaled column that float32 does not resolve.

    Example:
        >>> import jax, jax.numpy as jnp, fnn, os, tempfile
        >>> path, model, x = os.path.join(tempfile.mkdtemp(), "model.jax"), fnn.dense(3), jnp.ones((1, 2))
        >>> fnn.export(model, fnn.Trained(*model.init(jax.random.key(0), x)), x, fnn.tasks.multiclass(3), path=path)
        >>> fnn.load_exported(path)(jnp.ones((5, 2))).shape
        (5,)
    """
    # On the host and back: a program for everywhere carries no device of this machine.
    trained = jax.tree.map_with_path(_array, jax.device_get(as_trained("export", trained)))
    kind, _ = scaler_as_json("export", scaler)
    before, after = _before(scaler), _after(task, probabilities)
    shapes = _any_rows(x)

    def forward(x: PyTree) -> PyTree:
        x = before(x)
        check_trained("export", model, trained, x)
        return after(apply_trained(model, trained, x))

    if classes is not None:
        require_outputs("export", classes, model, trained, shapes)
    program = jax.export.export(jax.jit(forward), platforms=tuple(platforms))(shapes)
    checks.package("flatbuffers", "fnn.export", "flatbuffers", "export")
    content = bytes(program.serialize())
    about = {
        "fnn": __version__,
        "jax": jax.__version__,
        "description": repr(model),
        "expects": checks.describe(shapes),
        "classes": classes_as_json("export", classes),
        "columns": kind[2] if kind else [],
    }
    if jax.process_index() == 0:
        write_whole(path, lambda file: file.write(_seal(content, json.dumps(about).encode())))


def load_exported(path: str | Path) -> Exported:
    """Read a program that `fnn.export` wrote into this file, to be called with inputs.

    Raises:
        ValueError: for a file that is damaged or not of `fnn.export`.

    Example:
        >>> import jax, jax.numpy as jnp, fnn, os, tempfile
        >>> path, model, x = os.path.join(tempfile.mkdtemp(), "model.jax"), fnn.dense(3), jnp.ones((1, 2))
        >>> fnn.export(model, fnn.Trained(*model.init(jax.random.key(0), x)), x, path=path)
        >>> fnn.load_exported(path).expects
        'float32[rows,2]'
    """
    content, about = _unseal(Path(path))
    checks.package("flatbuffers", "fnn.load_exported", "flatbuffers", "export")
    program = jax.export.deserialize(bytearray(content))
    columns = tuple(about.get("columns", ()))  # older files do not know them

    def call(x: PyTree) -> PyTree:
        like = jax.tree.unflatten(program.in_tree, program.in_avals)[0][0]
        given: Any = jax.tree.structure(x)
        if given != jax.tree.structure(like):
            raise ValueError(f"{path}: expected {about['expects']}, got {checks.describe(x)}")
        require_same_columns(str(path), columns, x, f"x[{list(columns)}]")
        return program.call(jax.tree.map(lambda a, aval: _check(path, a, aval), x, like))

    classes = None if about["classes"] is None else tuple(about["classes"])
    return Exported(call, about["expects"], about["description"], classes)


def _array(place: Any, leaf: Any) -> jax.Array:
    return jnp.asarray(canonical("export", jax.tree_util.keystr(place, simple=True, separator="."), leaf))


def _any_rows(x: PyTree) -> PyTree:
    """Shapes in which the first axis, unless one is symbolic already, is any number of rows."""
    (rows,) = jax.export.symbolic_shape("rows")
    shapes = mirror(x)
    sizes = [size for a in jax.tree.leaves(shapes) for size in a.shape]
    if not all(isinstance(size, int) for size in sizes):
        return shapes
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct((rows, *a.shape[1:]) if a.shape else (), a.dtype), shapes)


def _before(scaler: tuple[Scaler, Any] | None) -> Callable[[PyTree], PyTree]:
    if scaler is None:
        return identity
    transform, statistics = scaler[0].transform, scaler[1]
    first, second = (np.asarray(part, np.float64) for part in statistics)
    spread = second if scaler[0].kind == ("standard", ()) else second - first
    rounded = np.abs(first) * float(jnp.finfo(jnp.float32).eps)
    coarse = list(map(tuple, np.argwhere((rounded > RESOLVED * spread) & (spread > 0))))
    if coarse and jnp.result_type(float) == np.float32:
        place = coarse[0]
        raise ValueError(
            f"export: column {place[0] if place else 0} lies around {first[place]:.6g} with a spread of "
            f"{spread[place]:.3g}, which float32 does not resolve: the program would see rounded values; subtract a "
            "constant from it before fitting the scaler, and from what the program is given"
        )
    return lambda x: transform(statistics, x)


def _after(task: Task | None, probabilities: bool) -> Callable[[PyTree], PyTree]:
    if not probabilities:
        return identity if task is None else task.decode
    if task is None or task.probabilities is None:
        raise ValueError(f"export: expected a task with classes for probabilities=True, got {task}")
    return task.probabilities


def _check(path: Any, x: Any, aval: Any) -> jax.Array:
    fixed = [size for size in aval.shape if isinstance(size, int)]
    shape = np.shape(x)
    known = len(shape) == len(aval.shape) and all(
        not isinstance(size, int) or size == n for size, n in zip(aval.shape, shape, strict=True)
    )
    if not known:
        raise ValueError(f"{path}: expected {checks.describe(aval)}, got {checks.describe(x)}; sizes {fixed} are fixed")
    if jnp.issubdtype(aval.dtype, jnp.integer) and not jnp.issubdtype(jnp.result_type(x), jnp.integer):
        raise TypeError(f"{path}: expected {checks.describe(aval)}, got {checks.describe(x)}")
    checks.at_least_one(str(path), "row", np.size(x), checks.describe(x))
    given = checks.cast(str(path), "x", x, aval.dtype)
    host = checks.to_host(given)
    if isinstance(host, np.ndarray) and host.ndim:  # a class is a number like any other, also that of NaN
        require_finite(str(path), x, host)
    return given


def _seal(content: bytes, about: bytes) -> bytes:
    """The program, behind it what is said of it and a digest of both: a reader of flatbuffers stops before them."""
    digest = hashlib.blake2b(content + about, digest_size=_DIGEST).digest()
    return content + about + len(about).to_bytes(8, "little") + digest + MAGIC


def _unseal(path: Path) -> tuple[bytes, dict[str, Any]]:
    content = path.read_bytes()
    end = len(content) - len(MAGIC) - _DIGEST - 8
    if end < 0 or content[-len(MAGIC) :] != MAGIC:
        raise ValueError(
            f"load_exported: {path} is cut off or was not written by fnn.export; a program of jax.export is read by "
            "jax.export.deserialize"
        )
    size = int.from_bytes(content[end : end + 8], "little")
    digest = content[end + 8 : end + 8 + _DIGEST]
    if size <= end and hashlib.blake2b(content[:end], digest_size=_DIGEST).digest() == digest:
        # The digest does not hold the size; of another one what is said does not begin here, or not end there.
        with contextlib.suppress(ValueError):
            if content[end - size : end - size + 1] == b"{":
                return content[: end - size], json.loads(content[end - size : end])
    raise checks.not_as_written("load_exported", path)
