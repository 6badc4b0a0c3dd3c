"""RAdam: Adam whose first steps, of an uncertain denominator, do without it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from fnn import checks
from fnn.optim.adam import check_moments, corrections, mean_ahead, no_moments, ratio
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import leafwise, log_of, power, square
from fnn.optim.rules import stateful
from fnn.optim.transform import Transform, chain
from fnn.typing import Array, ArrayLike, ScalarOrSchedule

__all__ = ["radam", "scale_by_radam"]


def _radam(
    g: Array, m: Array, v: Array, *, b1: Any, b2: Any, eps: Any, eps_root: Any, eps_hat: bool,
    tractable: Any, rectifier: Any, c1: Any, c2: Any, ahead: Any = None,
) -> tuple[Array, Array, Array]:  # fmt: skip
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * square(g)
    mean = mean_ahead(g, m, b1, c1, ahead)
    hat = jnp.sqrt(c2) if eps_hat else 1
    return jnp.where(tractable, rectifier * ratio(mean, c2 * v, hat * eps, eps_root), mean), m, v


def degrees_of_freedom(b2: Any, count: Array, limit: Any) -> Any:
    r"""$\rho_t$: near $\beta_2 = 1$ both of its terms are about $2/(1 - \beta_2)$, and their difference about $t$."""
    if (log := log_of(b2)) is None:
        b2t = power(b2, count)
        return limit - 2 * count.astype(b2t.dtype) * b2t / (1 - b2t)
    t = count.astype(jnp.float32)
    x = -log * t
    near = 1 / 2 - x / 12 + x**3 / 720 - x**5 / 30240  # the series of what follows
    return (limit + 2 / log) + 2 * t * jnp.where(x < 0.5, near, 1 / x - 1 / jnp.expm1(x))


def scale_by_radam(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    threshold: ArrayLike = 5.0,
    *,
    nesterov: bool = False,
    eps_hat: bool = False,
) -> Transform:
    r"""Adam that waits until the variance of its denominator is tractable:

    $\rho_t = \rho_\infty - 2t\beta_2^t/(1 - \beta_2^t)$, $\rho_\infty = 2/(1 - \beta_2) - 1$; $u = \hat m$ while
    $\rho_t$ is below the threshold, then $u = r_t \hat m/(\sqrt{\hat v + \epsilon_r} + \epsilon)$ with
    $r_t^2 = (\rho_t - 4)(\rho_t - 2)\rho_\infty/((\rho_\infty - 4)(\rho_\infty - 2)\rho_t)$.

    Arguments that are not listed are those of `radam`.

    Args:
        eps_hat: $\epsilon$ beside the root of the uncorrected $v$ (torch).

    Raises:
        ValueError: if a decay is outside [0, 1) or an epsilon negative.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_radam()
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].round(3).tolist()
        [-4.0]
    """
    check_moments("scale_by_radam", b1, b2, eps=eps, eps_root=eps_root)
    checks.in_range("scale_by_radam", "threshold", threshold, 4)  # the rectifier has no root below
    checks.flags("scale_by_radam", nesterov=nesterov, eps_hat=eps_hat)
    step = leafwise(_radam, b1=b1, b2=b2, eps=eps, eps_root=eps_root, eps_hat=eps_hat)
    limit = 2 / (1 - b2) - 1

    def values(count: Array) -> dict[str, Array]:
        rho = degrees_of_freedom(b2, count, limit)
        tractable = rho >= threshold
        safe = jnp.where(tractable, rho, limit)
        squared = (safe - 4) * (safe - 2) * limit / ((limit - 4) * (limit - 2) * safe)
        rectifier = jnp.sqrt(jnp.where(tractable, squared, 1))
        return {"tractable": tractable, "rectifier": rectifier, **corrections(count, b1, b2, nesterov)}

    return stateful(no_moments, step, values)


def radam(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    threshold: ArrayLike = 5.0,
    *,
    nesterov: bool = False,
) -> Transform:
    r"""Rectified Adam: plain momentum until the variance of the denominator is tractable.

    $\theta \leftarrow \theta - \alpha r_t \hat m/(\sqrt{\hat v + \epsilon_r} + \epsilon)$, and
    $\theta - \alpha \hat m$ in the first steps; see `scale_by_radam`.

    Args:
        learning_rate, b1, b2, eps, eps_root, nesterov: as for `adam`.
        threshold: of $\rho_t$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.radam(1e-3)

    References:
        Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, 2020.
    """
    scaled = scale_by_radam(b1, b2, eps, eps_root, threshold, nesterov=nesterov)
    return chain(scaled, scale_by_learning_rate(learning_rate))
