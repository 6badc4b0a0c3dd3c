"""AdaMax: Adam with the largest gradient in the place of the root mean square."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from fnn import checks
from fnn.optim.adam import check_moments, no_moments
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import correction, leafwise
from fnn.optim.rules import stateful
from fnn.optim.transform import Transform, chain
from fnn.optim.wrappers import add_decayed_weights
from fnn.typing import Array, ArrayLike, ScalarOrSchedule

__all__ = ["adamax", "adamaxw", "scale_by_adamax"]


def _adamax(
    g: Array, m: Array, v: Array, *, b1: Any, b2: Any, eps: Any, eps_in_max: bool, c1: Any
) -> tuple[Array, Array, Array]:
    m = b1 * m + (1 - b1) * g
    size = jnp.abs(g).astype(v.dtype)
    v = jnp.maximum(b2 * v, size + eps if eps_in_max else size)
    below = v if eps_in_max else v + eps
    return c1 * m / jnp.where(below == 0, 1, below), m, v


def scale_by_adamax(
    b1: ArrayLike = 0.9, b2: ArrayLike = 0.999, eps: ArrayLike = 1e-8, *, eps_in_max: bool = True
) -> Transform:
    r"""Adam with the largest gradient in the place of the root mean square.

    $v \leftarrow \max(\beta_2 v, |g| + \epsilon)$, $u = \hat m/v$.

    Args:
        b1, b2, eps: as for `adamax`.
        eps_in_max: False gives $v \leftarrow \max(\beta_2 v, |g|)$, $u = \hat m/(v + \epsilon)$ (Keras).

    Raises:
        ValueError: if a decay is outside [0, 1) or `eps` is negative.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_adamax(eps=0.0)
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].round(3).tolist()
        [-1.0]
    """
    check_moments("scale_by_adamax", b1, b2, eps=eps)
    checks.flags("scale_by_adamax", eps_in_max=eps_in_max)
    step = leafwise(_adamax, b1=b1, b2=b2, eps=eps, eps_in_max=eps_in_max)

    return stateful(no_moments, step, lambda count: {"c1": correction(b1, count)})


def adamax(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
) -> Transform:
    r"""AdaMax: $\theta \leftarrow \theta - \alpha \hat m/v$, $v \leftarrow \max(\beta_2 v, |g| + \epsilon)$.

    Args:
        learning_rate: $\alpha$, a scalar or a schedule.
        b1: decay of the mean $m$ of gradients, in [0, 1).
        b2: decay of the maximum $v$, in [0, 1).
        eps: $\epsilon$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.adamax(2e-3)

    References:
        Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015, section 7.1.
    """
    return chain(scale_by_adamax(b1, b2, eps), scale_by_learning_rate(learning_rate))


def adamaxw(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Any = None,
) -> Transform:
    r"""AdaMax with decoupled weight decay: $\theta \leftarrow \theta - \alpha (\hat m/v + \lambda\theta)$.

    Args:
        learning_rate, b1, b2, eps: as for `adamax`.
        weight_decay: $\lambda$, a scalar or a schedule.
        mask: which leaves decay: a tree of booleans or a function params -> tree.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.adamaxw(2e-3)

    References:
        Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019.
    """
    decayed = add_decayed_weights(weight_decay, mask)
    return chain(scale_by_adamax(b1, b2, eps), decayed, scale_by_learning_rate(learning_rate))
