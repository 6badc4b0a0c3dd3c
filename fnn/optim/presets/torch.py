r"""The optimizers of `torch.optim`: their arguments, their defaults, their steps.

Epsilon stands outside the root, the learning rate outside the momentum, weight decay is added to the gradient
(except in `adamw`), AMSGrad takes its maximum before the bias correction.

In the equations $\gamma$ is `lr`, a scalar or a schedule, $\mu$ `momentum`, $\tau$ `dampening`, $\lambda$
`weight_decay`, $\eta$ `lr_decay`.
"""

from __future__ import annotations

from typing import Any

from fnn import checks, optim
from fnn.optim.leaves import is_zero
from fnn.optim.transform import Transform
from fnn.typing import ArrayLike, ScalarOrSchedule

__all__ = ["adadelta", "adagrad", "adam", "adamax", "adamw", "nadam", "radam", "rmsprop", "sgd"]


def _with_decay(weight_decay: ScalarOrSchedule, *parts: Transform) -> Transform:
    return optim.chain(optim.identity() if is_zero(weight_decay) else optim.add_decayed_weights(weight_decay), *parts)


def sgd(
    lr: ScalarOrSchedule = 1e-3,
    momentum: ArrayLike = 0.0,
    dampening: ArrayLike = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    nesterov: bool = False,
) -> Transform:
    r"""`torch.optim.SGD`.

    $g \leftarrow g + \lambda\theta$, $v_1 = g_1$, $v \leftarrow \mu v + (1 - \tau) g$,
    $\theta \leftarrow \theta - \gamma v$.

    The first step is not damped; `nesterov` steps along $g + \mu v$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.torch.sgd(0.1, momentum=0.9, dampening=0.5)
    """
    damped = not is_zero(dampening)
    past = optim.trace(momentum, nesterov, dampening=dampening, init_from_first=damped)
    scaled = optim.identity() if is_zero(momentum) else past
    return _with_decay(weight_decay, scaled, optim.scale_by_learning_rate(lr))


def adam(
    lr: ScalarOrSchedule = 1e-3,
    betas: tuple[ArrayLike, ArrayLike] = (0.9, 0.999),
    eps: ArrayLike = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    amsgrad: bool = False,
) -> Transform:
    r"""`torch.optim.Adam`.

    $g \leftarrow g + \lambda\theta$, $\theta \leftarrow \theta - \gamma \hat m/(\sqrt{\hat v} + \epsilon)$;
    with `amsgrad`, $\hat v = \max_{i \le t} v_i/(1 - \beta_2^t)$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.torch.adam(1e-3, amsgrad=True)
    """
    return _with_decay(weight_decay, _adam_rule("adam", betas, eps, amsgrad), optim.scale_by_learning_rate(lr))


def _adam_rule(where: str, betas: tuple[ArrayLike, ArrayLike], eps: ArrayLike, amsgrad: bool) -> Transform:
    b1, b2 = checks.pair(where, "betas", betas, "(b1, b2)")
    checks.flags(where, amsgrad=amsgrad)
    return optim.scale_by_amsgrad(b1, b2, eps, max_over="raw") if amsgrad else optim.scale_by_adam(b1, b2, eps)


def adamw(
    lr: ScalarOrSchedule = 1e-3,
    betas: tuple[ArrayLike, ArrayLike] = (0.9, 0.999),
    eps: ArrayLike = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-2,
    amsgrad: bool = False,
) -> Transform:
    r"""`torch.optim.AdamW`: $\theta \leftarrow (1 - \gamma\lambda)\theta - \gamma \hat m/(\sqrt{\hat v} + \epsilon)$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.torch.adamw(1e-3)
    """
    scaled = _adam_rule("adamw", betas, eps, amsgrad)
    return optim.chain(scaled, optim.add_decayed_weights(weight_decay), optim.scale_by_learning_rate(lr))


def nadam(
    lr: ScalarOrSchedule = 2e-3,
    betas: tuple[ArrayLike, ArrayLike] = (0.9, 0.999),
    eps: ArrayLike = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    momentum_decay: ArrayLike = 4e-3,
) -> Transform:
    r"""`torch.optim.NAdam`: Adam with Nesterov momentum on a schedule, see `fnn.optim.scale_by_scheduled_nadam`.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.torch.nadam()
    """
    b1, b2 = checks.pair("nadam", "betas", betas, "(b1, b2)")
    scaled = optim.scale_by_scheduled_nadam(b1, b2, eps, momentum_decay)
    return _with_decay(weight_decay, scaled, optim.scale_by_learning_rate(lr))


