"""Steps against the gradient: updates times minus the learning rate."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn import checks
from fnn.optim.leaves import leafwise, times
from fnn.optim.rules import begin, stateful, stateless
from fnn.optim.stated_rate import with_rate
from fnn.optim.transform import Transform
from fnn.typing import Array, ArrayLike, ScalarOrSchedule, Schedule

__all__ = ["ScaleByScheduleState", "scale", "scale_by_learning_rate", "scale_by_schedule"]


def require_constructor(where: str, given: Any) -> None:
    """Require what makes a transform from a learning rate, which is not made yet."""
    if hasattr(given, "update") or not callable(given):
        raise checks.not_one(where, "optimizer", "a function of the learning rate", given, "write fnn.optim.adam")


def scale(step_size: ArrayLike) -> Transform:
    r"""Multiply by a constant: $u = s\,g$, where `step_size` is $s$, a number or a traced scalar.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale(-0.5)
        >>> rule.update(jnp.array([2.0]), rule.init(None))[0].tolist()
        [-1.0]
    """
    checks.in_range("scale", "step_size", step_size)
    return stateless(leafwise(times, factor=step_size))


class ScaleByScheduleState(NamedTuple):
    """How many updates were made."""

    count: Array  # type: ignore[assignment]


def scale_by_schedule(step_size_fn: Schedule) -> Transform:
    r"""Multiply by a function $s$, step count -> factor, of the updates made before: $u_t = s(t)\,g_t$, $t = 0, 1, …$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_schedule(lambda step: 0.5 ** step.astype(float))
        >>> _, state = rule.update(jnp.ones(1), rule.init(jnp.ones(1)))
        >>> rule.update(jnp.ones(1), state)[0].tolist()
        [0.5]
    """
    checks.schedule("scale_by_schedule", "step_size_fn", step_size_fn)
    init, step = begin(ScaleByScheduleState), leafwise(times)
    return stateful(init, step, lambda count: {"factor": step_size_fn(count)}, count_from=0)


def scale_by_learning_rate(learning_rate: ScalarOrSchedule, *, flip_sign: bool = True) -> Transform:
    r"""Multiply by minus the learning rate: $u = -\alpha g$.

    Args:
        learning_rate: $\alpha \ge 0$: a number, a traced scalar, or a schedule step -> rate.
        flip_sign: False multiplies by $+\alpha$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_learning_rate(0.5)
        >>> rule.update(jnp.array([2.0]), rule.init(None))[0].tolist()
        [-1.0]
    """
    checks.number_or_schedule("scale_by_learning_rate", "learning_rate", learning_rate)
    checks.flags("scale_by_learning_rate", flip_sign=flip_sign)
    sign = -1 if flip_sign else 1
    if callable(learning_rate):
        schedule = scale_by_schedule(lambda count: sign * learning_rate(count))
        return with_rate(schedule, lambda state: learning_rate(jnp.maximum(state.count - 1, 0)))
    return with_rate(scale(sign * learning_rate), lambda state: jnp.asarray(learning_rate))
