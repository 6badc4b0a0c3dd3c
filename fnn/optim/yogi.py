"""Yogi: Adam whose mean of squares changes by steps of bounded size."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from fnn.optim.adam import ScaleByAdamState, check_moments, corrections, ratio
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import counter, full_like, leafwise, square
from fnn.optim.rules import stateful
from fnn.optim.transform import Transform, chain
from fnn.typing import Array, ArrayLike, PyTree, ScalarOrSchedule

__all__ = ["scale_by_yogi", "yogi"]


def _yogi(
    g: Array, m: Array, v: Array, *, b1: Any, b2: Any, eps: Any, eps_root: Any, c1: Any, c2: Any
) -> tuple[Array, Array, Array]:
    m = b1 * m + (1 - b1) * g
    v = v - (1 - b2) * jnp.sign(v - square(g)) * square(g)
    return ratio(c1 * m, c2 * v, eps, eps_root), m, v


def scale_by_yogi(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-3,
    eps_root: ArrayLike = 0.0,
    initial_accumulator_value: ArrayLike = 1e-6,
) -> Transform:
    r"""Adam with a second moment that moves by a bounded amount.

    $v \leftarrow v - (1 - \beta_2)\, \mathrm{sign}(v - g^2)\, g^2$.

    Args:
        b1, b2, eps: as for `yogi`.
        eps_root: $\epsilon_r$.
        initial_accumulator_value: $m_0 = v_0$, at least 0.

    Raises:
        ValueError: if a decay is outside [0, 1), or an epsilon or the initial value negative.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_yogi(eps=0.0, initial_accumulator_value=0.0)
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].round(3).tolist()
        [-1.0]
    """
    start = initial_accumulator_value
    check_moments("scale_by_yogi", b1, b2, eps=eps, eps_root=eps_root, initial_accumulator_value=start)
    step = leafwise(_yogi, b1=b1, b2=b2, eps=eps, eps_root=eps_root)

    def init(params: PyTree) -> ScaleByAdamState:
        return ScaleByAdamState(counter(), full_like(params, start), full_like(params, start))

    return stateful(init, step, lambda count: corrections(count, b1, b2, nesterov=False))


def yogi(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-3,
) -> Transform:
    r"""Yogi: Adam with a second moment that moves by a bounded amount.

    $\theta \leftarrow \theta - \alpha \hat m/(\sqrt{\hat v} + \epsilon)$,
    $v \leftarrow v - (1 - \beta_2)\,\mathrm{sign}(v - g^2)\, g^2$.

    Args:
        learning_rate: $\alpha$, a scalar or a schedule.
        b1: decay of the mean $m$ of gradients, in [0, 1).
        b2: constant of $v$, in [0, 1).
        eps: $\epsilon$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.yogi(1e-2)

    References:
        Zaheer et al., Adaptive Methods for Nonconvex Optimization, 2018.
    """
    return chain(scale_by_yogi(b1, b2, eps), scale_by_learning_rate(learning_rate))
