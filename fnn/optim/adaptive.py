"""Rates adapted to each parameter by the size of its past gradients: AdaGrad, RMSProp, AdaDelta."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn import checks
from fnn.optim.gradient_descent import trace
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import correction, counter, full_like, increment, leafwise, root, square
from fnn.optim.transform import Transform, chain, identity
from fnn.optim.wrappers import add_decayed_weights
from fnn.typing import Array, ArrayLike, PyTree, ScalarOrSchedule

__all__ = [
    "ScaleByAdaDeltaState",
    "ScaleByRStdDevState",
    "ScaleByRStdDevWithCountState",
    "ScaleByRmsState",
    "ScaleByRmsWithCountState",
    "ScaleByRssState",
    "adadelta",
    "adagrad",
    "rmsprop",
    "scale_by_adadelta",
    "scale_by_rms",
    "scale_by_rss",
    "scale_by_stddev",
]


class ScaleByRssState(NamedTuple):
    """The sum of all squared gradients."""

    sum_of_squares: PyTree


def _divide(g: Array, s: Array, eps: Any, eps_in_sqrt: bool) -> Array:
    """$g/\\sqrt{s + \\epsilon}$ or $g/(\\sqrt s + \\epsilon)$; 0 where the gradient is 0."""
    below = root(s + eps) if eps_in_sqrt else root(s) + eps
    return g / jnp.where(below == 0, 1, below)


def _rss(g: Array, total: Array, *, eps: Any, eps_in_sqrt: bool) -> tuple[Array, Array]:
    total = total + square(g)
    return jnp.where(total == 0, 0, _divide(g, total, eps, eps_in_sqrt)), total


def scale_by_rss(
    initial_accumulator_value: ArrayLike = 0.1, eps: ArrayLike = 1e-7, *, eps_in_sqrt: bool = True
) -> Transform:
    r"""Divide by the root of the sum of squares: $G \leftarrow G + g^2$, $u = g/\sqrt{G + \epsilon}$.

    Args:
        initial_accumulator_value: $G_0$, at least 0.
        eps: $\epsilon$.
        eps_in_sqrt: False gives $u = g/(\sqrt G + \epsilon)$.

    Raises:
        ValueError: if `initial_accumulator_value` or `eps` is negative.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_rss(0.0, 0.0)
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].tolist()
        [-1.0]
    """
    checks.in_range("scale_by_rss", "initial_accumulator_value", initial_accumulator_value, 0)
    checks.in_range("scale_by_rss", "eps", eps, 0)
    step = leafwise(_rss, eps=eps, eps_in_sqrt=eps_in_sqrt)

    def update(
        updates: PyTree, state: ScaleByRssState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, ScaleByRssState]:
        updates, total = step(updates, state.sum_of_squares)
        return updates, ScaleByRssState(total)

    return Transform(lambda params: ScaleByRssState(full_like(params, initial_accumulator_value)), update)


def adagrad(
    learning_rate: ScalarOrSchedule,
    initial_accumulator_value: ArrayLike = 0.1,
    eps: ArrayLike = 1e-7,
    *,
    eps_in_sqrt: bool = True,
) -> Transform:
    r"""AdaGrad: $G \leftarrow G + g^2$, $\theta \leftarrow \theta - \alpha g/\sqrt{G + \epsilon}$.

    Args:
        learning_rate: $\alpha$, a scalar or a schedule.
        initial_accumulator_value: $G_0$, at least 0.
        eps: $\epsilon$.
        eps_in_sqrt: False gives $\theta \leftarrow \theta - \alpha g/(\sqrt G + \epsilon)$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.adagrad(0.1)

    References:
        Duchi et al., Adaptive Subgradient Methods for Online Learning and Stochastic Optimization, 2011.
    """
    scaled = scale_by_rss(initial_accumulator_value, eps, eps_in_sqrt=eps_in_sqrt)
    return chain(scaled, scale_by_learning_rate(learning_rate))


class ScaleByRmsState(NamedTuple):
    """The average of squared gradients."""

    nu: PyTree


class ScaleByRmsWithCountState(NamedTuple):
    """The average of squared gradients, and how many they were."""

    count: Array  # type: ignore[assignment]
    nu: PyTree


def _rms(g: Array, s: Array, *, decay: Any, eps: Any, eps_in_sqrt: bool, rescale: Any = 1) -> tuple[Array, Array]:
    s = decay * s + (1 - decay) * square(g)
    return _divide(g, rescale * s, eps, eps_in_sqrt), s


def scale_by_rms(
    decay: ArrayLike = 0.9,
    eps: ArrayLike = 1e-8,
    initial_scale: ArrayLike = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> Transform:
    r"""Divide by the root mean square: $s \leftarrow \beta s + (1 - \beta) g^2$, $u = g/\sqrt{s + \epsilon}$.

    Args:
        decay: $\beta$, in [0, 1].
        eps: $\epsilon$.
        initial_scale: $s_0$.
        eps_in_sqrt: False gives $u = g/(\sqrt s + \epsilon)$.
        bias_correction: divide $s$ by $1 - \beta^t$ first.

    Raises:
        ValueError: if `decay` is outside [0, 1], or `eps` or `initial_scale` negative.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_rms(0.75, 0.0)
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].tolist()
        [-2.0]
    """
    _check_rms("scale_by_rms", decay, eps, initial_scale, bias_correction)
    step = leafwise(_rms, decay=decay, eps=eps, eps_in_sqrt=eps_in_sqrt)

    def init(params: PyTree) -> ScaleByRmsState | ScaleByRmsWithCountState:
        nu = full_like(params, initial_scale)
        return ScaleByRmsWithCountState(counter(), nu) if bias_correction else ScaleByRmsState(nu)

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, ScaleByRmsState | ScaleByRmsWithCountState]:
        if not bias_correction:
            updates, nu = step(updates, state.nu)
            return updates, ScaleByRmsState(nu)
        count = increment(state.count)
        updates, nu = step(updates, state.nu, rescale=correction(decay, count))
        return updates, ScaleByRmsWithCountState(count, nu)

    return Transform(init, update)


def _check_rms(where: str, decay: Any, eps: Any, initial_scale: Any, bias_correction: bool) -> None:
    checks.in_range(where, "decay", decay, 0, 1, open="high" if bias_correction else "")
    checks.in_range(where, "eps", eps, 0)
    checks.in_range(where, "initial_scale", initial_scale, 0)


class ScaleByRStdDevState(NamedTuple):
    """The averages of gradients and of squared gradients."""

    mu: PyTree
    nu: PyTree


class ScaleByRStdDevWithCountState(NamedTuple):
    """The averages of gradients and of squared gradients, and how many they were."""

    count: Array  # type: ignore[assignment]
    mu: PyTree
    nu: PyTree


def _stddev(
    g: Array, m: Array, s: Array, *, decay: Any, eps: Any, eps_in_sqrt: bool, rescale: Any = 1
) -> tuple[Array, Array, Array]:
    # The new s - m^2 from the old one: the difference itself cancels where the last gradient weighs most. Rounding
    # alone can make the old one negative.
    spread = decay * jnp.maximum(jnp.real(s - square(m)), 0) + decay * (1 - decay) * jnp.real(square(g - m))
    m = decay * m + (1 - decay) * g
    s = decay * s + (1 - decay) * square(g)
    variance = jnp.maximum(rescale * (spread - (rescale - 1) * jnp.real(square(m))), 0).astype(s.dtype)
    return _divide(g, variance, eps, eps_in_sqrt), m, s


def scale_by_stddev(
    decay: ArrayLike = 0.9,
    eps: ArrayLike = 1e-8,
    initial_scale: ArrayLike = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> Transform:
    r"""Divide by the standard deviation.

    $m \leftarrow \beta m + (1 - \beta) g$, $s \leftarrow \beta s + (1 - \beta) g^2$,
    $u = g/\sqrt{\max(s - m^2, 0) + \epsilon}$, where $s - m^2$ is computed as
    $\beta (s - m^2)_{old} + \beta (1 - \beta) (g - m_{old})^2$, which does not cancel.

    Args:
        decay: $\beta$, in [0, 1].
        eps: $\epsilon$.
        initial_scale: $s_0$.
        eps_in_sqrt: False gives $u = g/(\sqrt{\max(s - m^2, 0)} + \epsilon)$.
        bias_correction: divide $m$ and $s$ by $1 - \beta^t$ first.

    Raises:
        ValueError: if `decay` is outside [0, 1], or `eps` or `initial_scale` negative.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_stddev(0.5, 0.0)
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].tolist()
        [-2.0]
    """
    _check_rms("scale_by_stddev", decay, eps, initial_scale, bias_correction)
    step = leafwise(_stddev, decay=decay, eps=eps, eps_in_sqrt=eps_in_sqrt)

    def init(params: PyTree) -> ScaleByRStdDevState | ScaleByRStdDevWithCountState:
        mu, nu = full_like(params), full_like(params, initial_scale)
        if bias_correction:
            return ScaleByRStdDevWithCountState(counter(), mu, nu)
        return ScaleByRStdDevState(mu, nu)

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, ScaleByRStdDevState | ScaleByRStdDevWithCountState]:
        if not bias_correction:
            updates, mu, nu = step(updates, state.mu, state.nu)
            return updates, ScaleByRStdDevState(mu, nu)
        count = increment(state.count)
        updates, mu, nu = step(updates, state.mu, state.nu, rescale=correction(decay, count))
        return updates, ScaleByRStdDevWithCountState(count, mu, nu)

    return Transform(init, update)


def rmsprop(
    learning_rate: ScalarOrSchedule,
    decay: ArrayLike = 0.9,
    eps: ArrayLike = 1e-8,
    initial_scale: ArrayLike = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: ArrayLike | None = None,
    nesterov: bool = False,
    bias_correction: bool = False,
    *,
    learning_rate_inside: bool = True,
) -> Transform:
    r"""RMSProp: gradients divided by their recent root mean square.

    $s \leftarrow \beta s + (1 - \beta) g^2$, $\theta \leftarrow \theta - \alpha g/\sqrt{s + \epsilon}$.

    Args:
        learning_rate: $\alpha$, a scalar or a schedule.
        decay: $\beta$, in [0, 1].
        eps: $\epsilon$.
        initial_scale: $s_0$.
        eps_in_sqrt: False gives $g/(\sqrt s + \epsilon)$.
        centered: divide by the standard deviation, $s - m^2$ in the place of $s$.
        momentum: decay of a momentum on the scaled gradient; None for none.
        nesterov: of that momentum.
        bias_correction: divide $s$ (and $m$) by $1 - \beta^t$ first.
        learning_rate_inside: whether the momentum accumulates steps (optax, Keras) or scaled gradients (torch);
            they differ under a schedule.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.rmsprop(1e-3, centered=True, momentum=0.9)

    References:
        Hinton, Neural Networks for Machine Learning, lecture 6e, 2012.
        Graves, Generating Sequences With Recurrent Neural Networks, 2013 (centered).
    """
    scale_by = scale_by_stddev if centered else scale_by_rms
    scaled = scale_by(decay, eps, initial_scale, eps_in_sqrt, bias_correction)
    if momentum is not None:
        checks.in_range("rmsprop", "momentum", momentum, 0, 1)
    past = identity() if momentum is None else trace(momentum, nesterov)
    rate = scale_by_learning_rate(learning_rate)
    return chain(scaled, rate, past) if learning_rate_inside else chain(scaled, past, rate)


class ScaleByAdaDeltaState(NamedTuple):
    """The averages of squared gradients and of squared steps."""

    e_g: PyTree
    e_x: PyTree


def _adadelta(g: Array, e_g: Array, e_x: Array, *, rho: Any, eps: Any) -> tuple[Array, Array, Array]:
    e_g = rho * e_g + (1 - rho) * g * g
    u = root(e_x + eps) / root(e_g + eps) * g
    return u, e_g, rho * e_x + (1 - rho) * u * u


def scale_by_adadelta(rho: ArrayLike = 0.9, eps: ArrayLike = 1e-6) -> Transform:
    r"""Divide by the RMS of gradients, multiply by the RMS of past steps:

    $E_g \leftarrow \rho E_g + (1 - \rho) g^2$, $u = \sqrt{E_x + \epsilon}/\sqrt{E_g + \epsilon}\; g$,
    $E_x \leftarrow \rho E_x + (1 - \rho) u^2$.

    Args:
        rho: $\rho$, in [0, 1].
        eps: $\epsilon$, above 0.

    Raises:
        ValueError: if `rho` is outside [0, 1] or `eps` is not positive.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_adadelta()
        >>> rule.update(jnp.zeros(1), rule.init(jnp.ones(1)))[0].tolist()
        [0.0]
    """
    checks.in_range("scale_by_adadelta", "rho", rho, 0, 1)
    checks.in_range("scale_by_adadelta", "eps", eps, 0, open="low")
    step = leafwise(_adadelta, rho=rho, eps=eps)

    def update(
        updates: PyTree, state: ScaleByAdaDeltaState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, ScaleByAdaDeltaState]:
        updates, e_g, e_x = step(updates, state.e_g, state.e_x)
        return updates, ScaleByAdaDeltaState(e_g, e_x)

    return Transform(lambda params: ScaleByAdaDeltaState(full_like(params), full_like(params)), update)


def adadelta(
    learning_rate: ScalarOrSchedule | None = None,
    rho: ArrayLike = 0.9,
    eps: ArrayLike = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Any = None,
) -> Transform:
    r"""AdaDelta: steps of the size of past steps, without a rate to tune.

    $\theta \leftarrow \theta - \alpha \sqrt{E_x + \epsilon}/\sqrt{E_g + \epsilon}\; g$, see
    `scale_by_adadelta`.

    Args:
        learning_rate: $\alpha$, a scalar or a schedule. None returns $+u$, for a later transform to turn around.
        rho: decay of both averages, in [0, 1].
        eps: $\epsilon$, above 0.
        weight_decay: $\lambda$, added to the gradient as $\lambda\theta$.
        weight_decay_mask: which leaves decay: a tree of booleans or a function params -> tree.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.adadelta(1.0)

    References:
        Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012.
    """
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_adadelta(rho, eps),
        scale_by_learning_rate(learning_rate),
    )
