"""Checkpoints of a run: one file after every epoch, read back to go on exactly where the run stopped.

A file is a NumPy archive, whose parts carry checksums, and takes its place only when it is whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.files import write_whole
from fnn.train.identity import Identity, differences, warn_of_environment
from fnn.train.sharding import put
from fnn.typing import Array, PyTree

KEPT = 2
"""Files in a directory: if the newest is damaged, the one before it is read."""

Table = list[dict[str, float]]


class Found(NamedTuple):
    """What a checkpoint holds: the arrays of a run and its history, one row per epoch."""

    arrays: PyTree
    table: Table


class Store(NamedTuple):
    """`save(arrays, table)` and `restore(like) -> Found`, None if there is nothing yet."""

    save: Callable[[PyTree, Table], None]
    restore: Callable[[PyTree], Found | None]


def store_of(directory: str | Path | None, identity: Callable[[], Identity]) -> Store:
    """The checkpoints of the run that has this identity; no directory keeps nothing."""
    if directory is None:
        return Store(lambda arrays, table: None, lambda like: None)
    place, own = Path(directory), identity()
    place.mkdir(parents=True, exist_ok=True)

    def save(arrays: PyTree, table: Table) -> None:
        parts = {"arrays": _packed(arrays)}
        train_state = arrays.train_state
        if (evaluated := train_state.trained.params) is not train_state.params:
            parts["evaluated"] = _packed(evaluated)  # for those who predict without the optimizer
        if jax.process_index() == 0:
            run = json.dumps({"identity": own, "table": table}).encode()
            _write(place, len(table), parts | {"run": np.frombuffer(run, np.uint8)})

    return Store(save, lambda like: _restore(place, own, like))


def _write(place: Path, epochs: int, parts: dict[str, np.ndarray]) -> None:
    path = place / f"epoch-{epochs:06d}.npz"
    try:
        write_whole(path, lambda file: np.savez(file, **parts))  # type: ignore[arg-type]
        for old in sorted(place.glob("epoch-*.npz"))[:-KEPT]:
            old.unlink()
    except OSError as error:
        checks.warn(f"fit: {path} could not be written: {error.strerror}; what was saved is kept, and training goes on")


def _restore(place: Path, own: Identity, like: PyTree) -> Found | None:
    """The newest checkpoint that can be read; an error if it is of another run."""
    paths = sorted(place.glob("epoch-*.npz"), reverse=True)
    for path in paths:
        found = _read(path, own, like)
        if found is None:
            continue
        for damaged in paths[: paths.index(path)]:
            checks.warn(
                f"fit: the checkpoint {damaged} is damaged; the run goes on from {path.name}, the one before it"
            )
        return found
    if paths:
        raise ValueError(
            f"fit: no checkpoint in {place} can be read, {paths[0].name} is damaged; give another directory, or delete "
            "this one to begin anew"
        )
    return None


def _read(path: Path, own: Identity, like: PyTree) -> Found | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as parts:
            run, packed = json.loads(parts["run"].tobytes()), parts["arrays"]
        saved, table = run["identity"], run["table"]
        if path.stem != f"epoch-{len(table):06d}":
            return None
    except PermissionError:
        raise
    except Exception:  # Whatever a damaged archive makes of its reader.
        return None
    if other := differences(saved, own):
        raise ValueError(
            f"fit: {path} is of another run: {'; '.join(other[:4])}. Give what was given then, or another directory"
        )
    warn_of_environment(saved, own)
    return Found(_unpacked(packed, like), table)


def _packed(tree: PyTree) -> np.ndarray:
    """The bytes of all arrays one after another: a copy, whatever their dtypes."""
    parts = [np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([np.ascontiguousarray(part).reshape(-1).view(np.uint8) for part in parts])


def _unpacked(packed: np.ndarray, like: PyTree) -> PyTree:
    """The arrays that were packed, with the shapes and dtypes of `like` and where its arrays are."""
    begin = 0

    def leaf(like: Array) -> Array:
        nonlocal begin
        kind = jax.eval_shape(jax.random.key_data, like) if _is_key(like) else like
        end = begin + kind.size * kind.dtype.itemsize
        array, begin = jnp.asarray(packed[begin:end].view(kind.dtype).reshape(kind.shape)), end
        array = jax.random.wrap_key_data(array, impl=jax.random.key_impl(like)) if _is_key(like) else array
        return put(array, like.sharding) if len(like.sharding.device_set) > 1 else array  # type: ignore[arg-type]

    return jax.tree.map(leaf, like)


def _is_key(leaf: Array) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))
