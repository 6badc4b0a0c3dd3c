"""What a run is given, checked on the host where it is concrete: no row is both trained on and validated on."""

from __future__ import annotations

import math
import numbers
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, random_bits
from fnn.data.statistics import columns_of_parts, require_columns
from fnn.tasks import Task
from fnn.tasks.targets import are_several
from fnn.train import rows as rows_
from fnn.typing import Array, Key

HOLD_OUT = 0x686F6C64
"""Folded into the run's key for the rows that a fraction holds out."""


class Inputs(NamedTuple):
    """The arrays of a run, checked: data with encoded targets, rows to train on, data and rows to validate on."""

    data: rows_.Checked
    rows: Any
    validation: rows_.Checked | None
    validation_rows: Any

    @property
    def slots(self) -> int:
        """How many row numbers an epoch goes through, empty slots included."""
        return rows_.count(self.data[0]) if self.rows is None else int(self.rows.shape[0])

    def training_rows(self) -> Array:
        return jnp.arange(self.slots) if self.rows is None else self.rows


def check_run(where: str, task: Task, data: Any, rows: Any, validation: Any, key: Key | None = None) -> Inputs:
    """Everything a run is given; `validation` is data, row numbers, or a fraction of the rows drawn by the key."""
    checked = rows_.check_data(where, data, task)
    total = rows_.count(checked[0])
    rows = None if rows is None else rows_.check_rows(where, rows, total)
    held_data, held = None, None
    if _holds_arrays(validation):
        require_columns(f"{where}, validation", columns_of_parts("the data", data), validation)
        held_data = rows_.check_data(f"{where}, validation", validation, task)
        given, came = (str(jax.tree.structure(part[1])) for part in (checked, held_data))
        if given != came:
            raise ValueError(f"{where}, validation: expected targets as in the data, {given}, got {came}")
    elif isinstance(validation, (numbers.Number, str)) or getattr(validation, "ndim", None) == 0:
        rows, held = _split(where, key, checked[1], data[1], rows, _check_fraction(where, validation))
    elif validation is not None:
        held = rows_.check_rows(f"{where}, validation", validation, total)
        rows = _without(where, rows, held, total)
    held_data = checked if held is not None else held_data
    rows_.check_classes(where, checked[1], rows)
    for side, chosen in (("training", rows), ("validation", held)):
        rows_.check_counted(f"{where}, {side} rows", checked[2], chosen)
    return Inputs(checked, rows, held_data, held)


def _holds_arrays(validation: Any) -> bool:
    """Whether it is data: a tuple or list of plain numbers holds row numbers."""
    number = lambda part: isinstance(part, numbers.Number) or getattr(part, "ndim", None) == 0  # noqa: E731
    return isinstance(validation, (tuple, list)) and not all(map(number, validation))


def _without(where: str, rows: Any, held: Any, total: int) -> Any:
    """The rows to train on once the held-out ones are gone; traced row numbers become empty slots."""
    if not checks.is_concrete(held) or not checks.is_concrete(rows):
        is_held = jnp.zeros(total + 1, bool).at[jnp.where(held >= 0, held, total)].set(True).at[total].set(False)
        rows = jnp.arange(total, dtype=jnp.int32) if rows is None else rows
        return jnp.where(is_held[rows], -1, rows)  # An empty slot, -1, reads the last entry.
    host = np.asarray(held)
    if rows is None:
        left = np.setdiff1d(np.arange(total, dtype=np.int32), host)
        if len(left) == 0:
            raise ValueError(f"{where}: validation holds out all {total} rows; none is left to train on")
        return left
    both = np.intersect1d(host[host >= 0], np.asarray(rows))
    if len(both):
        raise ValueError(
            f"{where}: rows {both[:5].tolist()}, {len(both)} in all, are to be trained on and validated on; write "
            "rows=numpy.setdiff1d(rows, validation)"
        )
    return rows


def _check_fraction(where: str, fraction: Any) -> float:
    if isinstance(fraction, (bool, numbers.Integral)) or not checks.is_concrete(fraction):
        raise TypeError(
            f"{where}: expected validation to be data (x, targets), row numbers, or a fraction of the rows between 0 "
            f"and 1, got {checks.describe(fraction)} {fraction!r}"
        )
    checks.in_range(where, "the fraction validation", fraction, 0, 1, open="both")
    return float(fraction)


def _split(where: str, key: Key | None, targets: Any, given: Any, rows: Any, fraction: float) -> tuple[Array, Array]:
    """Rows to train on and rows to validate on, in random order by the key; of each class its share."""
    if not checks.is_concrete(rows):
        raise ValueError(f"{where}: a fraction validates only of rows that are known; give row numbers as validation")
    chosen = np.arange(rows_.count(targets)) if rows is None else np.sort(np.asarray(rows)[np.asarray(rows) >= 0])
    if (twice := chosen[1:][np.diff(chosen) == 0]).size:
        raise ValueError(f"{where}: row {twice[0]} stands more than once in rows; give row numbers as validation")
    if len(chosen) < 2:
        raise ValueError(f"{where}: expected at least 2 rows to hold a fraction of them out, got {len(chosen)}")
    count = min(math.ceil(fraction * len(chosen)), len(chosen) - 1)
    key = random_bits.fold_in(checks.require_key(where, key, "a fraction"), HOLD_OUT)
    order = jax.random.permutation(key, jnp.asarray(chosen, jnp.int32))
    if are_several(targets) or not jnp.issubdtype(targets.dtype, jnp.integer) or targets.size != len(targets):
        return jnp.sort(order[count:]), jnp.sort(order[:count])
    if not checks.is_concrete(given):
        raise ValueError(f"{where}: a fraction of classes that are traced is not known; give row numbers as validation")
    # The targets as they were given: inside `jit` the encoded ones are traced.
    classes = np.unique(np.asarray(checks.to_host(given)).reshape(-1), return_inverse=True)[1].astype(np.int32)
    sizes = np.unique(classes[chosen], return_counts=True)[1]
    held = np.zeros(len(chosen), bool)
    for begin, quota in zip(np.cumsum(sizes) - sizes, shares(where, sizes, count), strict=True):
        held[begin : begin + quota] = True
    # Class after class, each in random order: which places are held out depends on the sizes of the classes alone.
    by_class = order[jnp.argsort(jnp.asarray(classes)[order], stable=True)]
    return jnp.sort(by_class[~held]), jnp.sort(by_class[held])


ONE_ROW = "has one row, which trains"


def shares(where: str, sizes: np.ndarray, count: int) -> np.ndarray:
    """How many rows of each class are held out, `count` in all: its share within one row, and never all of it."""
    if (sizes == 1).all():
        raise ValueError(f"{where}: every class {ONE_ROW}, so none is left to validate on")
    share = sizes * count / sizes.sum()
    most = np.minimum(np.ceil(share), sizes - 1)
    quota = np.minimum(np.floor(share), most)
    wanting = np.argsort(quota - share, kind="stable")
    wanting = wanting[quota[wanting] < most[wanting]]
    quota[wanting[: max(0, int(count - quota.sum()))]] += 1
    return quota.astype(int)
