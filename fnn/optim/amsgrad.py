"""AMSGrad: Adam with a denominator that never shrinks."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn import checks
from fnn.optim.adam import check_moments, no_moments, ratio
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import correction, full_like, leafwise, square
from fnn.optim.rules import stateful
from fnn.optim.transform import Transform, chain
from fnn.typing import Array, ArrayLike, DType, PyTree, ScalarOrSchedule

__all__ = ["ScaleByAmsgradState", "amsgrad", "scale_by_amsgrad"]


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

    Raises:
        ValueError: if a decay is outside [0, 1), an epsilon negative or `max_over` another word.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_amsgrad(eps=0.0)
        >>> rule.update(jnp.array([-4.0]), rule.init(jnp.ones(1)))[0].round(3).tolist()
        [-1.0]
    """
    check_moments("scale_by_amsgrad", b1, b2, eps=eps, eps_root=eps_root)
    checks.floating_dtype("scale_by_amsgrad", "mu_dtype", mu_dtype, jnp.inexact)
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

    return stateful(lambda params: ScaleByAmsgradState(*no_moments(params, mu_dtype), full_like(params)), step, values)


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
        bias_correction_mu: False takes $\hat m = m$ (the paper).
        bias_correction_nu: False takes $\hat v = v$ (the paper).
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
