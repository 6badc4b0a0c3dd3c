"""Adam with the largest gradient, with a patient start, with a momentum on a schedule: AdaMax, RAdam, NAdam."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn import checks
from fnn.optim.adam import ScaleByAdamState, check_moments, corrections, mean_ahead, ratio
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import correction, counter, full_like, increment, leafwise, log_of, power, square
from fnn.optim.rules import begin, stateful
from fnn.optim.transform import Transform, chain
from fnn.optim.wrappers import add_decayed_weights
from fnn.typing import Array, ArrayLike, PyTree, ScalarOrSchedule

__all__ = [
    "ScaleByScheduledNadamState",
    "adamax",
    "adamaxw",
    "radam",
    "scale_by_adamax",
    "scale_by_radam",
    "scale_by_scheduled_nadam",
]


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

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_adamax(eps=0.0)
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].round(3).tolist()
        [-1.0]
    """
    check_moments("scale_by_adamax", b1, b2, eps=eps)
    checks.flags("scale_by_adamax", eps_in_max=eps_in_max)
    step = leafwise(_adamax, b1=b1, b2=b2, eps=eps, eps_in_max=eps_in_max)
    return stateful(begin(ScaleByAdamState), step, lambda count: {"c1": correction(b1, count)})


def adamax(
    learning_rate: ScalarOrSchedule, b1: ArrayLike = 0.9, b2: ArrayLike = 0.999, eps: ArrayLike = 1e-8
) -> Transform:
    r"""AdaMax: $\theta \leftarrow \theta - \alpha \hat m/v$, $v \leftarrow \max(\beta_2 v, |g| + \epsilon)$.

    Args:
        learning_rate, b1, eps: as for `adam`.
        b2: decay of the maximum $v$, in [0, 1).

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
        weight_decay, mask: as for `adamw`.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.adamaxw(2e-3)

    References:
        Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019.
    """
    decayed = add_decayed_weights(weight_decay, mask)
    return chain(scale_by_adamax(b1, b2, eps), decayed, scale_by_learning_rate(learning_rate))


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

    return stateful(begin(ScaleByAdamState), step, values)


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


class ScaleByScheduledNadamState(NamedTuple):
    """Adam's state and the product of all momentums so far."""

    count: Array  # type: ignore[assignment]
    mu: PyTree
    nu: PyTree
    product: Array


def _scheduled_nadam(
    g: Array, m: Array, v: Array, *, b1: Any, b2: Any, eps: Any, now: Any, ahead: Any, c2: Any
) -> tuple[Array, Array, Array]:
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * square(g)
    return ratio(now * g + ahead * m, c2 * v, eps), m, v


def scale_by_scheduled_nadam(
    b1: ArrayLike = 0.9, b2: ArrayLike = 0.999, eps: ArrayLike = 1e-8, momentum_decay: ArrayLike = 4e-3
) -> Transform:
    r"""NAdam with the momentum schedule of its paper, as torch ($\psi = 0.004$) and Keras ($\psi = 1$) have it:

    $\mu_t = \beta_1 (1 - 0.96^{t\psi}/2)$,
    $u = \left(\frac{1 - \mu_t}{1 - \pi_t} g + \frac{\mu_{t+1}}{1 - \pi_{t+1}} m\right)/(\sqrt{\hat v} + \epsilon)$,
    $\pi_t = \prod_{i \le t} \mu_i$.

    Args:
        b1: $\beta_1$, the final momentum and the decay of the mean $m$ of gradients, in [0, 1).
        b2: decay of the mean $v$ of squared gradients, in [0, 1).
        eps: $\epsilon$.
        momentum_decay: $\psi$, at least 0.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_scheduled_nadam()
        >>> rule.update(jnp.zeros(1), rule.init(jnp.ones(1)))[0].tolist()
        [0.0]

    References:
        Dozat, Incorporating Nesterov Momentum into Adam, 2016.
    """
    check_moments("scale_by_scheduled_nadam", b1, b2, eps=eps, momentum_decay=momentum_decay)
    step = leafwise(_scheduled_nadam, b1=b1, b2=b2, eps=eps)

    def momentum(t: Array) -> Array:
        dtype = jnp.result_type(float)
        psi = jnp.asarray(momentum_decay, dtype)
        return jnp.asarray(b1, dtype) * (1 - 0.5 * 0.96 ** (psi * t.astype(dtype)))

    def init(params: PyTree) -> ScaleByScheduledNadamState:
        one = jnp.ones([], jnp.result_type(float))
        return ScaleByScheduledNadamState(counter(), full_like(params), full_like(params), one)

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, PyTree]:
        count = increment(state.count)
        now, ahead = momentum(count), momentum(increment(count))
        product = state.product.astype(now.dtype) * now
        shares = {"now": (1 - now) / (1 - product), "ahead": ahead / (1 - product * ahead)}
        updates, mu, nu = step(updates, state.mu, state.nu, **shares, c2=correction(b2, count))
        return updates, ScaleByScheduledNadamState(count, mu, nu, product.astype(state.product.dtype))

    return Transform(init, update)
