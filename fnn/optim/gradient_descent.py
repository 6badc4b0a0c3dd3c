"""Gradient descent and its three forms of momentum."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn import checks
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import correction, is_zero, leafwise
from fnn.optim.rules import begin, stateful
from fnn.optim.transform import Transform, chain, identity
from fnn.typing import Array, ArrayLike, DType, PyTree, ScalarOrSchedule

__all__ = ["EmaState", "TraceState", "TraceWithCountState", "ema", "momentum", "sgd", "trace"]


class TraceState(NamedTuple):
    """The trace of past updates."""

    trace: PyTree


class TraceWithCountState(NamedTuple):
    """The trace of past updates, and how many they were."""

    count: Array  # type: ignore[assignment]
    trace: PyTree


def _accumulate(
    g: Array, t: Array, *, decay: Any, dampening: Any, nesterov: bool, first: Any = None
) -> tuple[Array, Array]:
    new = decay * t + (1 - dampening) * g
    if first is not None:
        new = jnp.where(first, g, new)
    return (g + decay * new if nesterov else new), new


def trace(
    decay: ArrayLike,
    nesterov: bool = False,
    accumulator_dtype: DType | None = None,
    *,
    dampening: ArrayLike = 0.0,
    init_from_first: bool = False,
) -> Transform:
    r"""The decayed sum of gradients: $v_t = \beta v_{t-1} + (1 - d) g_t$, $v_0 = 0$; returns $v_t$.

    Args:
        decay: $\beta$, in [0, 1].
        nesterov: return $g_t + \beta v_t$.
        accumulator_dtype: dtype of $v$; that of the parameters by default.
        dampening: $d$, in [0, 1].
        init_from_first: start with $v_1 = g_1$, undamped. The state then counts steps.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.trace(0.5)
        >>> _, state = rule.update(jnp.ones(1), rule.init(jnp.ones(1)))
        >>> rule.update(jnp.ones(1), state)[0].tolist()
        [1.5]

    References:
        Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.
    """
    checks.in_range("trace", "decay", decay, 0, 1)
    checks.in_range("trace", "dampening", dampening, 0, 1)
    checks.flags("trace", nesterov=nesterov, init_from_first=init_from_first)
    checks.floating_dtype("trace", "accumulator_dtype", accumulator_dtype, jnp.inexact)
    step = leafwise(_accumulate, decay=decay, dampening=dampening, nesterov=nesterov)
    init = begin(TraceWithCountState if init_from_first else TraceState, {"trace": accumulator_dtype})
    return stateful(init, step, (lambda count: {"first": count == 1}) if init_from_first else None)


class EmaState(NamedTuple):
    """The average of past updates, and how many they were."""

    count: Array  # type: ignore[assignment]
    ema: PyTree


def _average(
    g: Array, v: Array, *, decay: Any, nesterov: bool, first: Any = None, rescale: Any = None
) -> tuple[Array, Array]:
    new = decay * v + (1 - decay) * g
    if first is not None:
        new = jnp.where(first, g, new)
    u = decay * new + (1 - decay) * g if nesterov else new
    return (u if rescale is None else u * rescale), new


def ema(
    decay: ArrayLike,
    debias: bool = True,
    accumulator_dtype: DType | None = None,
    *,
    nesterov: bool = False,
    init_from_first: bool = False,
) -> Transform:
    r"""The exponentially weighted average of gradients: $v_t = \beta v_{t-1} + (1 - \beta) g_t$, $v_0 = 0$.

    Args:
        decay: $\beta$, in [0, 1].
        debias: return $v_t / (1 - \beta^t)$.
        accumulator_dtype: dtype of $v$; that of the parameters by default.
        nesterov: return $\beta v_t + (1 - \beta) g_t$ (without `debias`).
        init_from_first: start with $v_1 = g_1$ (without `debias`, which corrects a start at zero).

    Raises:
        ValueError: if `decay` is outside [0, 1] (1 cannot be corrected for), or `debias` is asked for together with
            one of the last two.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.ema(0.5, debias=False)
        >>> rule.update(jnp.ones(1), rule.init(jnp.ones(1)))[0].tolist()
        [0.5]
    """
    checks.flags("ema", debias=debias, nesterov=nesterov, init_from_first=init_from_first)
    checks.floating_dtype("ema", "accumulator_dtype", accumulator_dtype, jnp.inexact)
    checks.in_range("ema", "decay", decay, 0, 1, open="high" if debias else "")
    if debias and (nesterov or init_from_first):
        raise ValueError("ema: expected debias=False together with nesterov or init_from_first; write debias=False")
    step = leafwise(_average, decay=decay, nesterov=nesterov)

    def values(count: Array) -> dict[str, Array]:
        if debias:
            return {"rescale": correction(decay, count)}
        return {"first": count == 1} if init_from_first else {}

    return stateful(begin(EmaState, {"ema": accumulator_dtype}), step, values)


def sgd(
    learning_rate: ScalarOrSchedule,
    momentum: ArrayLike | None = None,
    nesterov: bool = False,
    accumulator_dtype: DType | None = None,
) -> Transform:
    r"""Gradient descent: $\theta \leftarrow \theta - \alpha g$.

    With momentum $v \leftarrow \beta v + g$, $\theta \leftarrow \theta - \alpha v$.

    Whether it is batch, stochastic or mini-batch descent is decided by the examples the gradient is taken of: all,
    one or some.

    Args:
        learning_rate: $\alpha$, a scalar or a schedule.
        momentum: $\beta$; None keeps no state.
        nesterov: step along $g + \beta v$.
        accumulator_dtype: dtype of $v$; that of the parameters by default.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.sgd(0.5)
        >>> rule.update(jnp.ones(1), rule.init(jnp.ones(1)))[0].tolist()
        [-0.5]

    References:
        Robbins and Monro, A Stochastic Approximation Method, 1951.
    """
    if momentum is not None:
        checks.in_range("sgd", "momentum", momentum, 0, 1)
    checks.flags("sgd", nesterov=nesterov)
    checks.floating_dtype("sgd", "accumulator_dtype", accumulator_dtype, jnp.inexact)
    first = identity() if momentum is None else trace(momentum, nesterov, accumulator_dtype)
    return chain(first, scale_by_learning_rate(learning_rate))


def momentum(
    learning_rate: ScalarOrSchedule,
    decay: ArrayLike = 0.9,
    form: str = "trace",
    *,
    nesterov: bool = False,
    dampening: ArrayLike = 0.0,
    init_from_first: bool = False,
    accumulator_dtype: DType | None = None,
) -> Transform:
    r"""Gradient descent with momentum, in any of the three forms in use.

    - `"trace"`: $v \leftarrow \beta v + (1 - d) g$, $\theta \leftarrow \theta - \alpha v$;
    - `"average"`: $v \leftarrow \beta v + (1 - \beta) g$, $\theta \leftarrow \theta - \alpha v$;
    - `"velocity"`: $v \leftarrow \beta v - \alpha g$, $\theta \leftarrow \theta + v$.

    At a constant rate the first and the last take the same steps; under a schedule the velocity keeps the rates of
    the past. The second takes the steps of the first at the rate $(1 - \beta) \alpha$.

    Args:
        learning_rate, accumulator_dtype: as for `sgd`.
        decay: $\beta$, in [0, 1].
        form: "trace", "average" or "velocity".
        nesterov: look ahead: step along $g + \beta v$, $\beta v + (1 - \beta) g$ or $\beta v - \alpha g$.
        dampening: $d$ of the first form.
        init_from_first: the first step takes $v_1 = g_1$ ($-\alpha g_1$) instead of an average with zero.

    Raises:
        ValueError: for another form, for dampening outside the form "trace", or `decay` outside [0, 1].

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.momentum(1.0, 0.75, form="average")
        >>> rule.update(jnp.ones(1), rule.init(jnp.ones(1)))[0].tolist()
        [-0.25]

    References:
        Polyak, Some methods of speeding up the convergence of iteration methods, 1964.
        Nesterov, A method for solving a convex programming problem with convergence rate 1/k², 1983.
    """
    checks.one_of("momentum", "form", form, ("trace", "average", "velocity"))
    checks.in_range("momentum", "dampening", dampening, 0, 1)
    if form != "trace" and not is_zero(dampening):
        raise ValueError(f'momentum: expected dampening with form="trace" only, got form={form!r}')
    rate = scale_by_learning_rate(learning_rate)
    if form == "average":
        average = ema(decay, False, accumulator_dtype, nesterov=nesterov, init_from_first=init_from_first)
        return chain(average, rate)
    past = trace(decay, nesterov, accumulator_dtype, dampening=dampening, init_from_first=init_from_first)
    return chain(past, rate) if form == "trace" else chain(rate, past)
