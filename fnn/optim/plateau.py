"""A learning rate that falls when a metric stops improving."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optim.leaves import counter, increment, leafwise, not_given, times
from fnn.optim.stated_rate import with_rate
from fnn.optim.transform import Transform
from fnn.typing import Array, ArrayLike, PyTree

__all__ = ["ReduceLROnPlateauState", "reduce_on_plateau"]


class ReduceLROnPlateauState(NamedTuple):
    """Factor of the updates, best metric, checks without improvement, checks to wait, and the metric's mean so far."""

    scale: Array
    best_value: Array
    plateau_count: Array
    cooldown_count: Array
    count: Array  # type: ignore[assignment]
    avg_value: Array


def _begin(params: PyTree) -> ReduceLROnPlateauState:
    dtypes = [jnp.result_type(leaf) for leaf in jax.tree.leaves(params)] or [jnp.dtype(jnp.float32)]
    by_width = sorted(dtypes, key=lambda dtype: jnp.finfo(dtype).bits)
    low, high = (jnp.finfo(dtype).dtype for dtype in (by_width[0], by_width[-1]))
    one, best, mean = jnp.ones([], low), jnp.full([], jnp.inf, high), jnp.zeros([], high)
    return ReduceLROnPlateauState(one, best, counter(), counter(), counter(), mean)


def _check(
    state: ReduceLROnPlateauState, *,
    factor: ArrayLike, patience: ArrayLike, rtol: ArrayLike, atol: ArrayLike, cooldown: ArrayLike, min_scale: ArrayLike,
) -> ReduceLROnPlateauState:  # fmt: skip
    """The state after the metric's mean has been looked at once."""
    value, best = state.avg_value, state.best_value
    dtype = best.dtype
    improved = value < (1 - jnp.asarray(rtol, dtype)) * best - jnp.asarray(atol, dtype)
    waiting = state.cooldown_count > 0
    count = jnp.where(improved, 0, increment(state.plateau_count))
    fall = (count >= patience) & ~improved & ~waiting
    low = state.scale.dtype
    scale = jnp.where(fall, state.scale * jnp.asarray(factor, low), state.scale)
    scale = jnp.where(waiting, scale, jnp.maximum(scale, jnp.asarray(min_scale, low)))
    cooldown_count = jnp.where(fall, jnp.asarray(cooldown, jnp.int32), 0)
    return ReduceLROnPlateauState(
        scale=scale,
        best_value=jnp.where(improved, value, best),
        plateau_count=jnp.where(fall | waiting, 0, count),
        cooldown_count=jnp.where(waiting, state.cooldown_count - 1, cooldown_count),
        count=jnp.zeros_like(state.count),
        avg_value=jnp.zeros_like(value),
    )


def reduce_on_plateau(
    factor: ArrayLike = 0.1,
    patience: ArrayLike = 10,
    rtol: ArrayLike = 1e-4,
    atol: ArrayLike = 0.0,
    cooldown: ArrayLike = 0,
    accumulation_size: ArrayLike = 1,
    min_scale: ArrayLike = 0.0,
) -> Transform:
    r"""Scale the updates by $s$, and $s \leftarrow \max(fs, s_{min})$ when a metric has not improved for long.

    The metric, smaller being better, comes with each update: `update(updates, state, value=loss)`. It has improved
    if $v < (1 - rtol)\,best - atol$; NaN is no improvement. Put the rule after the optimizer in a `chain`.

    Args:
        factor: $f$, in (0, 1).
        patience: checks without improvement before the scale falls.
        rtol, atol: relative and absolute improvement that counts.
        cooldown: checks after a fall that are not counted.
        accumulation_size: how many values are averaged for one check: with the steps of an epoch `patience` counts
            epochs, with 1 single batches are compared.
        min_scale: $s_{min}$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.reduce_on_plateau(factor=0.5, patience=1)
        >>> _, state = rule.update(jnp.ones(1), rule.init(jnp.ones(1)), value=1.0)
        >>> rule.update(jnp.ones(1), state, value=1.0)[0].tolist()
        [0.5]
    """
    checks.in_range("reduce_on_plateau", "factor", factor, 0, 1, open="both")
    checks.in_range("reduce_on_plateau", "rtol", rtol, 0, 1)
    checks.in_range("reduce_on_plateau", "atol", atol, 0)
    checks.in_range("reduce_on_plateau", "min_scale", min_scale, 0)
    checks.whole_number("reduce_on_plateau", "patience", patience, 0)
    checks.whole_number("reduce_on_plateau", "cooldown", cooldown, 0)
    checks.whole_number("reduce_on_plateau", "accumulation_size", accumulation_size, 1)
    if checks.is_concrete(rtol) and checks.is_concrete(atol) and not checks.to_host(rtol) and not checks.to_host(atol):
        raise ValueError("reduce_on_plateau: expected rtol or atol to be positive, got 0 for both")
    scaled = leafwise(times)
    check = functools.partial(
        _check, factor=factor, patience=patience, rtol=rtol, atol=atol, cooldown=cooldown, min_scale=min_scale
    )

    def update(
        updates: PyTree, state: ReduceLROnPlateauState, params: PyTree | None = None, *,
        value: ArrayLike | None = None, **extra: Any,
    ) -> tuple[PyTree, ReduceLROnPlateauState]:  # fmt: skip
        if value is None:
            raise not_given("reduce_on_plateau", "metric", "…, value=loss")
        dtype = state.avg_value.dtype
        count = increment(state.count)
        total = state.count.astype(dtype) * state.avg_value + jnp.asarray(value).astype(dtype)
        state = state._replace(count=count, avg_value=total / count.astype(dtype))
        due = count == accumulation_size
        state = jax.tree.map(lambda new, old: jnp.where(due, new, old), check(state), state)
        return scaled(updates, factor=state.scale)[0], state

    return with_rate(Transform(_begin, update), None, lambda state: state.scale)
