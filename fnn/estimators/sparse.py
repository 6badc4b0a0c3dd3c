"""Sparse matrices as a run reads them: the entries of every row, made dense a batch at a time inside the program."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Layer
from fnn.typing import Array, Key, PyTree


class Entries(NamedTuple):
    """Rows of a matrix by their entries: the `columns` and the `values`, (rows, most of a row); zeros fill them up."""

    columns: Any
    values: Any


def entries_of(x: Any) -> Any:
    """The entries of a sparse matrix by rows; a dense array where that is no larger."""
    x = x if x.has_canonical_format else x.copy()
    x.sum_duplicates()
    counts = np.diff(x.indptr)
    # A power of two, so that matrices of nearly the same rows share a program.
    most = 2 ** int(max(counts.max(initial=1) - 1, 0)).bit_length()
    if 2 * most >= x.shape[1]:
        return x.toarray()
    rows = np.repeat(np.arange(x.shape[0]), counts)
    places = np.arange(x.indptr[-1]) - np.repeat(x.indptr[:-1], counts)
    found = Entries(np.zeros((x.shape[0], most), np.int32), np.zeros((x.shape[0], most), x.dtype))
    found.columns[rows, places], found.values[rows, places] = x.indices, x.data
    return found


def of_entries(model: Layer, width: int) -> Layer:
    """The model as a function of the `Entries` of matrices of `width` columns; its parameters are its own."""

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        return model.init(key, jax.ShapeDtypeStruct((x.values.shape[0], width), x.values.dtype))

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        return model.apply(params, state, _dense(x, width), key=key, train=train)

    again, over_rows = model.rebuild, model.facts.over_rows
    rebuild = None if again is None else lambda parts: of_entries(again(parts), width)
    own = over_rows and (lambda where: of_entries(over_rows(where), width))
    return model._replace(init=init, apply=apply, rebuild=rebuild, facts=model.facts._replace(over_rows=own))


def _dense(x: Entries, width: int) -> Array:
    rows = jnp.arange(x.values.shape[0])[:, None]
    return jnp.zeros((x.values.shape[0], width), x.values.dtype).at[rows, x.columns].add(x.values)
