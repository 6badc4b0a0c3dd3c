"""Rows of data: checks on the host, shuffling and batching inside the compiled program.

A set of rows is an integer array of row numbers. A negative number is an empty slot, so that sets of different sizes
(folds) fit one shape: empty slots are never trained on and never counted.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.kernels import placement
from fnn.kernels.recurrence.sequences import Layout, check_lengths
from fnn.layer import Padded
from fnn.random_bits import in_one_pass
from fnn.tasks import Task
from fnn.tasks.targets import are_class_numbers, are_several, map_targets
from fnn.typing import Array, Key, PyTree

Checked: TypeAlias = tuple[PyTree, Array, Array | None]
"""x, targets and the weights of the rows, as `check_data` gives them."""

ENTRIES_AT_ONCE = 2**20
"""Numbers that are looked at together."""

SMALLEST_WEIGHT = 1e-20
"""Of a row that counts: the product with any usual loss, and the sum over a batch, are still normal float32 numbers."""


def count(x: PyTree, where: str = "") -> int:
    """Number of rows of an array, or of every array of a pytree."""
    sizes = {np.shape(leaf)[0] if np.ndim(leaf) else None for leaf in jax.tree.leaves(x)}
    if len(sizes) != 1 or None in sizes:
        begin = f"{where}: " if where else ""
        raise ValueError(f"{begin}expected one array of rows, or several of as many rows, got {checks.describe(x)}")
    return int(sizes.pop())  # type: ignore[arg-type]


def rows_as_array(where: str, x: PyTree) -> PyTree:
    """Rows written as lists of numbers as one array; a list of arrays stays a tree of several inputs."""
    if isinstance(x, list) and x and all(isinstance(leaf, int | float) for leaf in jax.tree.leaves(x)):
        return checks.host_cast(where, "x", x, checks.as_numbers(where, "x", x), np.float32)
    return x


def check_inputs(where: str, x: PyTree) -> PyTree:
    """Inputs as JAX arrays: not empty, nothing non-finite, nothing rounded in silence."""
    return jax.tree.map(checks.own, host_inputs(where, x))


def host_inputs(where: str, x: PyTree, rounding: Callable[..., str | None] | None = None) -> PyTree:
    """`check_inputs` where they are, NumPy's on the host; `rounding` says what a cast to float32 does to them."""
    x = rows_as_array(where, x)
    checks.at_least_one(where, "row", count(x, where), checks.describe(x))
    check_padded(where, x)
    return jax.tree.map(lambda leaf: _check_leaf(where, leaf, rounding or describe_rounding), x)


def check_padded(where: str, x: PyTree) -> None:
    """The lengths of all sequences: inside a compiled program none can be looked at."""
    for part in jax.tree.leaves(x, is_leaf=lambda node: isinstance(node, Padded)):
        if isinstance(part, Padded):
            batch, time = np.shape(part.values)[:2]
            check_lengths(where, part.lengths, Layout(batch, time))


def _check_leaf(where: str, x: Any, rounding: Callable[..., str | None]) -> Any:
    given = checks.as_numbers(where, "x", x, checks.AS_NUMBERS)
    host = checks.to_host(given)
    if not isinstance(host, np.ndarray):
        return given
    require_finite(where, x, host)
    if isinstance(given, jax.Array):
        return given
    narrow = checks.host_cast(where, "x", x, given)
    if host.dtype == np.float64 and narrow.dtype != np.float64 and (said := rounding(x, host, narrow.dtype)):
        checks.warn(f"{where}: {said}", UserWarning)
    return narrow


def require_finite(where: str, x: Any, host: np.ndarray) -> None:
    """Require the numbers `host` of the inputs `x` to be finite."""
    if (place := first_not_finite(host)) is not None:
        at = checks.place_of(x, place)
        error = ValueError(f"{where}: x contains {host[place]} at {at}; {checks.WITHOUT_IT}")
        error.row = place[0]  # type: ignore[attr-defined] # for whoever knows which row of all this one is
        raise error


