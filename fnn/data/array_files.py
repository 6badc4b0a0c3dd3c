"""Batches in NumPy archives, one file for each."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from fnn import checks

NAMES = ("x", "y", "weights")
"""The arrays of a file, in the order in which a batch has them."""


@dataclasses.dataclass(frozen=True)
class ArrayFiles:
    """A stream of files: `x`, `y` where there are `targets`, and `weights` where a file has them.

    Called with the number of an epoch, it reads them in the order in which they were given.
    """

    paths: tuple[str | os.PathLike[str], ...]
    targets: bool

    def __len__(self) -> int:
        return len(self.paths)

    def __call__(self, epoch: int = 0) -> Iterator[tuple[np.ndarray, ...]]:
        for path in self.paths:
            yield self._read(path)

    def _read(self, path: str | os.PathLike[str]) -> tuple[np.ndarray, ...]:
        try:
            with open(path, "rb") as file:
                parts = np.load(file, allow_pickle=False)
                found: dict[str, np.ndarray] = {} if isinstance(parts, np.ndarray) else dict(parts)
        except OSError:
            raise
        except Exception as error:  # whatever a damaged archive makes of its reader
            raise checks.not_readable("numpy.load", path, "archive of numpy.savez", error) from error
        wanted = NAMES[: 1 + self.targets]
        if not set(wanted) <= set(found) <= set(NAMES):
            raise ValueError(
                f"{path}: expected the arrays {' and '.join(wanted)}, and weights where rows have them, got "
                f"{', '.join(found) or 'one array without a name'}; write numpy.savez(path, x=x, y=y)"
            )
        return tuple(found[name] for name in NAMES if name in found)


def are_files(data: Any) -> bool:
    return isinstance(data, list) and bool(data) and all(isinstance(one, (str, os.PathLike)) for one in data)
