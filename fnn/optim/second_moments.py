"""Adam with another mean of squares: AdaBelief, AMSGrad, Yogi."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn import checks
from fnn.optim.adam import ScaleByAdamState, check_moments, corrections, mean_ahead, ratio
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import correction, leafwise, square
from fnn.optim.rules import begin, stateful
from fnn.optim.transform import Transform, chain
from fnn.typing import Array, ArrayLike, DType, PyTree, ScalarOrSchedule

__all__ = [
    "ScaleByAmsgradState",
    "ScaleByBeliefState",
    "adabelief",
    "amsgrad",
    "scale_by_amsgrad",
    "scale_by_belief",
    "scale_by_yogi",
    "yogi",
]


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

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_belief(0.5)
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].round(3).tolist()
        [-2.0]
    """
    check_moments("scale_by_belief", b1, b2, eps=eps, eps_root=eps_root)
    checks.flags("scale_by_belief", nesterov=nesterov)
    step = leafwise(_belief, b1=b1, b2=b2, eps=eps, eps_root=eps_root)
    return stateful(begin(ScaleByBeliefState), step, lambda count: corrections(count, b1, b2, nesterov))


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
        learning_rate, b1, eps, nesterov: as for `adam`.
        b2: decay of $s$, in [0, 1).
        eps_root: $\epsilon_r$, added at every step.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.adabelief(1e-3)

    References:
        Zhuang et al., AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients, 2020.
    """
    return chain(scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov), scale_by_learning_rate(learning_rate))


class ScaleByAmsgradState(NamedTuple):
    """Adam's state and the largest average of squared gradients so far."""

    count: Array  # type: ignore[assignment]
    mu: PyTree
    nu: PyTree
    nu_max: PyTree


def _amsgrad(
    g: Array, m: Array, v: Array, largest: Array, *,
    b1: Any, b2: Any, eps: Any, eps_root: Any, c1: Any, before: Any, after: Any, hat: Any,
) -> tuple[Array, ...]:  # fmt: skip
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * square(g)
    largest = jnp.maximum(largest, before * v)
    return ratio(c1 * m, after * largest, hat * eps, eps_root), m, v, largest


def scale_by_amsgrad(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DType | None = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
    *,
    max_over: str = "corrected",
    eps_hat: bool = False,
) -> Transform:
    r"""Adam with a denominator that never shrinks.

    $u = \hat m/(\sqrt{v_{max} + \epsilon_r} + \epsilon)$, $v_{max} \leftarrow \max(v_{max}, \hat v)$.

    Arguments that are not listed are those of `amsgrad`.

    Args:
        eps_hat: the second form of Adam's paper, $\epsilon/\sqrt{1 - \beta_2^t}$ in the place of $\epsilon$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_amsgrad(eps=0.0)
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].round(3).tolist()
        [-1.0]
    """
    check_moments("scale_by_amsgrad", b1, b2, mu_dtype, eps=eps, eps_root=eps_root)
    checks.flags("scale_by_amsgrad", bias_correction_mu=bias_correction_mu, bias_correction_nu=bias_correction_nu)
    checks.flags("scale_by_amsgrad", eps_hat=eps_hat)
    checks.one_of("scale_by_amsgrad", "max_over", max_over, ("corrected", "raw"))
    step = leafwise(_amsgrad, b1=b1, b2=b2, eps=eps, eps_root=eps_root)

    def values(count: Array) -> dict[str, Array]:
        one = jnp.ones([], jnp.float32)
        c1 = correction(b1, count) if bias_correction_mu else one
        c2 = correction(b2, count) if bias_correction_nu else one
        before, after = (c2, one) if max_over == "corrected" else (one, c2)
        return {"c1": c1, "before": before, "after": after, "hat": jnp.sqrt(c2) if eps_hat else one}

    return stateful(begin(ScaleByAmsgradState, {"mu": mu_dtype}), step, values)


def amsgrad(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DType | None = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
    *,
    max_over: str = "corrected",
) -> Transform:
    r"""AMSGrad: Adam with a denominator that never shrinks.

    $\theta \leftarrow \theta - \alpha \hat m/(\sqrt{v_{max} + \epsilon_r} + \epsilon)$, see
    `scale_by_amsgrad`.

    Args:
        learning_rate, b1, b2, eps, eps_root, mu_dtype: as for `adam`.
        bias_correction_mu, bias_correction_nu: False takes $\hat m = m$, $\hat v = v$ (the paper).
        max_over: "corrected" takes $v_{max} \leftarrow \max(v_{max}, \hat v)$ (optax); "raw" takes
            $v_{max} \leftarrow \max(v_{max}, v)$ and corrects it afterwards, $v_{max}/(1 - \beta_2^t)$ (torch, Keras).

    Example:
        >>> import fnn
        >>> rule = fnn.optim.amsgrad(1e-3, max_over="raw")

    References:
        Reddi et al., On the Convergence of Adam and Beyond, 2018.
    """
    scaled = scale_by_amsgrad(
        b1, b2, eps, eps_root, mu_dtype, bias_correction_mu, bias_correction_nu, max_over=max_over
    )
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
        b1, b2, eps: as for `yogi`.
        eps_root: $\epsilon_r$.
        initial_accumulator_value: $m_0 = v_0$, at least 0.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_yogi(eps=0.0, initial_accumulator_value=0.0)
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].round(3).tolist()
        [-1.0]
    """
    start = initial_accumulator_value
    check_moments("scale_by_yogi", b1, b2, eps=eps, eps_root=eps_root, initial_accumulator_value=start)
    step = leafwise(_yogi, b1=b1, b2=b2, eps=eps, eps_root=eps_root)
    return stateful(
        begin(ScaleByAdamState, mu=start, nu=start), step, lambda count: corrections(count, b1, b2, nesterov=False)
    )


def yogi(
    learning_rate: ScalarOrSchedule, b1: ArrayLike = 0.9, b2: ArrayLike = 0.999, eps: ArrayLike = 1e-3
) -> Transform:
    r"""Yogi: Adam with a second moment that moves by a bounded amount.

    $\theta \leftarrow \theta - \alpha \hat m/(\sqrt{\hat v} + \epsilon)$, see `scale_by_yogi`.

    Args:
        learning_rate, b1, eps: as for `adam`.
        b2: constant of $v$, in [0, 1).

    Example:
        >>> import fnn
        >>> rule = fnn.optim.yogi(1e-2)

    References:
        Zaheer et al., Adaptive Methods for Nonconvex Optimization, 2018.
    """
    return chain(scale_by_yogi(b1, b2, eps), scale_by_learning_rate(learning_rate))
