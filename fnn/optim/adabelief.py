"""AdaBelief: Adam divided by how far gradients are from their mean."""

from __future__ import annotations

from typing import Any, NamedTuple

from fnn import checks
from fnn.optim.adam import check_moments, corrections, mean_ahead, no_moments, ratio
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import leafwise, square
from fnn.optim.rules import stateful
from fnn.optim.transform import Transform, chain
from fnn.typing import Array, ArrayLike, PyTree, ScalarOrSchedule

__all__ = ["ScaleByBeliefState", "adabelief", "scale_by_belief"]


class ScaleByBeliefState(NamedTuple):
    """Steps made, the average of gradients and that of their squared distance from it."""

    count: Array  # type: ignore[assignment]
    mu: PyTree
    nu: PyTree


def _belief(
    g: Array, m: Array, s: Array, *,
    b1: Any, b2: Any, eps: Any, eps_root: Any, c1: Any, c2: Any, ahead: Any = None,
) -> tuple[Array, Array, Array]:  # fmt: skip
    m = b1 * m + (1 - b1) * g
    s = b2 * s + (1 - b2) * square(g - m) + eps_root
    return ratio(mean_ahead(g, m, b1, c1, ahead), c2 * s, eps), m, s


def scale_by_belief(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-16,
    eps_root: ArrayLike = 1e-16,
    *,
    nesterov: bool = False,
) -> Transform:
    r"""Adam that divides by the distance of gradients from their mean.

    $s \leftarrow \beta_2 s + (1 - \beta_2)(g - m)^2 + \epsilon_r$, $u = \hat m/(\sqrt{\hat s} + \epsilon)$.

    Args:
        b1, b2, eps, eps_root, nesterov: as for `adabelief`.

    Raises:
        ValueError: if a decay is outside [0, 1) or an epsilon negative.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_belief(0.5)
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].round(3).tolist()
        [-2.0]
    """
    check_moments("scale_by_belief", b1, b2, eps=eps, eps_root=eps_root)
    checks.flags("scale_by_belief", nesterov=nesterov)
    step = leafwise(_belief, b1=b1, b2=b2, eps=eps, eps_root=eps_root)

    def init(params: PyTree) -> ScaleByBeliefState:
        return ScaleByBeliefState(*no_moments(params))

    return stateful(init, step, lambda count: corrections(count, b1, b2, nesterov))


def adabelief(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-16,
    eps_root: ArrayLike = 1e-16,
    *,
    nesterov: bool = False,
) -> Transform:
    r"""AdaBelief: $\theta \leftarrow \theta - \alpha \hat m/(\sqrt{\hat s} + \epsilon)$, see `scale_by_belief`.

    Args:
        learning_rate: $\alpha$, a scalar or a schedule.
        b1: decay of the mean $m$ of gradients, in [0, 1).
        b2: decay of $s$, in [0, 1).
        eps: $\epsilon$.
        eps_root: $\epsilon_r$, added at every step.
        nesterov: look one step ahead.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.adabelief(1e-3)

    References:
        Zhuang et al., AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients, 2020.
    """
    scaled = scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov)
    return chain(scaled, scale_by_learning_rate(learning_rate))
