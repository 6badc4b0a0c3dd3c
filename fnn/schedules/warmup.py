"""Schedules that begin with a linear warm-up."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp

from fnn import checks
from fnn.schedules.counting import is_past, real, require_numbers
from fnn.schedules.decay import cosine_decay_schedule, exponential_decay, inverse_sqrt_schedule, linear_schedule
from fnn.schedules.piecewise import join_schedules
from fnn.typing import ArrayLike, Schedule

__all__ = [
    "sgdr_schedule",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
    "warmup_inverse_sqrt_schedule",
]


def warmup_constant_schedule(init_value: ArrayLike, peak_value: ArrayLike, warmup_steps: ArrayLike) -> Schedule:
    r"""A line from $I$ to $P$ in $W$ steps, then constant.

    Args:
        init_value, peak_value: $I$ and $P$.
        warmup_steps: $W$; with 0 or less the value stays $I$.

    Example:
        >>> import fnn
        >>> float(fnn.schedules.warmup_constant_schedule(0.0, 1.0, warmup_steps=4)(2))
        0.5
    """
    require_numbers("warmup_constant_schedule", init_value=init_value, peak_value=peak_value, warmup_steps=warmup_steps)
    return linear_schedule(init_value, peak_value, warmup_steps)


def warmup_cosine_decay_schedule(
    init_value: ArrayLike,
    peak_value: ArrayLike,
    warmup_steps: int,
    decay_steps: int,
    end_value: ArrayLike = 0.0,
    exponent: ArrayLike = 1.0,
) -> Schedule:
    r"""A line from $I$ to $P$ in $W$ steps, then `cosine_decay_schedule` from $P$ to $E$ until step $D$.

    Args:
        init_value, peak_value, warmup_steps: $I$, $P$ and $W$.
        decay_steps: $D$, the length of the whole, warm-up included.
        end_value: $E$.
        exponent: of the cosine.

    Raises:
        ValueError: if `decay_steps` does not exceed `warmup_steps`.

    Example:
        >>> import fnn
        >>> schedule = fnn.schedules.warmup_cosine_decay_schedule(0.0, 1.0, warmup_steps=10, decay_steps=110)
        >>> float(schedule(5)), float(schedule(10))
        (0.5, 1.0)
    """
    name, values = "warmup_cosine_decay_schedule", {"init_value": init_value, "peak_value": peak_value}
    require_numbers(name, **values, end_value=end_value, warmup_steps=warmup_steps)
    checks.in_range(name, "decay_steps", decay_steps, warmup_steps, open="low")
    peak = real(peak_value)
    alpha = jnp.where(peak == 0, 0, real(end_value) / jnp.where(peak == 0, 1, peak))
    warmup = linear_schedule(init_value, peak_value, warmup_steps)
    cosine = cosine_decay_schedule(peak_value, decay_steps - warmup_steps, alpha, exponent)
    return join_schedules([warmup, cosine], [warmup_steps])


def warmup_exponential_decay_schedule(
    init_value: ArrayLike,
    peak_value: ArrayLike,
    warmup_steps: int,
    transition_steps: ArrayLike,
    decay_rate: ArrayLike,
    transition_begin: ArrayLike = 0,
    staircase: bool = False,
    end_value: ArrayLike | None = None,
) -> Schedule:
    r"""A line from $I$ to $P$ in $W$ steps, then `exponential_decay` from $P$.

    Args:
        init_value, peak_value, warmup_steps: $I$, $P$ and $W$.
        transition_steps, decay_rate, transition_begin, staircase, end_value: of `exponential_decay`.

    Example:
        >>> import fnn
        >>> schedule = fnn.schedules.warmup_exponential_decay_schedule(0.0, 1.0, 10, 100, 0.5)
        >>> float(schedule(5)), float(schedule(110))
        (0.5, 0.5)
    """
    name = "warmup_exponential_decay_schedule"
    require_numbers(name, init_value=init_value, peak_value=peak_value, warmup_steps=warmup_steps)
    warmup = linear_schedule(init_value, peak_value, warmup_steps)
    decay = exponential_decay(peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value)
    return join_schedules([warmup, decay], [warmup_steps])


def warmup_inverse_sqrt_schedule(init_value: ArrayLike, peak_value: ArrayLike, warmup_steps: int) -> Schedule:
    r"""A line from $I$ to $P$ in $W$ steps, then $P\sqrt{W/t}$.

    Args:
        init_value, peak_value: $I$ and $P$.
        warmup_steps: $W$, positive.

    Example:
        >>> import fnn
        >>> schedule = fnn.schedules.warmup_inverse_sqrt_schedule(0.0, 1.0, warmup_steps=100)
        >>> float(schedule(50)), float(schedule(400))
        (0.5, 0.5)

    References:
        Vaswani et al., Attention Is All You Need, 2017.
    """
    name = "warmup_inverse_sqrt_schedule"
    require_numbers(name, init_value=init_value, peak_value=peak_value)
    checks.in_range(name, "warmup_steps", warmup_steps, 0, open="low")
    warmup = linear_schedule(init_value, peak_value, warmup_steps)
    decay = inverse_sqrt_schedule(peak_value, warmup_steps)
    return lambda count: jnp.where(is_past(count, warmup_steps), decay(count), warmup(count))


def sgdr_schedule(cosine_kwargs: Iterable[dict[str, Any]]) -> Schedule:
    r"""Warm restarts: one `warmup_cosine_decay_schedule` after another.

    Args:
        cosine_kwargs: the arguments of each cycle; its `decay_steps` is its length.

    Example:
        >>> import fnn
        >>> cycle = dict(init_value=0.0, peak_value=1.0, warmup_steps=5, decay_steps=50)
        >>> float(fnn.schedules.sgdr_schedule([cycle, cycle])(55))
        1.0

    References:
        Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017.
    """
    cycles = checks.sequence("sgdr_schedule", "cosine_kwargs", cosine_kwargs, "dicts")
    for cycle in cycles:
        checks.instance("sgdr_schedule", "every cycle", cycle, Mapping, "a dict of arguments")
    schedules = [warmup_cosine_decay_schedule(**cycle) for cycle in cycles]
    return join_schedules(schedules, list(itertools.accumulate(cycle["decay_steps"] for cycle in cycles[:-1])))
