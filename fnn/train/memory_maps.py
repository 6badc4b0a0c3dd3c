"""Arrays that stay in their files: memory maps, read by the rows of one batch after another."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from fnn import checks
from fnn.layer import Padded
from fnn.train import rows as rows_
from fnn.train.identity import digest_of
from fnn.train.processes import require_same, together
from fnn.train.sharding import own_places, round_up
from fnn.train.stream import Stream, is_stream
from fnn.typing import PyTree

AROUND = 2**16
"""Bytes that the system maps for a row, however short it is."""

HELD_BYTES = 2**25
"""Bytes that are mapped before they are given back."""


class MappedFiles(NamedTuple):
    """Inputs in files, targets and weights in memory."""

    x: PyTree
    targets: Any
    weights: Any

    def stream(self, where: str, order: Callable[[int], np.ndarray], size: int, mesh: Mesh | None) -> Stream:
        """The rows in the order of an epoch, so many at a time or what the mesh divides, of which each of several
        processes reads those of its own places; places that the last batch lacks hold rows that do not count. Targets
        are encoded already, and read by the numbers of their rows. What was read does not stay in memory, and the next
        batch is written over it."""
        rows_.check_padded(where, self.x)  # lengths lie in memory: a batch would name their places in itself
        size = round_up(mesh, size)
        own = own_places(mesh, size) if mesh is not None and together(mesh) else None
        last = np.arange(0)  # rows of the batch read last

        def batches(epoch: int) -> Iterator[tuple[Any, ...]]:
            nonlocal last
            rows, read, leaves = order(epoch), 0, jax.tree.map(_Rows, self.x)
            for first in range(0, len(rows), size):
                places = first + (np.arange(min(size, len(rows) - first)) if own is None else own)
                last = chosen = rows[places % len(rows)]
                x = jax.tree.map(lambda leaf: leaf.take(chosen), leaves)
                read += sum(max(leaf.nbytes, AROUND * len(chosen)) for leaf in jax.tree.leaves(x))
                if read > HELD_BYTES:
                    jax.tree.map(_let_go, self.x)
                    read = 0
                weights = None if self.weights is None else self.weights[chosen]
                if own is not None:
                    weights = np.where(places < len(rows), np.float32(1) if weights is None else weights, np.float32(0))
                yield x, chosen, *(() if weights is None else (weights,))

        return Stream(
            where, batches, lambda rows: jax.tree.map(lambda leaf: leaf[rows], self.targets), lambda row: int(last[row])
        )

    def with_weights(self) -> MappedFiles:
        """A weight for every row, as rows that are chosen have in arrays."""
        if self.weights is not None:
            return self
        return self._replace(weights=np.ones(rows_.count(self.targets), np.float32))

    def describe(self, rows: np.ndarray) -> str:
        """What is said of these rows where runs are compared: all of the inputs would be another pass over them."""
        total = rows_.count(self.targets)
        some = np.linspace(0, total - 1, min(total, 64)).astype(int)
        seen = jax.tree.map(lambda leaf: np.asarray(leaf[some]), self.x)
        return digest_of((seen, self.targets, self.weights, rows))


class _Rows:
    """Rows of an array, taken into memory that is allocated once: new pages cost as much as what is written to them."""

    def __init__(self, leaf: Any) -> None:
        self.leaf, self.memory = leaf, np.empty(0)
        if type(leaf) is np.memmap:
            self.leaf = leaf.view(np.ndarray)  # every array a memmap gives is told of its file

    def take(self, rows: np.ndarray) -> np.ndarray:
        if type(self.leaf) is not np.ndarray:
            return np.asarray(self.leaf[rows])
        if len(self.memory) < len(rows):
            self.memory = np.empty((len(rows), *self.leaf.shape[1:]), self.leaf.dtype)
        # All of them are there: "clip" writes without a copy between.
        return np.take(self.leaf, rows, axis=0, out=self.memory[: len(rows)], mode="clip")


def is_mapped(data: Any) -> bool:
    """Whether data are `(x, …)` with inputs in a memory map."""
    given = isinstance(data, (tuple, list)) and not isinstance(data, Padded) and len(data) in (2, 3)
    return given and holds_maps(data[0])


def holds_maps(x: Any) -> bool:
    """Whether some of the inputs are in a memory map."""
    return any(isinstance(leaf, np.memmap) for leaf in jax.tree.leaves(x))


def require_same_kinds(where: str, mesh: Mesh | None, **given: Any) -> None:
    """An error in every process, before anything is read, where one of them gives data of another kind."""
    given_whole = all(map(checks.is_concrete, jax.tree.leaves(given, is_leaf=is_stream)))
    if not together(mesh) or not given_whole or not checks.are_known():
        return
    require_same(where, mesh, {"settings": {n: _kind(data) for n, data in given.items()}, "arrays": {}, "programs": {}})


def _kind(data: Any) -> str:
    if data is None:
        return "none"
    return "a stream" if is_stream(data) else "memory maps" if is_mapped(data) else "arrays"


def without_inputs(where: str, data: Any) -> tuple[Any, ...]:
    """The data with one small number per row in place of the inputs: what looks at rows and targets alone takes it."""
    return np.zeros(rows_.count(data[0], where), np.int8), *data[1:]


def map_files(data: Any, checked: tuple[Any, Any, Any]) -> MappedFiles:
    """Inputs as they were given, targets and weights as they were checked."""
    return MappedFiles(data[0], *jax.tree.map(np.asarray, checked[1:]))


def _let_go(leaf: np.ndarray) -> None:
    """Give the pages back that were read; a map that keeps changes to itself would lose them."""
    pages: Any = leaf
    while isinstance(pages, np.ndarray):
        pages = pages.base
    if isinstance(pages, mmap.mmap) and getattr(leaf, "mode", "c") != "c" and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)
