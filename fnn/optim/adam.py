"""Adam and its nearest kin: moments of the gradient, corrected for their start at zero."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn import checks
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import correction, increment, leafwise, root, square
from fnn.optim.rules import begin, stateful
from fnn.optim.transform import Transform, chain
from fnn.optim.wrappers import add_decayed_weights
from fnn.typing import Array, ArrayLike, DType, PyTree, ScalarOrSchedule

__all__ = ["ScaleByAdamState", "adam", "adamw", "nadam", "nadamw", "scale_by_adam"]


class ScaleByAdamState(NamedTuple):
    """Steps made, the average of gradients and that of squared gradients."""

    count: Array  # type: ignore[assignment]
    mu: PyTree
    nu: PyTree


def check_moments(where: str, b1: Any, b2: Any, mu_dtype: DType | None = None, **at_least_zero: Any) -> None:
    """Require decays in [0, 1), a floating dtype of the mean and every epsilon at least 0."""
    checks.floating_dtype(where, "mu_dtype", mu_dtype, jnp.inexact)
    checks.in_range(where, "b1", b1, 0, 1, open="high")
    checks.in_range(where, "b2", b2, 0, 1, open="high")
    for name, value in at_least_zero.items():
        checks.in_range(where, name, value, 0)


def ratio(m: Array, v: Array, eps: Any, eps_root: Any = 0) -> Array:
    """$m/(\\sqrt{v + \\epsilon_r} + \\epsilon)$; 0 where both are 0, whatever the epsilons."""
    below = root(v + eps_root) + eps
    return m / jnp.where(below == 0, 1, below)


def corrections(count: Array, b1: Any, b2: Any, nesterov: bool) -> dict[str, Array]:
    """What the averages are multiplied with at this step; `ahead` is that of the next step's mean."""
    now = {"c1": correction(b1, count), "c2": correction(b2, count)}
    return {**now, "ahead": correction(b1, increment(count))} if nesterov else now


def mean_ahead(g: Array, m: Array, b1: Any, c1: Any, ahead: Any) -> Array:
    """The corrected mean, or with Nesterov's step ahead its next value if the gradient stays."""
    return c1 * m if ahead is None else b1 * (ahead * m) + (1 - b1) * (c1 * g)


def _adam(
    g: Array, m: Array, v: Array, *,
    b1: Any, b2: Any, eps: Any, eps_root: Any, eps_hat: bool, c1: Any = 1, c2: Any = 1, ahead: Any = None,
) -> tuple[Array, Array, Array]:  # fmt: skip
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * square(g)
    mean = mean_ahead(g, m, b1, c1, ahead)
    if eps_hat:
        return ratio(mean, v, eps, eps_root) / jnp.sqrt(c2), m, v
    return ratio(mean, c2 * v, eps, eps_root), m, v


def scale_by_adam(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DType | None = None,
    *,
    nesterov: bool = False,
    bias_correction: bool = True,
    eps_hat: bool = False,
) -> Transform:
    r"""Divide the mean of gradients by their root mean square:

    $m \leftarrow \beta_1 m + (1 - \beta_1) g$, $v \leftarrow \beta_2 v + (1 - \beta_2) g^2$,
    $u = \hat m/(\sqrt{\hat v + \epsilon_r} + \epsilon)$ with $\hat m = m/(1 - \beta_1^t)$,
    $\hat v = v/(1 - \beta_2^t)$.

    Arguments that are not listed are those of `adam`.

    Args:
        b1, b2: $\beta_1$, $\beta_2$, decays in [0, 1).

    Raises:
        ValueError: if a decay is outside [0, 1) or an epsilon negative, or for `nesterov` or `eps_hat` without
            `bias_correction`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_adam(eps=0.0)
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].round(3).tolist()
        [-1.0]
    """
    check_moments("scale_by_adam", b1, b2, mu_dtype, eps=eps, eps_root=eps_root)
    checks.flags("scale_by_adam", nesterov=nesterov, bias_correction=bias_correction, eps_hat=eps_hat)
    if (nesterov or eps_hat) and not bias_correction:
        raise ValueError("scale_by_adam: nesterov and eps_hat are forms of the bias correction; leave it on")
    step = leafwise(_adam, b1=b1, b2=b2, eps=eps, eps_root=eps_root, eps_hat=eps_hat)
    init = begin(ScaleByAdamState, {"mu": mu_dtype})
    return stateful(init, step, lambda count: corrections(count, b1, b2, nesterov) if bias_correction else {})


