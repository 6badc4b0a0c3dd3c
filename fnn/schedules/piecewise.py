"""Schedules of several pieces, and one schedule after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from fnn import checks
from fnn.schedules.counting import is_past, portion, real, require_increasing, require_numbers, since
from fnn.typing import Array, ArrayLike, Schedule

__all__ = [
    "cosine_onecycle_schedule",
    "in_epochs",
    "join_schedules",
    "linear_onecycle_schedule",
    "multi_step",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
]


def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    r"""One schedule after another; each counts its steps from its own beginning.

    Args:
        schedules: step -> value, at least one.
        boundaries: the step at which each but the first begins, increasing.

    Raises:
        ValueError: if the number of boundaries is not one less than that of schedules, or they do not increase.

    Example:
        >>> import fnn
        >>> halves = [fnn.schedules.constant_schedule(1.0), fnn.schedules.linear_schedule(1.0, 0.0, 10)]
        >>> float(fnn.schedules.join_schedules(halves, [5])(10))
        0.5
    """
    schedules = checks.sequence("join_schedules", "schedules", schedules, "schedules")
    boundaries = checks.sequence("join_schedules", "boundaries", boundaries, "steps")
    if not schedules or len(boundaries) != len(schedules) - 1:
        raise ValueError(
            "join_schedules: expected one boundary between each two schedules, "
            f"got {len(schedules)} schedules and {len(boundaries)} boundaries"
        )
    require_increasing("join_schedules", "boundaries", boundaries)
    for place, schedule in enumerate(schedules):
        checks.schedule("join_schedules", f"schedule {place}", schedule)

    def value_at(count: ArrayLike) -> ArrayLike:
        value = schedules[0](count)
        for boundary, schedule in zip(boundaries, schedules[1:], strict=True):
            later = real(schedule(since(count, boundary)))
            value = jnp.where(is_past(count, boundary), later, real(value))
        return value

    return value_at


def in_epochs(schedule: Schedule, steps_per_epoch: int) -> Schedule:
    r"""Count in epochs what is called with updates: $\alpha_t = s(t/n)$.

    Within an epoch the count is a fraction: a warm-up over epochs rises with every update, and a step at a whole epoch
    stays one. A schedule of your own that should change between epochs only takes `jnp.floor` of its count.

    Args:
        schedule: $s$, epoch -> value.
        steps_per_epoch: $n$, updates per epoch.

    Example:
        >>> import fnn
        >>> halved = fnn.schedules.in_epochs(fnn.schedules.step_decay(1.0, 20, 0.5), steps_per_epoch=100)
        >>> warm = fnn.schedules.in_epochs(fnn.schedules.warmup_constant_schedule(0.0, 1.0, 2), steps_per_epoch=100)
        >>> float(halved(1999)), float(halved(2000)), float(warm(50))
        (1.0, 0.5, 0.25)
    """
    checks.schedule("in_epochs", "schedule", schedule)
    steps = checks.integer("in_epochs", "steps_per_epoch", steps_per_epoch)

    def value_at(count: ArrayLike) -> ArrayLike:
        whole, rest = jnp.divmod(jnp.asarray(count), steps)
        begin = real(whole)
        # The last update of a long epoch is not rounded up into the next one.
        return schedule(jnp.minimum(begin + real(rest) / steps, jnp.nextafter(begin + 1, begin)))

    return value_at


def multi_step(init_value: ArrayLike, milestones: Sequence[int], gamma: ArrayLike = 0.1) -> Schedule:
    r"""$\alpha_t = I\,\gamma^{\#\{m : m \le t\}}$: times $\gamma$ at each milestone.

    Args:
        init_value: $I$.
        milestones: the steps $m$, increasing.
        gamma: $\gamma$.

    Example:
        >>> import fnn
        >>> float(fnn.schedules.multi_step(1.0, [50, 125, 160], gamma=0.5)(125))
        0.25
    """
    milestones = checks.sequence("multi_step", "milestones", milestones, "steps")
    require_numbers("multi_step", init_value=init_value)
    checks.in_range("multi_step", "gamma", gamma, 0)
    require_increasing("multi_step", "milestones", milestones)

    def schedule(count: ArrayLike) -> Array:
        reached = sum((real(is_past(count, m)) for m in milestones), start=real(0))
        return real(init_value) * real(gamma) ** reached

    return schedule


def piecewise_constant_schedule(
    init_value: ArrayLike, boundaries_and_scales: Mapping[int, ArrayLike] | None = None
) -> Schedule:
    r"""$\alpha_t = I \prod_{b_i \le t} f_i$.

    Args:
        init_value: $I$.
        boundaries_and_scales: `{b: f}`; each scale, at least 0, multiplies what came before it.

    Example:
        >>> import fnn
        >>> float(fnn.schedules.piecewise_constant_schedule(1.0, {100: 0.5, 200: 0.25})(200))
        0.125
    """
    require_numbers("piecewise_constant_schedule", init_value=init_value)
    pieces = _pieces("piecewise_constant_schedule", boundaries_and_scales)

    def schedule(count: ArrayLike) -> Array:
        value = real(init_value)
        for boundary, scale in pieces:
            value = value * jnp.where(is_past(count, boundary), real(scale), 1)
        return value

    return schedule


def _pieces(where: str, scales: Mapping[int, ArrayLike] | None) -> list[tuple[int, ArrayLike]]:
    """Boundaries and their scales in order."""
    checks.instance(where, "boundaries_and_scales", scales, Mapping | None, "a dict {boundary: scale}")
    for boundary, scale in (scales or {}).items():
        checks.in_range(where, "every boundary", boundary)
        checks.in_range(where, f"the non-negative scale at {boundary}", scale, 0)
    return sorted((scales or {}).items())


def _linear(start: Array, end: Array, part: Array) -> Array:
    return start * (1 - part) + end * part


def _cosine(start: Array, end: Array, part: Array) -> Array:
    return end + (start - end) / 2 * (1 + jnp.cos(jnp.pi * part))


_SHAPES: dict[str, Callable[[Array, Array, Array], Array]] = {"linear": _linear, "cosine": _cosine}


def piecewise_interpolate_schedule(
    interpolate_type: str, init_value: ArrayLike, boundaries_and_scales: Mapping[int, ArrayLike] | None = None
) -> Schedule:
    r"""Linear or cosine transitions between the values $I \prod_{b_i \le b} f_i$ at the boundaries $b$.

    Args:
        interpolate_type: "linear" or "cosine".
        init_value: $I$, the value at step 0.
        boundaries_and_scales: `{b: f}`; each scale, at least 0, multiplies the value reached before it.

    Example:
        >>> import fnn
        >>> schedule = fnn.schedules.piecewise_interpolate_schedule("linear", 1.0, {4: 0.5, 8: 0.5})
        >>> float(schedule(2)), float(schedule(8))
        (0.75, 0.25)
    """
    require_numbers("piecewise_interpolate_schedule", init_value=init_value)
    checks.one_of("piecewise_interpolate_schedule", "interpolate_type", interpolate_type, _SHAPES)
    pieces = _pieces("piecewise_interpolate_schedule", boundaries_and_scales)
    return _interpolation(_SHAPES[interpolate_type], init_value, pieces)


def _interpolation(
    shape: Callable[[Array, Array, Array], Array], init_value: ArrayLike, pieces: Iterable[tuple[int, ArrayLike]]
) -> Schedule:
    def schedule(count: ArrayLike) -> Array:
        begin, start = 0, real(init_value)
        value = start
        for boundary, scale in pieces:
            end = start * real(scale)
            part = portion(count, begin, max(boundary - begin, 1))
            value = jnp.where(is_past(count, begin), shape(start, end, part), value)
            begin, start = boundary, end
        return jnp.where(is_past(count, begin), start, value)

    return schedule


def _cycle(where: str, transition_steps: Any, peak_value: Any, pct_start: Any, div: Any, final_div: Any) -> Any:
    """How many steps a cycle has, and the step of its peak."""
    require_numbers(where, peak_value=peak_value)
    checks.in_range(where, "div_factor", div, 0, open="low")
    checks.in_range(where, "final_div_factor", final_div, 0, open="low")
    steps = checks.integer(where, "transition_steps", transition_steps)
    checks.in_range(where, "pct_start", pct_start, 0, 1)
    return steps, int(checks.to_host(pct_start) * steps)


def linear_onecycle_schedule(
    transition_steps: int,
    peak_value: ArrayLike,
    pct_start: float = 0.3,
    pct_final: float = 0.85,
    div_factor: ArrayLike = 25.0,
    final_div_factor: ArrayLike = 1e4,
) -> Schedule:
    r"""One cycle in three lines: from $P/d$ up to $P$, down to $P/d$, and on to $P/(d\,d_f)$.

    Args:
        transition_steps: $T$, the length of the cycle in steps.
        peak_value: $P$.
        pct_start: the fraction of $T$ at which $P$ is reached.
        pct_final: the fraction of $T$ at which the rate is back at $P/d$.
        div_factor: $d$.
        final_div_factor: $d_f$.

    Example:
        >>> import fnn
        >>> float(fnn.schedules.linear_onecycle_schedule(100, 1.0)(30))
        1.0

    References:
        Smith and Topin, Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates, 2017.
    """
    name = "linear_onecycle_schedule"
    steps, up = _cycle(name, transition_steps, peak_value, pct_start, div_factor, final_div_factor)
    checks.in_range(name, "pct_final", pct_final, pct_start, 1)
    down = int(checks.to_host(pct_final) * steps)
    # Pairs, and no dictionary: in a short cycle two of them stand at one step.
    ends = (up, div_factor), (down, 1 / div_factor), (steps, 1 / final_div_factor)
    return _interpolation(_linear, peak_value / div_factor, ends)


def cosine_onecycle_schedule(
    transition_steps: int,
    peak_value: ArrayLike,
    pct_start: float = 0.3,
    div_factor: ArrayLike = 25.0,
    final_div_factor: ArrayLike = 1e4,
) -> Schedule:
    r"""One cycle in two half cosines: from $P/d$ up to $P$ and down to $P/(d\,d_f)$.

    Args:
        transition_steps, peak_value, pct_start, div_factor, final_div_factor: as for `linear_onecycle_schedule`.

    Example:
        >>> import fnn
        >>> float(fnn.schedules.cosine_onecycle_schedule(100, 1.0)(30))
        1.0

    References:
        Smith and Topin, Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates, 2017.
    """
    name = "cosine_onecycle_schedule"
    steps, up = _cycle(name, transition_steps, peak_value, pct_start, div_factor, final_div_factor)
    ends = (up, div_factor), (steps, 1 / (div_factor * final_div_factor))
    return _interpolation(_cosine, peak_value / div_factor, ends)
