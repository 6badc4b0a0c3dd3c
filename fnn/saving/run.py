"""What a run has saved in its checkpoint directory, read for prediction."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.files import plain_archive
from fnn.saving.content import NamedArrays

_KEY_WORDS = {"key<fry>": 2, "key<rbg>": 4, "key<urbg>": 4}


def read_trained(directory: Path, which: str) -> NamedArrays:
    """The parameters and state of the best or the last epoch, by their keys in a `Trained`."""
    checks.one_of("load", "which", which, ("best", "last"))
    paths = sorted(directory.glob("epoch-*.npz"), reverse=True)
    newest = _first_whole(paths)
    if newest is None:
        what = f"{len(paths)} checkpoints, all damaged" if paths else "no checkpoint (epoch-….npz)"
        raise ValueError(
            f"load: {directory} holds {what}; give the directory that fit was given as checkpoint, or a file"
        )
    arrays, table = newest
    if which == "best" and arrays.get("best.epoch", -1) >= 0:
        return _under("best.trained", arrays)
    chosen = _first_whole(_by_score(paths, table)) if which == "best" else newest
    return _under("train_state", (chosen or newest)[0])


def _first_whole(paths: list[Path]) -> tuple[NamedArrays, list[dict[str, float]]] | None:
    for path in paths:
        found = _read(path)
        if found is not None:
            return found
        checks.warn(f"load: the checkpoint {path} is damaged; another one is read")
    return None


def _by_score(paths: list[Path], table: list[dict[str, float]]) -> list[Path]:
    """The files of the epochs with the smallest loss first, on validation rows if there are any."""
    if not table:  # in the middle of the first one
        return []
    name = "validation_loss" if "validation_loss" in table[0] else "loss"
    losses = {f"epoch-{epoch:06d}": row[name] for epoch, row in enumerate(table, 1)}
    finite = [path for path in paths if math.isfinite(losses.get(path.stem, math.nan))]
    return sorted(finite, key=lambda path: losses[path.stem])


def _read(path: Path) -> tuple[NamedArrays, list[dict[str, float]]] | None:
    """All arrays of a run by name, its parameters as the optimizer evaluates with them, and its history."""
    try:
        with plain_archive(path) as parts:
            run = json.loads(parts["run"].tobytes())
            said = run["identity"]["arrays"]
            found = _unpack(parts["arrays"], said)
            if "evaluated" in parts:
                params = {name: text for name, text in said.items() if name.startswith("train_state.params")}
                found |= _unpack(parts["evaluated"], params)
            return found, run["table"]
    except PermissionError:
        raise
    except Exception:  # whatever a damaged archive makes of its reader
        return None


def _unpack(packed: np.ndarray, said: dict[str, str]) -> NamedArrays:
    """Arrays that stand one after another, by what is said of each: "float32[3,4]"."""
    found, begin = {}, 0
    for name, text in said.items():
        kind, sizes = re.fullmatch(r"(.+)\[([\d,]*)\]", text).groups()  # type: ignore[union-attr]
        shape = tuple(int(size) for size in sizes.split(",") if size)
        dtype: Any = jnp.dtype("uint32" if kind in _KEY_WORDS else kind)
        shape += (_KEY_WORDS[kind],) if kind in _KEY_WORDS else ()
        end = begin + math.prod(shape) * dtype.itemsize
        found[name], begin = packed[begin:end].view(dtype).reshape(shape), end
    return found


def _under(prefix: str, arrays: NamedArrays) -> NamedArrays:
    """Those of the parameters and the state, by their keys in a `Trained`."""
    wanted = re.compile(re.escape(prefix) + r"\.(params|state)\b")
    return {name.removeprefix(prefix): array for name, array in arrays.items() if wanted.match(name)}
