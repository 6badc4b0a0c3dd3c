"""Rules that step by the sign of something: sign descent, Signum, Lion, and Rprop with a size for every parameter."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optim.adam import check_moments
from fnn.optim.gradient_descent import ema
from fnn.optim.learning_rate import scale, scale_by_learning_rate
from fnn.optim.leaves import leafwise
from fnn.optim.rules import begin, stateful, stateless
from fnn.optim.transform import Transform, chain
from fnn.optim.wrappers import add_decayed_weights
from fnn.typing import Array, ArrayLike, DType, PyTree, ScalarOrSchedule

__all__ = [
    "ScaleByLionState",
    "ScaleByRpropState",
    "lion",
    "rprop",
    "scale_by_lion",
    "scale_by_rprop",
    "scale_by_sign",
    "sign_sgd",
    "signum",
]


def scale_by_sign() -> Transform:
    r"""The sign of each entry: $u = \mathrm{sign}(g)$, 0 at 0, of complex numbers their direction $g/|g|$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_sign()
        >>> rule.update(jnp.array([-4.0, 0.0]), rule.init(None))[0].tolist()
        [-1.0, 0.0]
    """
    return stateless(leafwise(lambda g: (jnp.sign(g),)))


def sign_sgd(learning_rate: ScalarOrSchedule) -> Transform:
    r"""Sign descent: $\theta \leftarrow \theta - \alpha\,\mathrm{sign}(g)$, the rate $\alpha$ a scalar or a schedule.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.sign_sgd(1e-3)

    References:
        Bernstein et al., signSGD: Compressed Optimisation for Non-Convex Problems, 2018.
    """
    return chain(scale_by_sign(), scale_by_learning_rate(learning_rate))


def signum(learning_rate: ScalarOrSchedule, beta: ArrayLike = 0.9, accumulator_dtype: DType | None = None) -> Transform:
    r"""Signum: $v \leftarrow \beta v + (1 - \beta) g$, $\theta \leftarrow \theta - \alpha\,\mathrm{sign}(v)$.

    Args:
        learning_rate: $\alpha$, a scalar or a schedule.
        beta: $\beta$, in [0, 1].
        accumulator_dtype: dtype of $v$; that of the parameters by default.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.signum(1e-3)

    References:
        Bernstein et al., signSGD: Compressed Optimisation for Non-Convex Problems, 2018.
    """
    average = ema(beta, False, accumulator_dtype)
    return chain(average, scale_by_sign(), scale_by_learning_rate(learning_rate))


class ScaleByLionState(NamedTuple):
    """Steps made and the average of gradients."""

    count: Array  # type: ignore[assignment]
    mu: PyTree


def _lion(g: Array, m: Array, *, b1: Any, b2: Any, mode: str, smooth_beta: Any) -> tuple[Array, Array]:
    c = b1 * m + (1 - b1) * g
    if mode == "smooth":
        size = jnp.abs(c)  # the hyperbolic tangent of complex numbers has poles
        u = jnp.sign(c) * jnp.tanh(smooth_beta * size) if jnp.iscomplexobj(c) else jnp.tanh(smooth_beta * c)
    else:
        u = jnp.where(jnp.abs(c) < 1, c, jnp.sign(c)) if mode == "refined" else jnp.sign(c)
    return u, b2 * m + (1 - b2) * g


def scale_by_lion(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.99,
    mu_dtype: DType | None = None,
    *,
    mode: str = "hard",
    smooth_beta: ArrayLike = 1.0,
) -> Transform:
    r"""The sign of an average.

    $u = \mathrm{sign}(\beta_1 m + (1 - \beta_1) g)$, then $m \leftarrow \beta_2 m + (1 - \beta_2) g$.

    Args:
        b1, b2, mu_dtype: as for `lion`.
        mode: "hard" is the sign; "smooth" is $\tanh(sc)$ of the average $c$; "refined" is $c$ where $|c| < 1$.
        smooth_beta: $s$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_lion()
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].tolist()
        [-1.0]
    """
    check_moments("scale_by_lion", b1, b2, mu_dtype)
    checks.one_of("scale_by_lion", "mode", mode, ("hard", "smooth", "refined"))
    checks.in_range("scale_by_lion", "smooth_beta", smooth_beta)
    step = leafwise(_lion, b1=b1, b2=b2, mode=mode, smooth_beta=smooth_beta)
    return stateful(begin(ScaleByLionState, {"mu": mu_dtype}), step, lambda count: {})


def lion(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.99,
    mu_dtype: DType | None = None,
    weight_decay: ScalarOrSchedule = 1e-3,
    mask: Any = None,
) -> Transform:
    r"""Lion: $\theta \leftarrow \theta - \alpha (\mathrm{sign}(\beta_1 m + (1 - \beta_1) g) + \lambda\theta)$.

    Args:
        learning_rate, mu_dtype: as for `adam`.
        b1: $\beta_1$, weight of the average against the gradient, in [0, 1).
        b2: $\beta_2$, decay of the average $m$ of gradients, in [0, 1).
        weight_decay, mask: as for `adamw`.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.lion(1e-4)

    References:
        Chen et al., Symbolic Discovery of Optimization Algorithms, 2023.
    """
    decayed = add_decayed_weights(weight_decay, mask)
    return chain(scale_by_lion(b1, b2, mu_dtype), decayed, scale_by_learning_rate(learning_rate))


class ScaleByRpropState(NamedTuple):
    """The step size of every parameter, and its last step, 0 after a change of sign."""

    step_sizes: PyTree
    prev_updates: PyTree


def _rprop(
    g: Array, size: Array, last: Array, *, shrink: Any, grow: Any, least: Any, most: Any
) -> tuple[Array, Array, Array]:
    agreement = jnp.sign(g) * jnp.sign(last)
    changed = jnp.clip(size * jnp.where(agreement > 0, grow, shrink), least, most)
    size = jnp.where(agreement == 0, size, changed)
    step = jnp.where(agreement < 0, 0, size * jnp.sign(g))
    return step, size, step


def scale_by_rprop(
    learning_rate: ArrayLike,
    eta_minus: ArrayLike = 0.5,
    eta_plus: ArrayLike = 1.2,
    min_step_size: ArrayLike = 1e-6,
    max_step_size: ArrayLike = 50.0,
) -> Transform:
    r"""Steps of size $\Delta$ by the sign of the gradient, $u = \Delta\,\mathrm{sign}(g)$, for every parameter its own:

    $\Delta \leftarrow \min(\eta^+\Delta, \Delta_{max})$ where the sign is that of the last step,
    $\Delta \leftarrow \max(\eta^-\Delta, \Delta_{min})$ where it changed; there $u = 0$, and the next step is taken
    with the size as it is.

    Args:
        learning_rate, eta_minus, eta_plus, min_step_size, max_step_size: as for `rprop`.

    Raises:
        TypeError: at `init`, for complex parameters, which have no sign.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_rprop(0.1)
        >>> params = jnp.ones(2)
        >>> _, state = rule.update(jnp.array([3.0, -0.1]), rule.init(params))
        >>> rule.update(jnp.array([9.0, 5.0]), state)[1].step_sizes.round(2)
        Array([0.12, 0.05], dtype=float32)

    References:
        Riedmiller and Braun, A direct adaptive method for faster backpropagation learning: the RPROP algorithm, 1993.
    """
    checks.in_range("rprop", "learning_rate", learning_rate, 0)
    checks.in_range("rprop", "eta_minus", eta_minus, 0, 1, open="both")
    checks.in_range("rprop", "eta_plus", eta_plus, 1)
    checks.in_range("rprop", "min_step_size", min_step_size, 0)
    checks.in_range("rprop", "max_step_size", max_step_size, min_step_size, math.inf)
    step = leafwise(_rprop, shrink=eta_minus, grow=eta_plus, least=min_step_size, most=max_step_size)

    def init(params: PyTree) -> ScaleByRpropState:
        for leaf in jax.tree.leaves(params):
            checks.real("rprop", "parameters", leaf, "write fnn.optim.sign_sgd, whose steps go along complex gradients")
        return begin(ScaleByRpropState, step_sizes=learning_rate)(params)

    return stateful(init, step)


def rprop(
    learning_rate: ArrayLike,
    eta_minus: ArrayLike = 0.5,
    eta_plus: ArrayLike = 1.2,
    min_step_size: ArrayLike = 1e-6,
    max_step_size: ArrayLike = 50.0,
) -> Transform:
    r"""Rprop: $\theta \leftarrow \theta - \Delta\,\mathrm{sign}(g)$, every parameter with a step size of its own.

    See `scale_by_rprop`. How large a gradient is does not matter, so it is for all rows at once (`batch_size=None`):
    on small batches the sign of a small mean gradient is mostly noise.

    Args:
        learning_rate: the first step size $\Delta$ of every parameter.
        eta_minus: $\eta^-$, in (0, 1), where the sign of the gradient changed.
        eta_plus: $\eta^+ \ge 1$, where it did not.
        min_step_size: $\Delta_{min}$.
        max_step_size: $\Delta_{max}$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.rprop(0.01)

    References:
        Riedmiller and Braun, A direct adaptive method for faster backpropagation learning: the RPROP algorithm, 1993.
    """
    return chain(scale_by_rprop(learning_rate, eta_minus, eta_plus, min_step_size, max_step_size), scale(-1.0))
