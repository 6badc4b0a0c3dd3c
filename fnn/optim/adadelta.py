"""AdaDelta: steps in the unit of the parameters, without a rate to choose."""

from __future__ import annotations

from typing import Any, NamedTuple

from fnn import checks
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import full_like, leafwise, root, square
from fnn.optim.rules import stateful
from fnn.optim.transform import Transform, chain, identity
from fnn.optim.wrappers import add_decayed_weights
from fnn.typing import Array, ArrayLike, PyTree, ScalarOrSchedule

__all__ = ["ScaleByAdaDeltaState", "adadelta", "scale_by_adadelta"]


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

    return stateful(lambda params: ScaleByAdaDeltaState(full_like(params), full_like(params)), step)


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
        identity() if learning_rate is None else scale_by_learning_rate(learning_rate),
    )
