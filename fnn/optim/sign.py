"""Rules that step by the sign of something: sign descent, Signum, Lion."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn import checks
from fnn.optim.adam import check_moments
from fnn.optim.gradient_descent import ema
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import counter, full_like, leafwise
from fnn.optim.rules import stateful, stateless
from fnn.optim.transform import Transform, chain
from fnn.optim.wrappers import add_decayed_weights
from fnn.typing import Array, ArrayLike, DType, PyTree, ScalarOrSchedule

__all__ = ["ScaleByLionState", "lion", "scale_by_lion", "scale_by_sign", "sign_sgd", "signum"]


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
    r"""Sign descent: $\theta \leftarrow \theta - \alpha\,\mathrm{sign}(g)$.

    Args:
        learning_rate: $\alpha$, a scalar or a schedule.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.sign_sgd(1e-3)

    References:
        Bernstein et al., signSGD: Compressed Optimisation for Non-Convex Problems, 2018.
    """
    return chain(scale_by_sign(), scale_by_learning_rate(learning_rate))


def signum(learning_rate: ScalarOrSchedule, beta: ArrayLike = 0.9, accumulator_dtype: DType | None = None) -> Transform:
    r"""Sign descent with momentum.

    $v \leftarrow \beta v + (1 - \beta) g$, $\theta \leftarrow \theta - \alpha\,\mathrm{sign}(v)$.

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

    Raises:
        ValueError: if a decay is outside [0, 1) or `mode` is another word.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_lion()
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].tolist()
        [-1.0]
    """
    check_moments("scale_by_lion", b1, b2)
    checks.one_of("scale_by_lion", "mode", mode, ("hard", "smooth", "refined"))
    checks.in_range("scale_by_lion", "smooth_beta", smooth_beta)
    checks.floating_dtype("scale_by_lion", "mu_dtype", mu_dtype, jnp.inexact)
    step = leafwise(_lion, b1=b1, b2=b2, mode=mode, smooth_beta=smooth_beta)

    return stateful(
        lambda params: ScaleByLionState(counter(), full_like(params, dtype=mu_dtype)), step, lambda count: {}
    )


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
        learning_rate: $\alpha$, a scalar or a schedule.
        b1: $\beta_1$, weight of the average against the gradient, in [0, 1).
        b2: $\beta_2$, decay of the average $m$ of gradients, in [0, 1).
        mu_dtype: dtype of $m$; that of the parameters by default.
        weight_decay: $\lambda$, a scalar or a schedule.
        mask: which leaves decay: a tree of booleans or a function params -> tree.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.lion(1e-4)

    References:
        Chen et al., Symbolic Discovery of Optimization Algorithms, 2023.
    """
    decayed = add_decayed_weights(weight_decay, mask)
    return chain(scale_by_lion(b1, b2, mu_dtype), decayed, scale_by_learning_rate(learning_rate))
