"""AdaGrad: every parameter's rate falls with the sum of its squared gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn import checks
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import full_like, leafwise, root, square
from fnn.optim.rules import stateful
from fnn.optim.transform import Transform, chain
from fnn.typing import Array, ArrayLike, PyTree, ScalarOrSchedule

__all__ = ["ScaleByRssState", "adagrad", "scale_by_rss"]


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
    checks.flags("scale_by_rss", eps_in_sqrt=eps_in_sqrt)
    step = leafwise(_rss, eps=eps, eps_in_sqrt=eps_in_sqrt)

    return stateful(lambda params: ScaleByRssState(full_like(params, initial_accumulator_value)), step)


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
