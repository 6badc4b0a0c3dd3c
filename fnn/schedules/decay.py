"""Schedules in one piece: step -> learning rate."""

from __future__ import annotations

import jax.numpy as jnp

from fnn import checks
from fnn.schedules.counting import portion, power_of, real, require_numbers, same_kind, since
from fnn.typing import Array, ArrayLike, Schedule

__all__ = [
    "constant_schedule",
    "cosine_decay_schedule",
    "exponential_decay",
    "inverse_sqrt_schedule",
    "linear_schedule",
    "polynomial_schedule",
    "step_decay",
]


def constant_schedule(value: ArrayLike) -> Schedule:
    r"""$\alpha_t = v$, the value given.

    Example:
        >>> import fnn
        >>> fnn.schedules.constant_schedule(0.1)(7)
        0.1
    """
    require_numbers("constant_schedule", value=value)
    return lambda count: value


def polynomial_schedule(
    init_value: ArrayLike,
    end_value: ArrayLike,
    power: ArrayLike,
    transition_steps: ArrayLike,
    transition_begin: ArrayLike = 0,
) -> Schedule:
    r"""$\alpha_t = E + (I - E)(1 - \frac{t-B}{T})^p$ for $B \le t < B+T$, $I$ before, $E$ after.

    Args:
        init_value: $I$.
        end_value: $E$.
        power: $p$.
        transition_steps: $T$; with 0 or less the value stays $I$.
        transition_begin: $B$, 0 where negative.

    Example:
        >>> import fnn
        >>> schedule = fnn.schedules.polynomial_schedule(1.0, 0.0, 2, transition_steps=10)
        >>> float(schedule(5))
        0.25
    """
    require_numbers("polynomial_schedule", init_value=init_value, end_value=end_value)
    checks.in_range("polynomial_schedule", "power", power, 0)
    require_numbers("polynomial_schedule", transition_steps=transition_steps, transition_begin=transition_begin)

    def schedule(count: ArrayLike) -> Array:
        left = 1 - portion(count, transition_begin, transition_steps)
        return (real(init_value) - real(end_value)) * power_of(left, power) + real(end_value)

    return schedule


def linear_schedule(
    init_value: ArrayLike, end_value: ArrayLike, transition_steps: ArrayLike, transition_begin: ArrayLike = 0
) -> Schedule:
    r"""$\alpha_t = I + \frac{t-B}{T}(E - I)$ for $B \le t < B+T$, $I$ before, $E$ after.

    Args:
        init_value, end_value, transition_steps, transition_begin: as for `polynomial_schedule`.

    Example:
        >>> import fnn
        >>> float(fnn.schedules.linear_schedule(0.0, 1.0, transition_steps=4)(3))
        0.75
    """
    return polynomial_schedule(init_value, end_value, 1, transition_steps, transition_begin)


