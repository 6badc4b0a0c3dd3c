"""What most batches of a stream are, seen in a few calls: arrays of the first one's types and forms, finite inputs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fnn.train.rows import first_not_finite
from fnn.typing import PyTree


class PlainForm(NamedTuple):
    """Of each part of a batch `(x, targets[, weights])` its type, its dtype and the shape of a row."""

    types: list[type]
    forms: list[tuple[np.dtype, tuple[int, ...]]]

    def match(self, batch: Any) -> list[np.ndarray] | None:
        """The parts of a batch with which nothing is wrong but perhaps its targets and weights; None where that is not
        known, and words may have to be found."""
        if type(batch) not in (tuple, list) or list(map(type, batch)) != self.types:
            return None
        parts = [np.asarray(part) for part in batch]
        if _forms(parts) != self.forms or {len(part) for part in parts} != {len(parts[0]) or None}:
            return None
        return parts if first_not_finite(parts[0]) is None else None


def plain_form(batch: Any, x: PyTree) -> PlainForm | None:
    """That of a first batch, where its parts are arrays of numbers, no masked ones and no tables, and its inputs are
    those of `x` as they came."""
    types = list(map(type, batch))
    other = lambda one: issubclass(one, dict | tuple | list) or (issubclass(one, np.ndarray) and one is not np.ndarray)  # noqa: E731
    if any(other(one) or hasattr(one, "columns") for one in types):
        return None
    parts = [np.asarray(part) for part in batch]
    if parts[0].dtype != getattr(x, "dtype", None) or any(not p.ndim or p.dtype.kind not in "fiub" for p in parts):
        return None
    return PlainForm(types, _forms(parts))


def _forms(parts: list[np.ndarray]) -> list[tuple[np.dtype, tuple[int, ...]]]:
    return [(part.dtype, part.shape[1:]) for part in parts]
