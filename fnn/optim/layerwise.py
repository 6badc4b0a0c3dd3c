"""Steps sized layer by layer, by the norm of the parameters: LARS, LAMB."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp

from fnn import checks
from fnn.optim.adam import scale_by_adam
from fnn.optim.gradient_descent import trace
from fnn.optim.grouping import masked
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import leafwise, norm, rms
from fnn.optim.rules import stateless
from fnn.optim.transform import Transform, chain
from fnn.optim.wrappers import add_decayed_weights
from fnn.typing import Array, ArrayLike, ScalarOrSchedule

__all__ = ["clip_by_block_rms", "lamb", "lars", "scale_by_param_block_rms", "scale_by_trust_ratio"]


def _trust(g: Array, p: Array, *, min_norm: Any, trust_coefficient: Any, eps: Any) -> tuple[Array]:
    of_params, of_update = jnp.maximum(norm(p), min_norm), jnp.maximum(norm(g), min_norm)
    still = (of_params == 0) | (of_update == 0)
    trust = trust_coefficient * of_params / jnp.where(still, 1, of_update + eps)
    return (g * jnp.where(still, 1, trust),)


def scale_by_trust_ratio(
    min_norm: ArrayLike = 0.0, trust_coefficient: ArrayLike = 1.0, eps: ArrayLike = 0.0
) -> Transform:
    r"""Make the step of each leaf proportional to its norm.

    $u = \eta\,\|\theta\|/(\|g\| + \epsilon)\; g$, and $u = g$ where a norm is 0.

    Args:
        min_norm: least value of both norms.
        trust_coefficient: $\eta$.
        eps: $\epsilon$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_trust_ratio()
        >>> rule.update(jnp.array([2.0]), rule.init(None), jnp.array([8.0]))[0].tolist()
        [8.0]

    References:
        You et al., Large Batch Training of Convolutional Networks, 2017.
    """
    checks.in_range("scale_by_trust_ratio", "min_norm", min_norm, 0)
    checks.in_range("scale_by_trust_ratio", "eps", eps, 0)
    checks.in_range("scale_by_trust_ratio", "trust_coefficient", trust_coefficient, 0)
    step = leafwise(_trust, min_norm=min_norm, trust_coefficient=trust_coefficient, eps=eps)
    return stateless(step, needs_params="scale_by_trust_ratio")


def scale_by_param_block_rms(min_scale: ArrayLike = 1e-3) -> Transform:
    r"""Multiply each leaf by the root mean square of its parameters: $u = \max(\mathrm{rms}(\theta), s)\, g$.

    Args:
        min_scale: $s$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_param_block_rms()
        >>> rule.update(jnp.array([2.0]), rule.init(None), jnp.array([8.0]))[0].tolist()
        [16.0]
    """
    checks.in_range("scale_by_param_block_rms", "min_scale", min_scale, 0)
    step = leafwise(lambda g, p, *, min_scale: (g * jnp.maximum(rms(p), min_scale),), min_scale=min_scale)
    return stateless(step, needs_params="scale_by_param_block_rms")


def clip_by_block_rms(threshold: ArrayLike) -> Transform:
    r"""Shrink each leaf to a root mean square of at most the `threshold` $d > 0$: $u = g/\max(1, \mathrm{rms}(g)/d)$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.clip_by_block_rms(1.0)
        >>> rule.update(jnp.array([4.0, -4.0]), rule.init(None))[0].tolist()
        [1.0, -1.0]

    References:
        Shazeer and Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost, 2018.
    """
    checks.in_range("clip_by_block_rms", "threshold", threshold, 0, math.inf, open="low")
    return stateless(leafwise(lambda g, *, threshold: (g / jnp.maximum(1, rms(g) / threshold),), threshold=threshold))


def lamb(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-6,
    eps_root: ArrayLike = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Any = None,
) -> Transform:
    r"""LAMB: Adam with one step length per leaf.

    $r = \hat m/(\sqrt{\hat v} + \epsilon) + \lambda\theta$, one step length per leaf:
    $\theta \leftarrow \theta - \alpha \|\theta\|/\|r\|\; r$.

    Arguments that are not listed are those of `adam`; `eps` is 1e-6 by default.

    Args:
        weight_decay, mask: as for `adamw`.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.lamb(1e-3)

    References:
        You et al., Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, 2020.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )


def lars(
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Any = True,
    trust_coefficient: ArrayLike = 0.001,
    eps: ArrayLike = 0.0,
    trust_ratio_mask: Any = True,
    momentum: ArrayLike = 0.9,
    nesterov: bool = False,
) -> Transform:
    r"""LARS: momentum with one step length per leaf.

    $r = g + \lambda\theta$, $v \leftarrow \beta v - \alpha\eta \|\theta\|/(\|r\| + \epsilon)\; r$,
    $\theta \leftarrow \theta + v$.

    Args:
        learning_rate: $\alpha$, a scalar or a schedule.
        weight_decay: $\lambda$, a scalar or a schedule.
        weight_decay_mask: which leaves decay: a boolean, a tree of booleans or a function params -> tree.
        trust_coefficient: $\eta$.
        eps: $\epsilon$.
        trust_ratio_mask: which leaves are rescaled.
        momentum: $\beta$, in [0, 1].
        nesterov: step along $\beta v - …$, one look ahead.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.lars(0.1)

    References:
        You et al., Large Batch Training of Convolutional Networks, 2017.
    """
    checks.in_range("lars", "momentum", momentum, 0, 1)
    trusted = scale_by_trust_ratio(trust_coefficient=trust_coefficient, eps=eps)
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        masked(trusted, trust_ratio_mask),
        scale_by_learning_rate(learning_rate),
        trace(momentum, nesterov),
    )
