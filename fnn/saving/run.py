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
from fnn.saving.content import Arrays

_KEY_WORDS = {"key<fry>": 2, "key<rbg>": 4, "key<urbg>": 4}


def trained_in(directory: Path, which: str) -> Arrays:
    """The parameters and state of the best or the last epoch, by their keys in a `Trained`.

    Raises:
        ValueError: if the directory holds no checkpoint that can be read.
    """
    checks.one_of("load", "which", which, ("best", "last"))
    paths = sorted(directory.glob("epoch-*.npz"), reverse=True)
    for path in paths:
        found = _read(path)
        if found is None:
            checks.warn(f"load: the checkpoint {path} is damaged; the one before it is read")
            continue
        return _chosen(*found, which)
    what = f"{len(paths)} checkpoints, all damaged" if paths else "no checkpoint (epoch-….npz)"
    raise ValueError(f"load: {directory} holds {what}; give the directory that fit was given as checkpoint, or a file")


def _read(path: Path) -> tuple[Arrays, Arrays | None] | None:
    """All arrays of a run by name, and the parameters that its optimizer evaluates with, if they are others."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as parts:
            arrays = json.loads(parts["run"].tobytes())["identity"]["arrays"]
            found = _unpacked(parts["arrays"], arrays)
            if "evaluated" not in parts:
                return found, None
            params = {name: said for name, said in arrays.items() if name.startswith("train_state.params")}
            return found, _unpacked(parts["evaluated"], params)
    except PermissionError:
        raise
    except Exception:  # whatever a damaged archive makes of its reader
        return None


def _unpacked(packed: np.ndarray, said: dict[str, str]) -> Arrays:
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


def _chosen(arrays: Arrays, evaluated: Arrays | None, which: str) -> Arrays:
    best = which == "best" and arrays.get("best.epoch", -1) >= 0
    prefix = "best.trained" if best else "train_state"
    chosen = arrays if best or evaluated is None else arrays | evaluated
    return {
        name.removeprefix(prefix): array
        for name, array in chosen.items()
        if re.match(re.escape(prefix) + r"\.(params|state)\b", name)
    }
