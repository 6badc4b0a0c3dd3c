"""Checkpoints of a run: a file after an epoch or after some steps, read back to go on exactly where the run stopped.

A file is a NumPy archive, whose parts carry checksums, and takes its place only when it is whole.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fnn import checks
from fnn.files import plain_archive, write_whole
from fnn.kernels import placement
from fnn.train.identity import Identity, differences, holds_other_parts, warn_of_environment
from fnn.train.processes import attempt_in_all, gather, tell_all, together
from fnn.train.sharding import shard
from fnn.train.stopping import EarlyStopping
from fnn.typing import Array, PyTree
from fnn.versions import __version__

__all__ = ["Checkpoints", "checkpoints"]


class Record(NamedTuple):
    """What a run has done: a row of the history per epoch, its steps until the end of each, where the streams stood
    then that it reads, and the steps that it took since."""

    table: list[dict[str, float]]
    ends: list[int]
    streams: Any = None
    place: int = 0

    @property
    def steps(self) -> int:
        """Steps until the end of the last epoch."""
        return self.ends[-1] if self.ends else 0


class Checkpoints(NamedTuple):
    """Where a run is saved, how often, and what is kept of it: see `checkpoints`."""

    directory: Path
    keep: int = 2
    every: int = 1
    best: bool = False
    steps: int | None = None


def checkpoints(
    directory: str | Path, *, keep: int = 2, every: int = 1, best: bool = False, steps: int | None = None
) -> Checkpoints:
    """Where `fit` saves a run, for `fit(…, checkpoint=)`; a path alone stands for the defaults.

    Args:
        directory: made if it is not there.
        keep: files of the last epochs that are kept. Two, so that if the newest is damaged the one before it is read.
        every: epochs from one file to the next; the last epoch of a run is saved in any case.
        best: also save and keep the best epoch so far: by what early stopping watches, else by the validation loss,
            else by the loss.
        steps: of the run, from one file to the next within an epoch; the last `keep` of these are kept too. A run that
            goes on from one reads the batches of its epoch before it again, and does not compute them. None saves
            whole epochs alone.

    Example:
        >>> import fnn
        >>> fnn.checkpoints("runs/first", keep=3, every=10, best=True).every
        10
    """
    checks.instance("checkpoints", "directory", directory, str | os.PathLike, "the path of a directory")
    checks.integer("checkpoints", "keep", keep)
    checks.integer("checkpoints", "every", every)
    if steps is not None:
        checks.integer("checkpoints", "steps", steps)
    return Checkpoints(Path(directory), keep, every, best, steps)


class Store:
    """The checkpoints of the run of this identity; of several processes that compute it process 0 writes and reads."""

    def __init__(
        self, given: str | Path | Checkpoints, rule: EarlyStopping | None, own: Identity, mesh: Mesh | None = None
    ) -> None:
        self.asked = given if isinstance(given, Checkpoints) else checkpoints(given)
        self.rule, self.own, self.mesh = rule, own, mesh
        self.processes = placement.hosts() if together(mesh) else 1
        self.writes = jax.process_index() == 0 or self.processes == 1

    def save(self, arrays: PyTree, record: Record, last: bool = False) -> None:
        """Write what is due at the end of an epoch, or what is given within one."""
        table, asked = record.table, self.asked
        best, epochs = _best_epoch(table, self.rule) if asked.best and table else 0, len(table)
        written = epochs % asked.every == 0 or best == epochs
        if not record.place and written == last:  # there already, or not due
            return
        parts = {"arrays": _pack(arrays)}
        train_state = arrays.train_state
        if (evaluated := train_state.trained.params) is not train_state.params:
            parts["evaluated"] = _pack(evaluated)  # for those who predict without the optimizer
        if self.writes:
            run = json.dumps({"identity": self.own, **record._asdict()}).encode()
            _write(asked, _file(record), best, parts | {"run": np.frombuffer(run, np.uint8)})

    def restore(self, like: PyTree) -> tuple[Any, Record] | None:
        """Arrays where those of `like` are, and record; None where nothing is saved."""
        find = lambda: _find(self.asked.directory, self.own, self.processes) if self.writes else None  # noqa: E731
        found = attempt_in_all(self.mesh, "fit: the checkpoint", find)
        record = gather(self.mesh, found and found[1])[0]
        if record is None:
            return None
        return _unpack(tell_all(self.mesh, found[0] if found else _pack(like)), like), Record(**record)


def _best_epoch(table: list[dict[str, float]], rule: EarlyStopping | None) -> int:
    """Its number from 1, 0 where no score is finite."""
    name = rule.monitor if rule else "validation_loss" if "validation_loss" in table[0] else "loss"
    sign = -1 if rule and rule.mode == "max" else 1
    scores = [sign * row[name] if math.isfinite(row[name]) else math.inf for row in table]
    return 1 + scores.index(min(scores)) if min(scores) < math.inf else 0


def _stem(epochs: int) -> str:
    return f"epoch-{epochs:06d}"


def _file(record: Record) -> str:
    """By the epochs that are whole, then by the steps since: sorted by name, the newest is last."""
    return _stem(len(record.table)) + (f".step-{record.place:09d}.npz" if record.place else ".npz")


def _write(asked: Checkpoints, name: str, best: int, parts: dict[str, np.ndarray]) -> None:
    path = asked.directory / name
    try:
        write_whole(path, lambda file: np.savez(file, **parts))  # type: ignore[arg-type]
        within = sorted(asked.directory.glob("epoch-*.step-*.npz"))
        whole = sorted({*asked.directory.glob("epoch-*.npz")} - {*within})
        for old in whole[: -asked.keep] + within[: -asked.keep]:
            if old.stem != _stem(best):
                old.unlink(missing_ok=True)
    except OSError as error:
        checks.warn(f"fit: {path} could not be written: {error.strerror}; what was saved is kept, and training goes on")


def _find(place: Path, own: Identity, processes: int) -> tuple[np.ndarray, dict[str, Any]] | None:
    """Bytes and record of the newest checkpoint that can be read; an error if it is of another run."""
    place.mkdir(parents=True, exist_ok=True)
    paths = sorted(place.glob("epoch-*.npz"), reverse=True)
    for number, path in enumerate(paths):
        if (found := _read(path, own, processes)) is not None:
            for damaged in paths[:number]:
                said = f"the run goes on from {path.name}, the one before it"
                checks.warn(f"fit: the checkpoint {damaged} is damaged; {said}")
            return found
    if paths:
        raise ValueError(
            f"fit: no checkpoint in {place} can be read, {paths[0].name} is damaged; give another directory, or delete "
            "this one to begin anew"
        )
    return None


def _read(path: Path, own: Identity, processes: int) -> tuple[np.ndarray, dict[str, Any]] | None:
    try:
        with plain_archive(path) as parts:
            run, packed = {"place": 0} | json.loads(parts["run"].tobytes()), parts["arrays"]
        saved, version = run["identity"], run["identity"]["environment"]["fnn"]
        if path.name != _file(Record(run["table"], [], place=run["place"])):
            return None
    except PermissionError:
        raise
    except Exception:  # Whatever a damaged archive makes of its reader.
        return None
    if run.keys() != {"identity", *Record._fields} or holds_other_parts(saved, own):
        raise ValueError(
            f"fit: {path} was written by another version of fnn (it says {version}, this one is {__version__}), whose "
            f"runs hold other things. Go on with that version, or give another directory: fnn.load({str(path.parent)!r}"
            ", like=) still reads what was trained, and fit(start=) begins with it"
        )
    if other := differences(saved, own):
        raise ValueError(
            f"fit: {path} is of another run: {'; '.join(other[:4])}. Give what was given then, or another directory"
            f"{_of_other_processes(run['streams'], processes)}"
        )
    warn_of_environment(saved, own)
    return packed, {name: run[name] for name in Record._fields}


def _of_other_processes(streams: dict[str, Any] | None, now: int) -> str:
    """A list that is split over processes is another one in each of them where there are more or fewer."""
    then = next((len(place["parts"]) for place in (streams or {}).values()), now)
    if then == now:
        return ""
    return (
        f". Processes then: {then}, now: {now}; a list that is split over them goes on in as many: start {then}, or "
        "begin anew with a stream that takes the epoch, which goes on in any number"
    )


def _pack(tree: PyTree) -> np.ndarray:
    """The bytes of all arrays one after another: a copy, whatever their dtypes."""
    parts = [np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([np.ascontiguousarray(part).reshape(-1).view(np.uint8) for part in parts])


def _unpack(packed: np.ndarray, like: PyTree) -> PyTree:
    """The arrays that were packed, with the shapes and dtypes of `like` and where its arrays are."""
    begin = 0

    def leaf(like: Array) -> Array:
        nonlocal begin
        kind: Any = jax.eval_shape(jax.random.key_data, like) if _is_key(like) else like
        end = begin + kind.size * kind.dtype.itemsize
        array, begin = jnp.asarray(packed[begin:end].view(kind.dtype).reshape(kind.shape)), end
        array = jax.random.wrap_key_data(array, impl=jax.random.key_impl(like)) if _is_key(like) else array
        return shard(array, like.sharding) if len(like.sharding.device_set) > 1 else array  # type: ignore[arg-type]

    return jax.tree.map(leaf, like)


def _is_key(leaf: Array) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))
