"""Rates that fall with the sum of squared gradients, and steps in the unit of the parameters: AdaGrad, AdaDelta."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn import checks
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import leafwise, root, square
from fnn.optim.rules import begin, stateful
from fnn.optim.transform import Transform, chain, identity
from fnn.optim.wrappers import add_decayed_weights
from fnn.typing import Array, ArrayLike, PyTree, ScalarOrSchedule

__all__ = ["ScaleByAdaDeltaState", "ScaleByRssState", "adadelta", "adagrad", "scale_by_adadelta", "scale_by_rss"]


class ScaleByRssState(NamedTuple):
    """The sum of all squared gradients."""

    sum_of_squares: PyTree


def divide_by_root(g: Array, s: Array, eps: Any, eps_in_sqrt: bool) -> Array:
    """$g/\\sqrt{s + \\epsilon}$ or $g/(\\sqrt s + \\epsilon)$; 0 where the gradient is 0."""
    below = root(s + eps) if eps_in_sqrt else root(s) + eps
    return g / jnp.where(below == 0, 1, below)


def _rss(g: Array, total: Array, *, eps: Any, eps_in_sqrt: bool) -> tuple[Array, Array]:
    total = total + square(g)
    return jnp.where(total == 0, 0, divide_by_root(g, total, eps, eps_in_sqrt)), total


def scale_by_rss(
    initial_accumulator_value: ArrayLike = 0.1, eps: ArrayLike = 1e-7, *, eps_in_sqrt: bool = True
) -> Transform:
    r"""Divide by the root of the sum of squares: $G \leftarrow G + g^2$, $u = g/\sqrt{G + \epsilon}$.

    Args:
        initial_accumulator_value, eps: as for `adagrad`.
        eps_in_sqrt: False gives $u = g/(\sqrt G + \epsilon)$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_rss(0.0, 0.0)
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].tolist()
        [-1.0]
    """
    checks.in_range("scale_by_rss", "initial_accumulator_value", initial_accumulator_value, 0)
    checks.in_range("scale_by_rss", "eps", eps, 0)
    checks.flags("scale_by_rss", eps_in_sqrt=eps_in_sqrt)
    init = begin(ScaleByRssState, sum_of_squares=initial_accumulator_value)
    return stateful(init, leafwise(_rss, eps=eps, eps_in_sqrt=eps_in_sqrt))


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


class ScaleByAdaDeltaState(NamedTuple):
    """The averages of squared gradients and of squared steps."""

    e_g: PyTree
    e_x: PyTree


def _adadelta(g: Array, e_g: Array, e_x: Array, *, rho: Any, eps: Any) -> tuple[Array, Array, Array]:
    e_g = rho * e_g + (1 - rho) * square(g)
    u = root(e_x + eps) / root(e_g + eps) * g
    return u, e_g, rho * e_x + (1 - rho) * square(u)


def scale_by_adadelta(rho: ArrayLike = 0.9, eps: ArrayLike = 1e-6) -> Transform:
    r"""Divide by the RMS of gradients, multiply by the RMS of past steps:

    $E_g \leftarrow \rho E_g + (1 - \rho) g^2$, $u = \sqrt{E_x + \epsilon}/\sqrt{E_g + \epsilon}\; g$,
    $E_x \leftarrow \rho E_x + (1 - \rho) u^2$.

    Args:
        rho, eps: as for `adadelta`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_adadelta()
        >>> rule.update(jnp.zeros(1), rule.init(jnp.ones(1)))[0].tolist()
        [0.0]
    """
    checks.in_range("scale_by_adadelta", "rho", rho, 0, 1)
    checks.in_range("scale_by_adadelta", "eps", eps, 0, open="low")
    return stateful(begin(ScaleByAdaDeltaState), leafwise(_adadelta, rho=rho, eps=eps))


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
        rho: $\rho$, the decay of both averages, in [0, 1].
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
        identity() if learning_rate is None else scale_by_learning_rate(learning_rate),
    )