def describe_rounding(x: Any, host: np.ndarray, dtype: Any) -> str:
    """What is lost where float64 is computed in float32, and what to write."""
    return checks.loss_of_digits("x", x, host, dtype) or (
        "x is float64 and is computed in float32; write x.astype(numpy.float32), or "
        f"{checks.IN_FLOAT64} to compute in float64"
    )


def first_not_finite(host: np.ndarray) -> tuple[int, ...] | None:
    """Where it is; looked for part by part, so that a large array is not held a second time as its mask."""
    if not jnp.issubdtype(host.dtype, jnp.floating):
        return None
    step = max(1, ENTRIES_AT_ONCE // max(1, math.prod(host.shape[1:])))
    for first in range(0, len(host), step):
        part = host[first : first + step]
        # One pass and no mask where the sum is finite: no other sum is with NaN or infinity in it.
        with np.errstate(invalid="ignore", over="ignore"):
            if part.dtype.char in "fd" and np.isfinite(part.sum()):
                continue
        finite = np.isfinite(part)
        if not finite.all():
            row, *rest = (int(place) for place in np.argwhere(~finite)[0])
            return first + row, *rest
    return None


def lend(x: PyTree) -> PyTree:
    """NumPy arrays of float32 as JAX arrays that read the same memory, where a CPU computes and they are aligned to 64
    bytes; for whoever is done with them before they could change."""

    def one(leaf: Any) -> Any:
        plain = type(leaf) is np.ndarray and leaf.dtype == np.float32 and leaf.ndim > 0
        return jax.device_put(leaf) if plain else leaf

    return jax.tree.map(one, x) if placement.platform() == "cpu" else x


def check_data(where: str, data: Any, task: Task) -> Checked:
    """`(x, targets)` or `(x, targets, weights)` as arrays of the same number of rows, targets encoded by the task."""
    # Padded sequences are inputs alone, not inputs and targets.
    checks.parts_of_data(where, data, "data ", Padded)
    if names := [part for part in data if isinstance(part, (str, os.PathLike))]:
        raise TypeError(
            f"{where}: expected arrays, got the name of a file, {str(names[0])!r}; fit, evaluate and predict read a "
            "list of names alone"
        )
    x = host_inputs(where, data[0])
    require_one_target_per_row(where, count(x), data[1])
    targets = task.encode(data[1])
    weights = None if len(data) == 2 or data[2] is None else check_weights(where, data[2], count(x))
    return jax.tree.map(checks.own, (x, targets, weights))


def require_one_target_per_row(where: str, rows: int, targets: Any) -> None:
    named = are_several(targets)
    parts = [] if named or not isinstance(targets, list | tuple) else [p for p in targets if hasattr(p, "shape")]
    if any(map(np.ndim, parts)) and (len(targets) != rows or len({str(part.dtype) for part in parts}) > 1):
        raise TypeError(
            f"{where}: a list or tuple of targets is one array of rows, and these are several arrays, "
            f"{checks.describe(targets)}; write a dict of them, or a named tuple"
        )
    if named and not jax.tree.leaves(targets):
        raise ValueError(f"{where}: expected an array of targets at least, got none in {targets!r}")

    def require(name: str, array: Any) -> None:
        array = array if hasattr(array, "shape") else checks.one_array(where, name, array)
        checks.one_per_row(f"{where}, {name}" if named else where, "target", rows, np.shape(array))

    map_targets(require, targets)


def check_weights(where: str, weights: Any, total: int, some: bool = True) -> Array:
    """One weight per row, each 0 or of a size that float32 multiplies without loss; `some` of them are not 0."""
    checks.one_weight_per_row(where, weights, total)
    if checks.is_concrete(weights):
        host = np.asarray(checks.to_host(checks.as_numbers(where, "weights", weights)))
        if host.dtype.kind == "c":
            raise TypeError(f"{where}: expected real weights, got {host.dtype}")
        wide = host.astype(np.float64)
        if not (wide >= 0).all():
            row = int(np.argmin(wide >= 0))
            raise ValueError(f"{where}: expected weights >= 0, got {host[row]} at row {row}")
        fine = (wide == 0) | ((wide >= SMALLEST_WEIGHT) & (wide <= 1 / SMALLEST_WEIGHT))
        if not fine.all():
            row = int(np.argmin(fine))
            raise ValueError(
                f"{where}: expected weights that are 0 or between {SMALLEST_WEIGHT} and {1 / SMALLEST_WEIGHT}, got "
                f"{host[row]} at row {row}; only their ratios count, so multiply all of them by one number"
            )
        if some and not wide.any():
            raise ValueError(f"{where}: {checks.no_weight()}")
        weights = weights if isinstance(weights, jax.Array) else host
        if host.dtype.kind in "iub":
            weights = host.astype(np.float32)
    weights = jnp.asarray(weights)
    return weights if jnp.issubdtype(weights.dtype, jnp.floating) else weights.astype(jnp.float32)


def check_rows(where: str, rows: Any, total: int) -> Any:
    """Row numbers of a data set of `total` rows, NumPy's where they are known; a negative one is an empty slot."""
    return checks.row_numbers(where, rows, total).astype(np.int32)


def check_counted(where: str, weights: Any, rows: Any) -> None:
    """Some of the rows has a weight."""
    if weights is None or rows is None or not checks.is_concrete(weights) or not checks.is_concrete(rows):
        return
    host = np.asarray(rows)
    if not np.asarray(weights)[host[host >= 0]].any():
        raise ValueError(f"{where}: the weight of every one of them is 0, that of row {host[host >= 0][0]} first")


def check_classes(where: str, targets: Any, rows: Any = None) -> None:
    """Class numbers to learn from: more than one of them among the rows."""
    if not are_class_numbers(targets) or not checks.is_concrete(targets) or not checks.is_concrete(rows):
        return
    host = np.asarray(targets)
    if rows is not None:
        host = host[np.asarray(rows)[np.asarray(rows) >= 0]]
    if (host == host[0]).all():
        raise ValueError(f"{where}: every target is class {host[0]}; there is nothing to tell apart")


def shuffle(key: Key, rows: Array) -> tuple[Array, Array]:
    """The rows in random order, empty slots last, and how many rows there are.

    The order of n rows is the same whether or not empty slots follow them: a member of a padded fold sees what it
    would see alone.
    """
    real = rows >= 0
    position = jnp.where(real, jax.random.bits(in_one_pass(key), rows.shape, jnp.uint32) >> 1, jnp.uint32(0xFFFFFFFF))
    return rows[jnp.argsort(position)], real.sum()


MANY = 2**17
"""Rows from which on the host puts them in order, where a CPU computes."""


def shuffle_on_host(bits: Array, rows: Any) -> tuple[np.ndarray, int]:
    """`shuffle` for the same `bits`; None are all rows.

    Sorting two million rows, XLA took 1.1 s and 48 bytes per row, NumPy 0.1 s and 20 (one round, one CPU core).
    """
    packed = np.asarray(bits).astype(np.uint64)  # in its upper half the position, in its lower one the place
    del bits
    packed >>= np.uint64(1)
    packed <<= np.uint64(32)
    if rows is not None:
        packed[np.asarray(rows) < 0] = np.uint64(0xFFFFFFFF << 32)
    packed.view(np.uint32)[_LOWER::2] = np.arange(len(packed), dtype=np.uint32)
    packed.sort()
    places = packed.view(np.uint32)[_LOWER::2].astype(np.int32)
    return (places, len(places)) if rows is None else (np.asarray(rows)[places], int((np.asarray(rows) >= 0).sum()))


_LOWER = 0 if sys.byteorder == "little" else 1


def batch_rows(order: Array, real: Array, place: Array, batch_size: int) -> tuple[Array, Array]:
    """The row numbers of batch `place` and a mask of those that count.

    Where rows run out, the batch is filled up with the first rows of the order, which do not count: statistics over
    the batch see only real data, the loss sees every row once.
    """
    # Counted in int32 also where jax counts in int64: whoever drives the epoch hands over either.
    place, real = (jnp.asarray(number).astype(jnp.int32) for number in (place, real))
    slots = place * batch_size + jnp.arange(batch_size, dtype=jnp.int32)
    return order[slots % jnp.maximum(real, 1)], slots < real


def take(data: PyTree, rows: Array) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.at[rows].get(mode="clip"), data)
