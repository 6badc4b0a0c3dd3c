"""Rows of data: how many there are, which of them are meant, and what stands in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checks.arrays import wrong_shape
from fnn.checks.words import are_known, describe, hint_of, is_concrete, is_iterator, to_host

AS_NUMBERS = "encode text columns as numbers first"
WITHOUT_IT = "remove the row or fill the value in"
IN_FLOAT64 = 'jax.config.update("jax_enable_x64", True)'


def place_of(x: Any, index: Sequence[Any]) -> str:
    """`row 3, column 'age'`: an entry of a table, in the words of whoever gave it."""
    if len(index) > 2:
        return f"index ({', '.join(map(str, index))})"
    names = getattr(x, "columns", None)
    column = [] if len(index) < 2 else [f"column {index[1] if names is None else repr(names[index[1]])}"]
    return ", ".join([f"row {index[0]}", *column] if len(index) else ["its only entry"])


def no_value(where: str, name: str, x: Any, index: Sequence[Any]) -> ValueError:
    """The error about an entry that is missing or masked."""
    return ValueError(f"{where}: no value in {name} at {place_of(x, index)}; {WITHOUT_IT}")


def one_array(where: str, name: str, x: Any) -> np.ndarray:
    """What was given as NumPy's array; rows of several lengths are none, and no mask is taken off."""
    try:
        host = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{where}: expected {name} to be one array, got {describe(x)}: {error}") from None
    every_value(where, name, x)
    return host


def every_value(where: str, name: str, x: Any) -> None:
    """Require a value in every entry: NumPy takes a mask off in silence."""
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise no_value(where, name, x, np.argwhere(np.ma.getmaskarray(x))[0].tolist())


def leaves(where: str, tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    """The leaves of a tree, in whose dicts the keys can be sorted, as JAX does wherever it takes one apart."""
    try:
        return jax.tree.leaves(tree, is_leaf=is_leaf)
    except ValueError:
        if (keys := _keys_of_two_types(tree)) is None:
            raise
        one, other = map(str, keys)
        instead = f"write {one!r} and {other!r}" if one != other else "rename one of them"
        raise TypeError(
            f"{where}: expected dict keys of one type, which JAX can sort, got {keys[0]!r} and {keys[1]!r} in one "
            f"dict; {instead}"
        ) from None


def require_host(where: str, *given: Any) -> None:
    """Require a verb that looks at numbers between its programs to be called where there are numbers."""
    if not are_known(*leaves(where, given, is_iterator)):
        raise TypeError(
            f"{where}: it looks at what one program gave before it runs the next, which it cannot inside jit, "
            "vmap or grad; there write fnn.trainer, or call it outside"
        )


def _keys_of_two_types(tree: Any) -> tuple[Any, Any] | None:
    parts: Iterable[Any] = tree if isinstance(tree, list | tuple) else ()
    if isinstance(tree, dict):
        try:
            sorted(tree)
        except TypeError:
            first = next(iter(tree))
            return first, next((key for key in tree if type(key) is not type(first)), first)
        parts = tree.values()
    return next(filter(None, map(_keys_of_two_types, parts)), None)


def parts_of_data(where: str, data: Any, name: str, one: type) -> None:
    """Require what is trained on in two or three parts; a tuple of the type `one` is one part."""
    if not isinstance(data, (tuple, list)) or isinstance(data, one) or len(data) not in (2, 3):
        repair = "write data.batches(32, key=key), or data.arrays()" if hasattr(data, "batches") else ""
        known = isinstance(data, dict | list | str | tuple) or hasattr(data, "shape")
        if not repair and not known and hasattr(data, "__getitem__"):
            repair = "of a data set of single examples write torch.utils.data.DataLoader(data, batch_size=32)"
        came = f"{describe(data)}{hint_of(repair)}"
        raise TypeError(f"{where}: expected {name}(x, targets) or (x, targets, weights), got {came}")


def at_least_one(where: str, things: str, count: int, came: str = "none", repair: str = "") -> None:
    """Require something to be there, "row"."""
    if not count:
        raise ValueError(f"{where}: expected at least one {things}, got {came}{hint_of(repair)}")


def one_per_row(where: str, thing: str, rows: int, shape: tuple[int, ...]) -> None:
    if shape[:1] != (rows,):
        raise ValueError(f"{where}: expected one {thing} per row of x, got {rows} rows and {thing}s of shape {shape}")


def one_weight_per_row(where: str, weights: Any, rows: int) -> None:
    if np.shape(weights) != (rows,):
        raise wrong_shape(where, "weights", (rows,), np.shape(weights))


def row_numbers(where: str, rows: Any, total: int) -> Any:
    """Numbers of rows below `total`, NumPy's where they are known; negative ones are empty slots."""
    given = one_array(where, "rows", to_host(rows)) if is_concrete(rows) else rows
    if given.ndim == 1:
        at_least_one(where, "row number", given.shape[0])
    if given.ndim != 1 or not jnp.issubdtype(given.dtype, jnp.integer):
        raise ValueError(
            f"{where}: expected rows to be row numbers, an integer array of shape (n,), got {describe(given)}; "
            "write numpy.flatnonzero(mask) for a mask"
        )
    if not isinstance(given, np.ndarray):
        return given
    if given.max() >= total:
        raise ValueError(f"{where}: expected row numbers below {total}, got {given.max()}")
    came = f"{len(given)} negative numbers, which are empty slots"
    at_least_one(where, "row", given.max() >= 0, came, "write numpy.arange(total)[-n:] for the last n rows")
    # Any negative number is an empty slot, also one that int32 cannot hold.
    return np.maximum(given.astype(np.int64), -1)


def no_class(where: str, name: str, classes: int, came: Any, place: str, repair: str = "") -> ValueError:
    """The error about a class number that is negative or too large."""
    return ValueError(f"{where}: expected {name} 0 … {classes - 1}, got {came} at {place}{hint_of(repair)}")


def no_weight(of: str = "") -> str:
    """What is said where every weight is 0."""
    return f"every weight{of} is 0, so no row counts; leave the weights out to count every row"
