"""Files that take their place only when they are whole, and archives that hold no more than they are large."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


def write_whole(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file beside its place, then put it there: what stood there is the old file or the new one, never half."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def plain_archive(path: Path) -> Iterator[Any]:
    """The parts of a NumPy archive by name; nothing is unpickled, and no part unpacks to more than stands in the file.

    Of a damaged one comes whatever its readers make of it.
    """
    with path.open("rb") as file, np.load(file, allow_pickle=False) as parts:
        if any(part.file_size != part.compress_size for part in parts.zip.infolist()):
            raise ValueError(f"{path} holds packed parts, which fnn does not write")
        yield parts
