"""Penalties on parameters, and rules that keep parameters sparse or small."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.losses.reduction import absolute
from fnn.optim.grouping import Mask, booleans, masked, weights_only
from fnn.optim.leaves import leafwise, norm, widest
from fnn.optim.rules import begin, stateful, stateless
from fnn.optim.transform import Transform
from fnn.typing import Array, ArrayLike, PenaltyFunction, PyTree, ScalarOrSchedule

__all__ = ["ProximalL1State", "elastic_net", "l1", "l2", "max_norm", "proximal_l1", "sparsity"]


def _select(where: str, mask: Mask, params: PyTree) -> list[tuple[str, Array]]:
    """The leaves under the mask, with their paths."""
    flags = jax.tree.broadcast(booleans(where, mask, params), params)
    pairs = zip(jax.tree.leaves_with_path(params), jax.tree.leaves(flags), strict=True)
    kept = [found for found, keep in pairs if keep]
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), jnp.asarray(leaf)) for path, leaf in kept]


def _penalty(
    where: str, strength: ArrayLike, mask: Mask, function: Callable[[Array], Array], half: bool = False
) -> PenaltyFunction:
    r"""$w \mapsto \lambda \sum f(w)$, or half of it, in float32 at least."""
    checks.in_range(where, "strength", strength, 0)
    checks.flags(where, half=half)

    def penalty(params: PyTree) -> Array:
        chosen = _select(where, mask, params)
        for name, leaf in chosen:
            checks.floating(where, name, leaf)
        leaves = [leaf for _, leaf in chosen]
        wide = widest(jnp.float32, *(leaf.dtype for leaf in leaves))
        total = sum((jnp.sum(function(leaf.astype(wide))) for leaf in leaves), start=jnp.zeros([], wide))
        return jnp.asarray(strength, wide) * (total / 2 if half else total)

    return penalty


def l1(strength: ArrayLike, mask: Mask = weights_only) -> PenaltyFunction:
    r"""$R(w) = \lambda \sum |w|$, with subgradient 0 at 0: params -> scalar, in float32 at least, to add to a loss.

    Args:
        strength: $\lambda \ge 0$.
        mask: which parameters are penalised, as in `masked`; weights and not biases by default.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> params = {"kernel": jnp.array([[1.0, -3.0]]), "bias": jnp.array([5.0])}
        >>> float(fnn.optim.l1(0.5)(params))
        2.0

    References:
        Tibshirani, Regression Shrinkage and Selection via the Lasso, 1996.
    """
    return _penalty("l1", strength, mask, absolute)


def l2(strength: ArrayLike, mask: Mask = weights_only, *, half: bool = False) -> PenaltyFunction:
    r"""$R(w) = \lambda \sum w^2$, or $\frac{\lambda}{2}\|w\|^2$, as a function like that of `l1`.

    Args:
        strength, mask: as for `l1`.
        half: with the factor one half, so that the gradient is $\lambda w$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> params = {"kernel": jnp.array([[1.0, -3.0]]), "bias": jnp.array([5.0])}
        >>> float(fnn.optim.l2(0.5)(params)), float(fnn.optim.l2(0.5, half=True)(params))
        (5.0, 2.5)

    References:
        Hoerl and Kennard, Ridge Regression: Biased Estimation for Nonorthogonal Problems, 1970.
    """
    return _penalty("l2", strength, mask, jnp.square, half)


def elastic_net(
    l1_strength: ArrayLike, l2_strength: ArrayLike, mask: Mask = weights_only, *, half: bool = False
) -> PenaltyFunction:
    r"""$R(w) = \lambda_1 \sum |w| + \lambda_2 \sum w^2$, as a function like that of `l1`.

    Args:
        l1_strength, l2_strength: $\lambda_1$ and $\lambda_2$.
        mask: as for `l1`.
        half: $\frac{\lambda_2}{2}$ in the place of $\lambda_2$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> float(fnn.optim.elastic_net(1.0, 0.5)({"kernel": jnp.array([[1.0, -3.0]])}))
        9.0

    References:
        Zou and Hastie, Regularization and Variable Selection via the Elastic Net, 2005.
    """
    first, second = l1(l1_strength, mask), l2(l2_strength, mask, half=half)
    return lambda params: first(params) + second(params)


def sparsity(params: PyTree, mask: Mask = weights_only) -> dict[str, Array]:
    """The fraction of exact zeros, by the path of each parameter and in "total".

    Args:
        params: any pytree of arrays.
        mask: which parameters are reported, as in `masked`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> report = fnn.optim.sparsity({"kernel": jnp.array([[0.0, 1.0, 0.0, 2.0]])})
        >>> {path: float(fraction) for path, fraction in report.items()}
        {'kernel': 0.5, 'total': 0.5}
    """
    leaves = _select("sparsity", mask, params)
    zeros = {name: jnp.sum(leaf == 0).astype(jnp.float32) for name, leaf in leaves}
    report = {name: zeros[name] / max(leaf.size, 1) for name, leaf in leaves}
    total = sum(zeros.values(), start=jnp.zeros([], jnp.float32))
    return {**report, "total": total / max(sum(leaf.size for _, leaf in leaves), 1)}


class ProximalL1State(NamedTuple):
    """How many updates were made."""

    count: Array  # type: ignore[assignment]


def _soft_threshold(u: Array, p: Array, threshold: Any) -> tuple[Array]:
    w = p + u
    if jnp.iscomplexobj(w):
        size = jnp.abs(w)
        shrunk = w * (jnp.maximum(size - threshold, 0) / jnp.where(size == 0, 1, size))
    else:
        shrunk = w - jnp.clip(w, -threshold, threshold)
    # p + (-p) is exactly zero, whatever was rounded on the way.
    return (jnp.where(shrunk == 0, -p, shrunk - p),)


def proximal_l1(learning_rate: ScalarOrSchedule, strength: ArrayLike, mask: Mask = weights_only) -> Transform:
    r"""Soft threshold after the step: $\theta \leftarrow \mathrm{sign}(w)\max(|w|-\alpha\lambda,0)$, $w=\theta+u$.

    It reaches exact zeros, where the gradient of `l1` only jumps around them; the sign of a complex number is $w/|w|$.
    Put it last in a `chain`.

    Args:
        learning_rate: $\alpha$ of the rule before it, a number, a traced scalar or a schedule.
        strength: $\lambda \ge 0$.
        mask: which parameters are thresholded, as in `masked`; weights and not biases by default.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.proximal_l1(0.5, 1.0)
        >>> params = jnp.array([[0.25, 2.0]])
        >>> updates, _ = rule.update(jnp.zeros((1, 2)), rule.init(params), params)
        >>> (params + updates).tolist()
        [[0.0, 1.5]]

    References:
        Parikh and Boyd, Proximal Algorithms, 2014.
    """
    checks.number_or_schedule("proximal_l1", "learning_rate", learning_rate)
    checks.in_range("proximal_l1", "strength", strength, 0)

    def values(count: Array) -> dict[str, Array]:
        rate = learning_rate(count) if callable(learning_rate) else learning_rate
        wide = jnp.result_type(float)
        return {"threshold": jnp.asarray(rate, wide) * jnp.asarray(strength, wide)}

    init, step = begin(ProximalL1State), leafwise(_soft_threshold)
    return masked(stateful(init, step, values, "proximal_l1", count_from=0), mask)


def _project(u: Array, p: Array, bound: Any) -> tuple[Array]:
    w = p + u
    size = norm(w, tuple(range(w.ndim - 1)))
    over = size > bound
    return (jnp.where(over, w * (bound / jnp.where(over, size, 1)) - p, u),)


def max_norm(bound: ArrayLike, mask: Mask = weights_only) -> Transform:
    r"""Keep the weights into each unit in a ball after the step: $\|\theta_{:j}\| \le c$. Put it last in a `chain`.

    Args:
        bound: $c \ge 0$. The norm is over all axes but the last, the unit's.
        mask: which parameters are held, as in `masked`; weights and not biases by default.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.max_norm(1.0)
        >>> params = jnp.array([[0.0], [4.0]])
        >>> (params + rule.update(jnp.zeros((2, 1)), rule.init(params), params)[0]).tolist()
        [[0.0], [1.0]]

    References:
        Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting, 2014.
    """
    checks.in_range("max_norm", "bound", bound, 0, math.inf)
    return masked(stateless(leafwise(_project, bound=bound), needs_params="max_norm"), mask)
