"""NAdam with a schedule of the momentum, as in its paper."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn.optim.adam import check_moments, no_moments, ratio
from fnn.optim.leaves import correction, increment, leafwise, square
from fnn.optim.transform import Transform
from fnn.typing import Array, ArrayLike, PyTree

__all__ = ["ScaleByScheduledNadamState", "scale_by_scheduled_nadam"]


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
        return ScaleByScheduledNadamState(*no_moments(params), jnp.ones([], jnp.result_type(float)))

    def update(
        updates: PyTree, state: ScaleByScheduledNadamState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, ScaleByScheduledNadamState]:
        count = increment(state.count)
        now, ahead = momentum(count), momentum(increment(count))
        product = state.product.astype(now.dtype) * now
        shares = {"now": (1 - now) / (1 - product), "ahead": ahead / (1 - product * ahead)}
        updates, mu, nu = step(updates, state.mu, state.nu, **shares, c2=correction(b2, count))
        return updates, ScaleByScheduledNadamState(count, mu, nu, product.astype(state.product.dtype))

    return Transform(init, update)
