"""Features brought to a common scale, with statistics of the training rows only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from fnn import checks
from fnn.data.statistics import MinMaxStatistics, StandardStatistics, columns_of, require_same_columns
from fnn.kernels.mesh_axes import auto_axes, rows_of, split_of
from fnn.kernels.recurrence.sequences import Layout, check_lengths
from fnn.layer import Padded
from fnn.precision import widen
from fnn.typing import Array, ArrayLike

__all__ = ["Scaler", "min_max_scaler", "standard_scaler"]


@checks.refuse_pickling(
    f"keep its statistics, which are made of arrays, and build the scaler {checks.BY_THE_SAME_CALL}, as "
    "fnn.data.standard_scaler(); fnn.save(path, trained, scaler=(scaler, statistics)) keeps both"
)
class Scaler(NamedTuple):
    """Pure functions around fitted statistics.

    `fit(x, *, rows=None, weights=None) -> statistics` looks only at the `rows` (row numbers, a negative one is an empty
    slot) with a weight above 0; `transform(statistics, x)` and `inverse_transform(statistics, x)` take any rows. Under
    `vmap` one call fits every fold.

    Columns that come from the host as float64 or wide integers (dates in seconds) are fitted and transformed in
    float64, in NumPy, before anything is rounded to float32; `inverse_transform` then gives float64 back. Any other
    dtype of x is kept. The statistics of a pandas table know its columns, and another one with them in another order
    is an error; so are another number of features than in `fit`, and NaN or inf, whose column is named.

    Of `fnn.Padded` sequences every step is a row, the padding is none, and 0 afterwards.

    `kind` is the constructor and its settings, by which a file says what was fitted; None for a scaler of your own.
    """

    fit: Callable[..., Any]
    transform: Callable[[Any, ArrayLike], Array]
    inverse_transform: Callable[[Any, ArrayLike], Array]
    kind: tuple[str, tuple[Any, ...]] | None = None


def _numbers(where: str, x: Any) -> tuple[Any, Sequence[Any]]:
    """The values as floating-point numbers, and what their columns are called.

    Numbers from the host that JAX would round (float64, wide integers) stay there, in float64.
    """
    names = list(x.columns) if hasattr(x, "columns") else []
    if names:
        for name, dtype in zip(names, x.dtypes, strict=True):
            if getattr(dtype, "kind", "O") not in "biuf":
                raise TypeError(f"{where}: expected numbers in column {name!r}, got {dtype}; encode it first")
        x = np.stack([np.asarray(x.iloc[:, i], float) for i in range(len(names))], axis=1)
    x = checks.as_numbers(where, "x", x)
    checks.least_rank(where, "x", x, 1, "(rows, features)")
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(f"{where}: expected real x, got {checks.describe(x)}; scale x.real and x.imag as two columns")
    if isinstance(x, np.ndarray):
        exact = x.dtype.itemsize <= 2 or x.dtype == np.float32 or jnp.result_type(float) == np.float64
        x = jnp.asarray(x) if exact else x.astype(np.float64)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float), names


def _reject_not_finite(where: str, x: Any, names: Sequence[Any], rows: Any = None) -> None:
    if not checks.is_concrete(x):
        return
    values = np.asarray(x, np.float64).reshape(len(x), math.prod(x.shape[1:]))
    bad = np.flatnonzero(~np.isfinite(values).all(axis=0))
    if bad.size:
        column = names[bad[0]] if names else int(bad[0])
        row = int(np.flatnonzero(~np.isfinite(values[:, bad[0]]))[0])
        given = row if rows is None else rows[row]
        raise ValueError(
            f"{where}: expected finite numbers, got {values[row, bad[0]]} in column {column!r} (row {given}); "
            "fill or drop it, or leave the row out by weights"
        )


def _check_rows(where: str, rows: Any, total: int) -> Any:
    """Numbers of rows; of a mask it is said that weights take it."""
    rows = checks.as_numbers(where, "rows", rows)
    if not jnp.issubdtype(rows.dtype, jnp.integer):
        raise TypeError(f"{where}: expected rows to be indices, got {rows.dtype}; write weights=rows for a mask")
    return checks.row_numbers(where, rows, total)


def _fit_arguments(where: str, x: Any, rows: Any, weights: Any) -> tuple[Any, Any, dict[str, Any]]:
    """The rows to learn from, in float32 at least, their weights, and the arguments of reductions over them."""
    x, names = _numbers(where, x)
    if weights is not None:
        checks.one_weight_per_row(where, weights, len(x))
    w: Any = None if weights is None else checks.cast(where, "weights", weights, jnp.result_type(float))
    rows = None if rows is None else _check_rows(where, rows, len(x))
    host = isinstance(x, np.ndarray) and checks.is_concrete(w) and checks.is_concrete(rows)
    x = x if host else widen(checks.cast(where, "x", x, distinct=True))
    w = jnp.ones(x.shape[0], jnp.result_type(float)) if w is None else w
    w = np.asarray(w, np.float64) if host else w.astype(x.dtype)
    if rows is not None:
        x, w = _take(x, rows), _take(w, rows) * (rows >= 0).astype(w.dtype)
    checks.at_least_one(where, "row", x.shape[0], checks.describe(x))
    if checks.is_concrete(w) and (not bool((w >= 0).all()) or not bool((w > 0).any())):
        raise ValueError(f"{where}: expected weights >= 0, and one above 0")
    w = auto_axes(lambda w: w, rows_of(x))(w).reshape(-1, *[1] * (x.ndim - 1))
    # What a row of weight 0 holds, even NaN, has no influence.
    x = (np if host else jnp).where(w > 0, x, 0)
    _reject_not_finite(where, x, names, rows)
    return x, w, {"axis": 0, "where": w > 0}


def _take(a: Any, rows: Any) -> Any:
    """These rows, on every device of a mesh with explicit axes: their number need not divide by it."""
    if isinstance(a, np.ndarray):
        return a[rows]
    return auto_axes(lambda a, rows: a[rows], PartitionSpec(None, *split_of(a)[1:]))(a, rows)


def _prepare(where: str, statistics: Any, x: Any) -> tuple[Any, Any, Any]:
    """The statistics with the number of axes of x, so that they meet it without promotion; the values in their dtype,
    checked; and the dtype of the result."""
    x, names = _numbers(where, x)
    if x.shape[-statistics[0].ndim :] != statistics[0].shape and statistics[0].ndim:
        raise ValueError(f"{where}: expected {statistics[0].shape} features as in fit, got x of shape {x.shape}")
    _reject_not_finite(where, x, names)
    dtype = jnp.dtype(jax.dtypes.canonicalize_dtype(x.dtype))
    if all(isinstance(part, np.ndarray) for part in statistics) and checks.is_concrete(x):
        x = np.asarray(x, np.float64)
    else:
        x = jnp.asarray(x).astype(jax.dtypes.canonicalize_dtype(statistics[0].dtype))
    aligned = (part.reshape((1,) * (x.ndim - part.ndim) + part.shape) for part in statistics)
    return type(statistics)(*aligned), x, dtype


def _nonzero(x: Any) -> Any:
    return (np if isinstance(x, np.ndarray) else jnp).where(x == 0, 1, x)


def _power_of_two(largest: Any) -> Any:
    """What a column is divided by before it is squared: the square of 1e-23 or 1e20 is no number in float32, and no
    digit is lost by it."""
    xp: Any = np if isinstance(largest, np.ndarray) else jnp
    largest = xp.where(largest > 0, largest if xp is np else jax.lax.stop_gradient(largest), 1)
    return largest / (2 * xp.frexp(largest)[0])


def min_max_scaler(feature_range: tuple[ArrayLike, ArrayLike] = (0.0, 1.0)) -> Scaler:
    r"""$z = a + (b-a)\frac{x - \min}{\max - \min}$, column by column; a constant column becomes $a$.

    Args:
        feature_range: $(a, b)$, $a < b$.

    Returns:
        A `Scaler` over `MinMaxStatistics`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> scaler = fnn.data.min_max_scaler((-1.0, 1.0))
        >>> statistics = scaler.fit(jnp.array([[0.0], [10.0]]))
        >>> scaler.transform(statistics, jnp.array([[5.0], [20.0]])).tolist()
        [[0.0], [3.0]]
    """
    low, high = checks.pair("min_max_scaler", "feature_range", feature_range, "(low, high)")
    for end in (low, high):
        checks.in_range("min_max_scaler", "every end of feature_range", end)
    known = checks.is_concrete(low) and checks.is_concrete(high)
    if np.ndim(low) or np.ndim(high) or (known and not np.less(low, high)):
        raise ValueError(f"min_max_scaler: expected feature_range (low, high), low < high, got {feature_range}")

    def ends(like: Any) -> tuple[Any, Any]:
        xp: Any = np if isinstance(like, np.ndarray) and known else jnp
        return xp.asarray(low, like.dtype), xp.asarray(high, like.dtype)

    def measure(x: Any, _: Any, reduced: dict[str, Any]) -> MinMaxStatistics:
        return MinMaxStatistics(x.min(initial=jnp.inf, **reduced), x.max(initial=-jnp.inf, **reduced))

    def scale(statistics: MinMaxStatistics, x: Any) -> Any:
        a, b = ends(x)
        part = (x - statistics.minimum) / _nonzero(statistics.maximum - statistics.minimum)
        # Not a + (b - a) * part, which misses b by rounding.
        return a * (1 - part) + b * part

    def unscale(statistics: MinMaxStatistics, x: Any) -> Any:
        a, b = ends(x)
        part = (x - a) / (b - a)
        return statistics.minimum * (1 - part) + statistics.maximum * part

    return _build(("min_max", (low, high)), measure, scale, unscale)


def standard_scaler() -> Scaler:
    r"""$z = (x - \mu)/\sigma$, column by column, $\sigma^2 = \frac1n\sum(x-\mu)^2$; a constant column becomes 0.

    Returns:
        A `Scaler` over `StandardStatistics`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> scaler = fnn.data.standard_scaler()
        >>> statistics = scaler.fit(jnp.array([[1.0], [3.0], [90.0]]), rows=jnp.array([0, 1]))
        >>> scaler.transform(statistics, jnp.array([[4.0]])).tolist()
        [[2.0]]
    """

    def measure(x: Any, w: Any, reduced: dict[str, Any]) -> StandardStatistics:
        # Around a value of the column, so that a constant column has a deviation of exactly 0.
        reference = x.min(initial=jnp.inf, **reduced)
        share = w / w.sum()
        mean = reference + (share * (x - reference[None])).sum(**reduced)
        apart = x - mean[None]
        unit = _power_of_two(abs(apart).max(initial=0, **reduced))
        variance = (share * (apart / unit[None]) ** 2).sum(**reduced)
        return StandardStatistics(mean, unit * (np if isinstance(x, np.ndarray) else jnp).sqrt(variance))

    def scale(statistics: StandardStatistics, x: Any) -> Any:
        return (x - statistics.mean) / _nonzero(statistics.deviation)

    def unscale(statistics: StandardStatistics, x: Any) -> Any:
        return x * statistics.deviation + statistics.mean

    return _build(("standard", ()), measure, scale, unscale)


def _build(
    kind: tuple[str, tuple[Any, ...]],
    measure: Callable[[Any, Any, dict[str, Any]], Any],
    scale: Callable[[Any, Any], Any],
    unscale: Callable[[Any, Any], Any],
) -> Scaler:
    """The scaler of rows, also of the steps of `Padded` sequences."""
    where = f"{kind[0]}_scaler"

    def fit(x: Any, *, rows: Any = None, weights: ArrayLike | None = None) -> Any:
        if not isinstance(x, Padded):
            statistics = measure(*_fit_arguments(where, x, rows, weights))
            if names := columns_of(x):
                statistics.columns = names
            return statistics
        values: Any = x.values
        counts: Any = _real_steps(where, x)
        if weights is not None:
            checks.one_weight_per_row(where, weights, len(values))
            counts = counts * checks.cast(where, "weights", weights, counts.dtype)[:, None]
        if rows is not None:
            rows = _check_rows(where, rows, len(values))
            if not checks.is_concrete(rows):  # NumPy cannot take them
                values, counts = checks.cast(where, "x", values, distinct=True), jnp.asarray(counts)
            values, counts = _take(values, rows), _take(counts, rows) * (rows >= 0).astype(counts.dtype)[:, None]
        if checks.is_concrete(counts) and not (counts != 0).any():
            raise ValueError(f"{where}: expected a step that counts, got none: all lengths are 0, or the weights are")
        return measure(*_fit_arguments(where, values.reshape(-1, *values.shape[2:]), None, counts.reshape(-1)))

    def of_steps(compute: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def apply(statistics: Any, x: Any) -> Any:
            if not isinstance(x, Padded):
                require_same_columns(where, getattr(statistics, "columns", ()), x, "x[list(statistics.columns)]")
                return compute(*_prepare(where, statistics, x))
            real = _real_steps(where, x)[(..., *[None] * (x.values.ndim - 2))] > 0
            clear = lambda values: (np if isinstance(values, np.ndarray) else jnp).where(real, values, 0)  # noqa: E731
            return Padded(clear(compute(*_prepare(where, statistics, clear(x.values)))), x.lengths)

        return apply

    def original(statistics: Any, x: Any, dtype: Any) -> Any:
        found = unscale(statistics, x)
        return found if isinstance(found, np.ndarray) else found.astype(dtype)

    transform = of_steps(lambda statistics, x, dtype: jnp.asarray(scale(statistics, x).astype(dtype)))
    return Scaler(fit, transform, of_steps(original), kind)


def _real_steps(where: str, x: Padded) -> Any:
    """1 at every step, 0 in the padding, where the values are: NumPy's on the host."""
    checks.least_rank(where, "x.values", x.values, 3, "(batch, time, features)")
    check_lengths(where, x.lengths, Layout(x.values.shape[0], x.values.shape[1]))
    xp: Any = np if isinstance(x.values, np.ndarray) and checks.is_concrete(x.lengths) else jnp
    return (xp.arange(x.values.shape[1])[None] < xp.asarray(x.lengths)[:, None]).astype(np.float32)


def from_kind(kind: tuple[str, tuple[Any, ...]]) -> tuple[Scaler, type[Any]]:
    """The scaler of this `Scaler.kind`, and what it fits."""
    name, settings = kind
    if name == "min_max":
        return min_max_scaler((settings[0], settings[1])), MinMaxStatistics
    return standard_scaler(), StandardStatistics