def adam(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DType | None = None,
    *,
    nesterov: bool = False,
    bias_correction: bool = True,
    eps_hat: bool = False,
) -> Transform:
    r"""Adam: the mean of gradients, divided by their root mean square.

    $\theta \leftarrow \theta - \alpha \hat m/(\sqrt{\hat v + \epsilon_r} + \epsilon)$, see `scale_by_adam`.

    Args:
        learning_rate: $\alpha$, a scalar or a schedule.
        b1: $\beta_1$, decay of the mean $m$ of gradients, in [0, 1).
        b2: $\beta_2$, decay of the mean $v$ of squared gradients, in [0, 1).
        eps: $\epsilon$.
        eps_root: $\epsilon_r$.
        mu_dtype: dtype of $m$; that of the parameters by default.
        nesterov: look one step ahead, $\hat m = \beta_1 m/(1 - \beta_1^{t+1}) + (1 - \beta_1) g/(1 - \beta_1^t)$.
        bias_correction: False takes $\hat m = m$, $\hat v = v$.
        eps_hat: the paper's second form, $\alpha\hat m \sqrt{1 - \beta_2^t}/(\sqrt{v + \epsilon_r} + \epsilon)$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.adam(1e-3)

    References:
        Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015.
    """
    scaled = scale_by_adam(
        b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov, bias_correction=bias_correction, eps_hat=eps_hat
    )
    return chain(scaled, scale_by_learning_rate(learning_rate))


def adamw(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DType | None = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Any = None,
    *,
    nesterov: bool = False,
) -> Transform:
    r"""Adam with decoupled weight decay.

    $\theta \leftarrow \theta - \alpha (\hat m/(\sqrt{\hat v + \epsilon_r} + \epsilon) + \lambda\theta)$.

    Arguments that are not listed are those of `adam`.

    Args:
        weight_decay: $\lambda$, a scalar or a schedule; it is multiplied by the learning rate.
        mask: which leaves decay: a tree of booleans or a function params -> tree.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.adamw(1e-3, weight_decay=1e-2)

    References:
        Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


def nadam(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DType | None = None,
    *,
    nesterov: bool = True,
) -> Transform:
    r"""Adam with Nesterov momentum, `adam(…, nesterov=True)`.

    $\hat m = \beta_1 m/(1 - \beta_1^{t+1}) + (1 - \beta_1) g/(1 - \beta_1^t)$.

    Arguments that are not listed are those of `adam`.

    Args:
        nesterov: False is `adam`.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.nadam(1e-3)

    References:
        Dozat, Incorporating Nesterov Momentum into Adam, 2016.
    """
    return adam(learning_rate, b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)


def nadamw(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DType | None = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Any = None,
    *,
    nesterov: bool = True,
) -> Transform:
    r"""Decoupled weight decay with Nesterov momentum, `adamw(…, nesterov=True)`.

    Arguments that are not listed are those of `adam`.

    Args:
        weight_decay, mask: as for `adamw`.
        nesterov: False is `adamw`.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.nadamw(1e-3)

    References:
        Dozat, Incorporating Nesterov Momentum into Adam, 2016.
        Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019.
    """
    return adamw(learning_rate, b1, b2, eps, eps_root, mu_dtype, weight_decay, mask, nesterov=nesterov)
