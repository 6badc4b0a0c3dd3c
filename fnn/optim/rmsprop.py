"""RMSProp: gradients divided by their root mean square, or by their standard deviation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn import checks
from fnn.optim.adagrad import divide_by_root
from fnn.optim.gradient_descent import trace
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import correction, leafwise, square
from fnn.optim.rules import begin, stateful
from fnn.optim.transform import Transform, chain, identity
from fnn.typing import Array, ArrayLike, PyTree, ScalarOrSchedule

__all__ = [
    "ScaleByRStdDevState",
    "ScaleByRStdDevWithCountState",
    "ScaleByRmsState",
    "ScaleByRmsWithCountState",
    "rmsprop",
    "scale_by_rms",
    "scale_by_stddev",
]


class ScaleByRmsState(NamedTuple):
    """The average of squared gradients."""

    nu: PyTree


class ScaleByRmsWithCountState(NamedTuple):
    """The average of squared gradients, and how many they were."""

    count: Array  # type: ignore[assignment]
    nu: PyTree


def _rms(g: Array, s: Array, *, decay: Any, eps: Any, eps_in_sqrt: bool, rescale: Any = 1) -> tuple[Array, Array]:
    s = decay * s + (1 - decay) * square(g)
    return divide_by_root(g, rescale * s, eps, eps_in_sqrt), s


def scale_by_rms(
    decay: ArrayLike = 0.9,
    eps: ArrayLike = 1e-8,
    initial_scale: ArrayLike = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> Transform:
    r"""Divide by the root mean square: $s \leftarrow \beta s + (1 - \beta) g^2$, $u = g/\sqrt{s + \epsilon}$.

    Args:
        decay, eps, initial_scale: as for `rmsprop`.
        eps_in_sqrt: False gives $u = g/(\sqrt s + \epsilon)$.
        bias_correction: divide $s$ by $1 - \beta^t$ first.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_rms(0.75, 0.0)
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].tolist()
        [-2.0]
    """
    kinds = ScaleByRmsState, ScaleByRmsWithCountState
    return _by_moments("scale_by_rms", kinds, _rms, decay, eps, initial_scale, eps_in_sqrt, bias_correction)


def _by_moments(
    where: str, kinds: tuple[Any, Any], rule: Callable[..., Any], decay: Any, eps: Any, initial_scale: Any,
    eps_in_sqrt: bool, bias_correction: bool,
) -> Transform:  # fmt: skip
    checks.flags(where, eps_in_sqrt=eps_in_sqrt, bias_correction=bias_correction)
    checks.in_range(where, "decay", decay, 0, 1, open="high" if bias_correction else "")
    checks.in_range(where, "eps", eps, 0)
    checks.in_range(where, "initial_scale", initial_scale, 0)
    step = leafwise(rule, decay=decay, eps=eps, eps_in_sqrt=eps_in_sqrt)
    rescale = (lambda count: {"rescale": correction(decay, count)}) if bias_correction else None
    return stateful(begin(kinds[bool(bias_correction)], nu=initial_scale), step, rescale)


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
    return divide_by_root(g, variance, eps, eps_in_sqrt), m, s


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
        decay, eps, initial_scale: as for `rmsprop`.
        eps_in_sqrt: False gives $u = g/(\sqrt{\max(s - m^2, 0)} + \epsilon)$.
        bias_correction: divide $s$ and $m$ by $1 - \beta^t$ first.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_stddev(0.5, 0.0)
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].tolist()
        [-2.0]
    """
    kinds = ScaleByRStdDevState, ScaleByRStdDevWithCountState
    return _by_moments("scale_by_stddev", kinds, _stddev, decay, eps, initial_scale, eps_in_sqrt, bias_correction)


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
    checks.flags("rmsprop", centered=centered, nesterov=nesterov, learning_rate_inside=learning_rate_inside)
    scale_by = scale_by_stddev if centered else scale_by_rms
    scaled = scale_by(decay, eps, initial_scale, eps_in_sqrt, bias_correction)
    if momentum is not None:
        checks.in_range("rmsprop", "momentum", momentum, 0, 1)
    past = identity() if momentum is None else trace(momentum, nesterov)
    rate = scale_by_learning_rate(learning_rate)
    return chain(scaled, rate, past) if learning_rate_inside else chain(scaled, past, rate)