def exponential_decay(
    init_value: ArrayLike,
    transition_steps: ArrayLike,
    decay_rate: ArrayLike,
    transition_begin: ArrayLike = 0,
    staircase: bool = False,
    end_value: ArrayLike | None = None,
) -> Schedule:
    r"""$\alpha_t = I\,\gamma^{(t-B)/T}$, and $I$ before step $B$; $I\gamma^t$ is `exponential_decay(I, 1, gamma)`.

    Args:
        init_value: $I$.
        transition_steps: $T$; with 0 or less the value stays $I$.
        decay_rate: $\gamma \ge 0$; with 0 the value stays $I$.
        transition_begin: $B$, 0 where negative.
        staircase: round the exponent down to a whole number.
        end_value: the decay stops here: a lower bound if $\gamma < 1$, else an upper one.

    Example:
        >>> import fnn
        >>> float(fnn.schedules.exponential_decay(1.0, 10, 0.5)(20))
        0.25
    """
    name, end = "exponential_decay", 0 if end_value is None else end_value
    require_numbers(name, init_value=init_value, transition_steps=transition_steps)
    checks.in_range(name, "decay_rate", decay_rate, 0)
    require_numbers(name, transition_begin=transition_begin, end_value=end)
    checks.flags(name, staircase=staircase)

    def schedule(count: ArrayLike) -> Array:
        steps, rate = real(transition_steps), real(decay_rate)
        decays = (steps > 0) & (rate != 0)
        if staircase:
            done, whole = same_kind(since(count, transition_begin), transition_steps)
            power = real(done // jnp.where(whole > 0, whole, 1))
        else:
            power = real(since(count, transition_begin)) / jnp.where(steps > 0, steps, 1)
        value = real(init_value) * jnp.where(decays, jnp.where(rate != 0, rate, 1) ** power, 1)
        if end_value is None:
            return value
        end = real(end_value)
        return jnp.where(decays, jnp.where(rate < 1, jnp.maximum(value, end), jnp.minimum(value, end)), value)

    return schedule


def step_decay(init_value: ArrayLike, step_size: ArrayLike, gamma: ArrayLike = 0.1) -> Schedule:
    r"""$\alpha_t = I\,\gamma^{\lfloor t/k \rfloor}$: times $\gamma$ every $k$ steps.

    Args:
        init_value: $I$.
        step_size: $k$, at least 1.
        gamma: $\gamma$.

    Example:
        >>> import fnn
        >>> float(fnn.schedules.step_decay(1.0, step_size=50, gamma=0.5)(149))
        0.25
    """
    require_numbers("step_decay", init_value=init_value)
    checks.in_range("step_decay", "gamma", gamma, 0)
    checks.in_range("step_decay", "step_size", step_size, 1)

    def schedule(count: ArrayLike) -> Array:
        count, size = same_kind(count, step_size)
        return real(init_value) * real(gamma) ** real(count // size)

    return schedule


def cosine_decay_schedule(
    init_value: ArrayLike, decay_steps: ArrayLike, alpha: ArrayLike = 0.0, exponent: ArrayLike = 1.0
) -> Schedule:
    r"""$\alpha_t = I\,[(1-a)\,(\tfrac12(1+\cos\frac{\pi t}{T}))^p + a]$, and $I\,a$ from step $T$ on.

    Args:
        init_value: $I$.
        decay_steps: $T$, positive.
        alpha: $a$, what remains of $I$ at the end.
        exponent: $p$.

    Example:
        >>> import fnn
        >>> round(float(fnn.schedules.cosine_decay_schedule(1.0, 100)(50)), 6)
        0.5

    References:
        Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017.
    """
    require_numbers("cosine_decay_schedule", init_value=init_value, alpha=alpha)
    checks.in_range("cosine_decay_schedule", "exponent", exponent, 0)
    checks.in_range("cosine_decay_schedule", "positive decay_steps", decay_steps, 0, open="low")

    def schedule(count: ArrayLike) -> Array:
        cosine = (1 + jnp.cos(jnp.pi * portion(count, 0, decay_steps))) / 2
        decayed = (1 - real(alpha)) * power_of(cosine, exponent) + real(alpha)
        return real(init_value) * decayed

    return schedule


def inverse_sqrt_schedule(init_value: ArrayLike, timescale: ArrayLike = 1) -> Schedule:
    r"""$\alpha_t = I\sqrt{k/\max(t,k)}$: constant for $k$ steps, then falling as $1/\sqrt t$.

    Args:
        init_value: $I$.
        timescale: $k$, positive.

    Example:
        >>> import fnn
        >>> float(fnn.schedules.inverse_sqrt_schedule(1.0, timescale=100)(400))
        0.5

    References:
        Raffel et al., Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer, 2020.
    """
    require_numbers("inverse_sqrt_schedule", init_value=init_value)
    checks.in_range("inverse_sqrt_schedule", "positive timescale", timescale, 0, open="low")

    def schedule(count: ArrayLike) -> Array:
        scale = real(timescale)
        return real(init_value) * jnp.sqrt(scale / jnp.maximum(real(count), scale))

    return schedule