def radam(
    lr: ScalarOrSchedule = 1e-3,
    betas: tuple[ArrayLike, ArrayLike] = (0.9, 0.999),
    eps: ArrayLike = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
) -> Transform:
    r"""`torch.optim.RAdam`.

    $\theta \leftarrow \theta - \gamma r_t \hat m \sqrt{1 - \beta_2^t}/(\sqrt v + \epsilon)$ once
    $\rho_t > 5$, $\theta - \gamma \hat m$ before; see `fnn.optim.scale_by_radam`.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.torch.radam()
    """
    b1, b2 = checks.pair("radam", "betas", betas, "(b1, b2)")
    return _with_decay(weight_decay, optim.scale_by_radam(b1, b2, eps, eps_hat=True), optim.scale_by_learning_rate(lr))


def adamax(
    lr: ScalarOrSchedule = 2e-3,
    betas: tuple[ArrayLike, ArrayLike] = (0.9, 0.999),
    eps: ArrayLike = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
) -> Transform:
    r"""`torch.optim.Adamax`.

    $v \leftarrow \max(\beta_2 v, |g| + \epsilon)$, $\theta \leftarrow \theta - \gamma \hat m/v$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.torch.adamax()
    """
    b1, b2 = checks.pair("adamax", "betas", betas, "(b1, b2)")
    return _with_decay(weight_decay, optim.scale_by_adamax(b1, b2, eps), optim.scale_by_learning_rate(lr))


def rmsprop(
    lr: ScalarOrSchedule = 1e-2,
    alpha: ArrayLike = 0.99,
    eps: ArrayLike = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    momentum: ArrayLike = 0.0,
    centered: bool = False,
) -> Transform:
    r"""`torch.optim.RMSprop`.

    $s \leftarrow \alpha s + (1 - \alpha) g^2$, $b \leftarrow \mu b + g/(\sqrt s + \epsilon)$,
    $\theta \leftarrow \theta - \gamma b$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.torch.rmsprop(centered=True)
    """
    past = None if is_zero(momentum) else momentum
    scaled = optim.rmsprop(
        lr, alpha, eps, eps_in_sqrt=False, centered=centered, momentum=past, learning_rate_inside=False
    )
    return _with_decay(weight_decay, scaled)


def adagrad(
    lr: ScalarOrSchedule = 1e-2,
    lr_decay: ArrayLike = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    initial_accumulator_value: ArrayLike = 0.0,
    eps: ArrayLike = 1e-10,
) -> Transform:
    r"""`torch.optim.Adagrad`.

    $G \leftarrow G + g^2$,
    $\theta \leftarrow \theta - \frac{\gamma}{1 + (t - 1)\eta} g/(\sqrt G + \epsilon)$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.torch.adagrad()
    """

    def rate_at(count: Any) -> Any:
        return (lr(count) if callable(lr) else lr) / (1 + lr_decay * count.astype(float))

    checks.number_or_schedule("adagrad", "lr", lr)
    checks.in_range("adagrad", "lr_decay", lr_decay, 0)
    scaled = optim.scale_by_rss(initial_accumulator_value, eps, eps_in_sqrt=False)
    rate = optim.scale_by_learning_rate(lr if is_zero(lr_decay) else rate_at)
    return _with_decay(weight_decay, scaled, rate)


def adadelta(
    lr: ScalarOrSchedule = 1.0, rho: ArrayLike = 0.9, eps: ArrayLike = 1e-6, weight_decay: ScalarOrSchedule = 0.0
) -> Transform:
    r"""`torch.optim.Adadelta`: $\theta \leftarrow \theta - \gamma \sqrt{E_x + \epsilon}/\sqrt{E_g + \epsilon}\; g$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.torch.adadelta()
    """
    return _with_decay(weight_decay, optim.scale_by_adadelta(rho, eps), optim.scale_by_learning_rate(lr))
