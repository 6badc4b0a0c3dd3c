"""Rules that change one thing about Adam: AdaMax, RAdam, Yogi, AdaBelief, and NAdam with a momentum schedule."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn.optim.adam import ScaleByAdamState, check_moments, corrections, mean_ahead, ratio
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import correction, counter, full_like, increment, leafwise, power, square
from fnn.optim.transform import Transform, chain
from fnn.optim.wrappers import add_decayed_weights
from fnn.typing import Array, ArrayLike, PyTree, ScalarOrSchedule

__all__ = [
    "ScaleByBeliefState",
    "ScaleByScheduledNadamState",
    "adabelief",
    "adamax",
    "adamaxw",
    "radam",
    "scale_by_adamax",
    "scale_by_belief",
    "scale_by_radam",
    "scale_by_scheduled_nadam",
    "scale_by_yogi",
    "yogi",
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
        b1: decay of the mean $m$ of gradients, in [0, 1).
        b2: decay of the maximum $v$, in [0, 1).
        eps: $\epsilon$.
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
    step = leafwise(_adamax, b1=b1, b2=b2, eps=eps, eps_in_max=eps_in_max)

    def update(
        updates: PyTree, state: ScaleByAdamState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, ScaleByAdamState]:
        count = increment(state.count)
        updates, mu, nu = step(updates, state.mu, state.nu, c1=correction(b1, count))
        return updates, ScaleByAdamState(count, mu, nu)

    return Transform(_init, update)


def _init(params: PyTree) -> ScaleByAdamState:
    return ScaleByAdamState(counter(), full_like(params), full_like(params))


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
        learning_rate: $\alpha$, a scalar or a schedule.
        b1: decay of the mean $m$ of gradients, in [0, 1).
        b2: decay of the maximum $v$, in [0, 1).
        eps: $\epsilon$.
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


def _radam(
    g: Array, m: Array, v: Array, *, b1: Any, b2: Any, eps: Any, eps_root: Any, eps_hat: bool, **at: Any
) -> tuple[Array, Array, Array]:
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * square(g)
    tractable, rectifier, c2 = at.pop("tractable"), at.pop("rectifier"), at.pop("c2")
    mean = mean_ahead(g, m, b1=b1, **at)
    hat = jnp.sqrt(c2) if eps_hat else 1
    return jnp.where(tractable, rectifier * ratio(mean, c2 * v, hat * eps, eps_root), mean), m, v


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

    Args:
        b1: decay of the mean $m$ of gradients, in [0, 1).
        b2: decay of the mean $v$ of squared gradients, in [0, 1).
        eps: $\epsilon$.
        eps_root: $\epsilon_r$.
        threshold: of $\rho_t$.
        nesterov: look one step ahead.
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
    step = leafwise(_radam, b1=b1, b2=b2, eps=eps, eps_root=eps_root, eps_hat=eps_hat)
    limit = 2 / (1 - b2) - 1

    def update(
        updates: PyTree, state: ScaleByAdamState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, ScaleByAdamState]:
        count = increment(state.count)
        b2t = power(b2, count)
        rho = limit - 2 * count.astype(b2t.dtype) * b2t / (1 - b2t)
        tractable = rho >= threshold
        safe = jnp.where(tractable, rho, limit)
        squared = (safe - 4) * (safe - 2) * limit / ((limit - 4) * (limit - 2) * safe)
        rectifier = jnp.sqrt(jnp.where(tractable, squared, 1))
        at = corrections(count, b1, b2, nesterov)
        updates, mu, nu = step(updates, state.mu, state.nu, tractable=tractable, rectifier=rectifier, **at)
        return updates, ScaleByAdamState(count, mu, nu)

    return Transform(_init, update)


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

    Args: $\alpha$, a scalar or a schedule; the others are those of `scale_by_radam`.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.radam(1e-3)

    References:
        Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, 2020.
    """
    scaled = scale_by_radam(b1, b2, eps, eps_root, threshold, nesterov=nesterov)
    return chain(scaled, scale_by_learning_rate(learning_rate))


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
        b1: decay of the mean $m$ of gradients, in [0, 1).
        b2: constant of $v$, in [0, 1).
        eps: $\epsilon$.
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

    def update(
        updates: PyTree, state: ScaleByAdamState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, ScaleByAdamState]:
        count = increment(state.count)
        updates, mu, nu = step(updates, state.mu, state.nu, **corrections(count, b1, b2, False))
        return updates, ScaleByAdamState(count, mu, nu)

    return Transform(init, update)


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


class ScaleByBeliefState(NamedTuple):
    """Steps made, the average of gradients and that of their squared distance from it."""

    count: Array  # type: ignore[assignment]
    mu: PyTree
    nu: PyTree


def _belief(
    g: Array, m: Array, s: Array, *, b1: Any, b2: Any, eps: Any, eps_root: Any, **at: Any
) -> tuple[Array, Array, Array]:
    m = b1 * m + (1 - b1) * g
    s = b2 * s + (1 - b2) * square(g - m) + eps_root
    c2 = at.pop("c2")
    return ratio(mean_ahead(g, m, b1=b1, **at), c2 * s, eps), m, s


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
        b1: decay of the mean $m$ of gradients, in [0, 1).
        b2: decay of $s$, in [0, 1).
        eps: $\epsilon$.
        eps_root: $\epsilon_r$, added at every step.
        nesterov: look one step ahead.

    Raises:
        ValueError: if a decay is outside [0, 1) or an epsilon negative.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_belief(0.5)
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].round(3).tolist()
        [-2.0]
    """
    check_moments("scale_by_belief", b1, b2, eps=eps, eps_root=eps_root)
    step = leafwise(_belief, b1=b1, b2=b2, eps=eps, eps_root=eps_root)

    def init(params: PyTree) -> ScaleByBeliefState:
        return ScaleByBeliefState(*_init(params))

    def update(
        updates: PyTree, state: ScaleByBeliefState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, ScaleByBeliefState]:
        count = increment(state.count)
        updates, mu, nu = step(updates, state.mu, state.nu, **corrections(count, b1, b2, nesterov))
        return updates, ScaleByBeliefState(count, mu, nu)

    return Transform(init, update)


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

    Args: $\alpha$, a scalar or a schedule; the others are those of `scale_by_belief`.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.adabelief(1e-3)

    References:
        Zhuang et al., AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients, 2020.
    """
    scaled = scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov)
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

    Raises:
        ValueError: if a decay is outside [0, 1), or `eps` or `momentum_decay` negative.

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
        return ScaleByScheduledNadamState(*_init(params), jnp.ones([], jnp.result_type(float)))

    def update(
        updates: PyTree, state: ScaleByScheduledNadamState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, ScaleByScheduledNadamState]:
        count = increment(state.count)
        now, ahead = momentum(count), momentum(increment(count))
        product = state.product.astype(now.dtype) * now
        updates, mu, nu = step(
            updates,
            state.mu,
            state.nu,
            now=(1 - now) / (1 - product),
            ahead=ahead / (1 - product * ahead),
            c2=correction(b2, count),
        )
        return updates, ScaleByScheduledNadamState(count, mu, nu, product.astype(state.product.dtype))

    return Transform(init, update)
