"""Averages over time: of a series, and of parameters while they are trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optim.leaves import correction, counter, increment, need_params, widest
from fnn.optim.stated_rate import rate_inside, with_rate
from fnn.optim.transform import Transform, apply_updates, keep_accepted, require_transform
from fnn.typing import Array, ArrayLike, PyTree

__all__ = ["EmaParamsState", "SwaParamsState", "ema_params", "ewma", "swa_params"]


def ewma(series: ArrayLike, decay: ArrayLike, *, init_from_first: bool = True, debias: bool = False) -> Array:
    r"""Exponentially weighted moving average: $S_t = \beta S_{t-1} + (1-\beta) Y_t$.

    Args:
        series: $Y$, (time, …), floating-point.
        decay: $\beta$ in [0, 1], the weight of the old value.
        init_from_first: $S_1 = Y_1$; False starts from $S_0 = 0$.
        debias: with a start from zero, return $S_t/(1-\beta^t)$.

    Returns:
        $S$, (time, …), in the dtype of the series; computed in float32 at least.

    Raises:
        ValueError: if `debias` is asked for with a start that has no bias.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.optim.ewma(jnp.array([1.0, 3.0]), 0.5).tolist()
        [1.0, 2.0]
        >>> fnn.optim.ewma(jnp.array([1.0, 1.0]), 0.5, init_from_first=False).tolist()
        [0.5, 0.75]
    """
    checks.floating("ewma", "series", series)
    checks.in_range("ewma", "decay", decay, 0, 1)
    checks.flags("ewma", init_from_first=init_from_first, debias=debias)
    if init_from_first and debias:
        raise ValueError("ewma: a start from the first value has no bias; write init_from_first=False, debias=True")
    series = jnp.asarray(series)
    checks.least_rank("ewma", "series", series, 1, "(time, …)")
    y = series.astype(widest(series.dtype, jnp.float32))
    beta = jnp.asarray(decay, y.dtype)
    if not y.size:
        return series
    mean = debias & (beta == 1)  # to which the debiased average tends
    gain = jnp.where(mean, 1, 1 - beta)

    def step(average: Array, value: Array) -> tuple[Array, Array]:
        average = beta * average + gain * value
        return average, average

    start = y[0] if init_from_first else jnp.zeros_like(y[0])
    averages = jax.lax.scan(step, start, y)[1]
    if init_from_first:
        # beta Y + (1 - beta) Y is Y only up to rounding.
        averages = averages.at[0].set(y[0])
    if debias:
        count = jnp.arange(1, len(y) + 1, dtype=y.dtype).reshape(-1, *[1] * (y.ndim - 1))
        averages = averages / jnp.where(mean, count, 1 - beta**count)
    return averages.astype(series.dtype)


class EmaParamsState(NamedTuple):
    """The inner state, the averaged parameters and how many updates are in them."""

    inner_state: PyTree
    ema: PyTree
    count: Array  # type: ignore[assignment]

    def eval_params(self, params: PyTree) -> PyTree:
        return self.ema


def _wide(params: PyTree) -> PyTree:
    """A copy of its own in float32 at least: in bfloat16 an average with decay 0.999 would never move."""
    return jax.tree.map(lambda p: jnp.array(p, widest(jnp.result_type(p), jnp.float32), copy=True), params)


def ema_params(inner: Transform, decay: ArrayLike, *, debias: bool = False) -> Transform:
    r"""The rule `inner`, and beside it an exponential moving average of the parameters.

    $\bar\theta_t = \beta\bar\theta_{t-1} + (1-\beta)\theta_t$.

    The average is `state.ema`, kept in float32 at least; evaluate with it, train on. The updates, which need the
    parameters, are those of `inner`: put nothing that changes them after this wrapper.

    Args:
        inner: fnn's or optax's complete optimizer.
        decay: $\beta$ in [0, 1], the weight of the old value.
        debias: start from zero and divide by $1-\beta^t$, instead of starting from the initial parameters.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.ema_params(fnn.optim.sgd(1.0), decay=0.5)
        >>> params = jnp.array([2.0])
        >>> _, state = rule.update(jnp.array([1.0]), rule.init(params), params)
        >>> state.ema.tolist()
        [1.5]

    References:
        Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992.
    """
    checks.in_range("ema_params", "decay", decay, 0, 1)
    checks.flags("ema_params", debias=debias)

    def init(params: PyTree) -> EmaParamsState:
        return EmaParamsState(inner.init(params), _wide(params), counter())

    def follow(inner_state: PyTree, state: EmaParamsState, params: PyTree) -> EmaParamsState:
        count = increment(state.count)

        def average(old: Array, new: Array) -> Array:
            beta = jnp.asarray(decay, jnp.finfo(old.dtype).dtype)
            if debias:
                # beta (1 - beta^(t-1)) / (1 - beta^t) weighs the unbiased old average, 0 at the first step.
                share = jnp.asarray(1 - decay, beta.dtype) * correction(decay, count).astype(beta.dtype)
                beta = jnp.where(count == 1, 0, 1 - jnp.where(decay == 1, 1 / count.astype(beta.dtype), share))
            return beta.astype(old.dtype) * old + (1 - beta).astype(old.dtype) * new.astype(old.dtype)

        return EmaParamsState(inner_state, jax.tree.map(average, state.ema, params), count)

    return _beside("ema_params", inner, init, follow)


def _beside(
    where: str, inner: Transform, init: Callable[[PyTree], Any], follow: Callable[[PyTree, Any, PyTree], Any]
) -> Transform:
    """The rule `inner`, and in its state what `follow(inner state, state before, new parameters)` keeps of these."""
    require_transform(where, inner, "inner")
    accepted = keep_accepted(inner.update)

    def update(updates: PyTree, state: Any, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, Any]:
        params = need_params(where, params)
        updates, inner_state = inner.update(updates, state.inner_state, params, **accepted(extra))
        return updates, follow(inner_state, state, apply_updates(params, updates))

    return with_rate(Transform(init, update), rate_inside(inner))


class SwaParamsState(NamedTuple):
    """The inner state, updates made, parameters in the mean, the mean."""

    inner_state: PyTree
    count: Array  # type: ignore[assignment]
    averaged: Array
    mean: PyTree

    def eval_params(self, params: PyTree) -> PyTree:
        return self.mean


def swa_params(inner: Transform, start_step: ArrayLike = 0, every: ArrayLike = 1) -> Transform:
    r"""The rule `inner`, and beside it the running mean of the parameters.

    $\bar\theta_n = \bar\theta_{n-1} + (\theta - \bar\theta_{n-1})/n$.

    The mean is `state.mean`, kept in float32 at least; before the first average it is the current parameters. The
    updates, which need the parameters, are those of `inner`.

    Args:
        inner: fnn's or optax's complete optimizer.
        start_step: updates before averaging begins.
        every: from then on the parameters after every so many updates are averaged.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.swa_params(fnn.optim.sgd(1.0))
        >>> params = jnp.array([2.0])
        >>> updates, state = rule.update(jnp.array([1.0]), rule.init(params), params)
        >>> _, state = rule.update(jnp.array([1.0]), state, params + updates)
        >>> state.mean.tolist()
        [0.5]

    References:
        Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, 2018.
    """
    checks.whole_number("swa_params", "start_step", start_step, 0)
    checks.whole_number("swa_params", "every", every, 1)

    def init(params: PyTree) -> SwaParamsState:
        return SwaParamsState(inner.init(params), counter(), counter(), _wide(params))

    def follow(inner_state: PyTree, state: SwaParamsState, params: PyTree) -> SwaParamsState:
        count = increment(state.count)
        due = (count > start_step) & ((count - start_step) % every == 0)
        averaged = jnp.where(due, increment(state.averaged), state.averaged)

        def average(old: Array, new: Array) -> Array:
            new = new.astype(old.dtype)
            moved = old + (new - old) / jnp.maximum(averaged, 1).astype(old.dtype)
            return jnp.where(averaged == 0, new, jnp.where(due, moved, old))

        return SwaParamsState(inner_state, count, averaged, jax.tree.map(average, state.mean, params))

    return _beside("swa_params", inner, init, follow)
