"""Windows of a series: what a forecaster reads, and what comes after it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn import checks

__all__ = ["windows"]


def windows(series: Any, length: int, *, horizon: int = 1, stride: int = 1) -> tuple[np.ndarray, np.ndarray]:
    r"""Every stretch of `length` steps and the `horizon` steps after it.

    $x_n = (s_{nk}, …, s_{nk+L-1})$ and $y_n = (s_{nk+L}, …, s_{nk+L+h-1})$ for length $L$, horizon $h$, stride $k$.
    Rows are in the order of time: split them by time, and leave `length + horizon - 1` of them out between the parts,
    so that no row of one part holds steps of the other.

    Args:
        series: (time,) or (time, features).
        length: steps of a window.
        horizon: steps to forecast.
        stride: steps from one window to the next.

    Returns:
        `(x, y)`: NumPy arrays (rows, length, features) and (rows, horizon), or (rows, horizon, features) for a series
        with features.

    Raises:
        ValueError: for a series shorter than `length + horizon`, another rank, or a number below 1.

    Example:
        >>> import fnn
        >>> x, y = fnn.data.windows([1, 2, 3, 4, 5], 3)
        >>> x[..., 0].tolist(), y.tolist()
        ([[1, 2, 3], [2, 3, 4]], [[4], [5]])
    """
    given = (("length", length), ("horizon", horizon), ("stride", stride))
    length, horizon, stride = (checks.integer("windows", *one) for one in given)
    values = checks.one_array("windows", "series", series)
    if values.ndim not in (1, 2):
        raise ValueError(f"windows: expected a series (time,) or (time, features), got {checks.describe(values)}")
    if len(values) < length + horizon:
        raise ValueError(
            f"windows: expected at least length + horizon = {length + horizon} steps, got {len(values)}; "
            "write a smaller length"
        )
    begins = np.arange(0, len(values) - length - horizon + 1, stride)[:, None]
    x, y = values[begins + np.arange(length)], values[begins + length + np.arange(horizon)]
    return (x if values.ndim == 2 else x[..., None]), y
