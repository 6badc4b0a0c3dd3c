"""The forms of the update rules that courses and textbooks write down, each under a name of its own."""

from __future__ import annotations

from fnn import optim
from fnn.optim.transform import Transform
from fnn.typing import ArrayLike, ScalarOrSchedule

__all__ = [
    "adagrad_eps_inside",
    "adagrad_eps_outside",
    "adam",
    "gradient_descent",
    "momentum_average",
    "momentum_average_from_first",
    "momentum_velocity",
    "rmsprop_eps_inside",
    "rmsprop_eps_outside",
]


def gradient_descent(learning_rate: ScalarOrSchedule) -> Transform:
    r"""Gradient descent: $\theta \leftarrow \theta - \alpha g$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.textbook.gradient_descent(0.1)
    """
    return optim.sgd(learning_rate)


def momentum_average(learning_rate: ScalarOrSchedule, decay: ArrayLike = 0.9) -> Transform:
    r"""The running average: $v_0 = 0$, $v \leftarrow \beta v + (1 - \beta) g$, $\theta \leftarrow \theta - \alpha v$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.textbook.momentum_average(0.1)
    """
    return optim.momentum(learning_rate, decay, form="average")


def momentum_average_from_first(learning_rate: ScalarOrSchedule, decay: ArrayLike = 0.9) -> Transform:
    r"""The running average from its first value on.

    $v_1 = g_1$, $v \leftarrow \beta v + (1 - \beta) g$, $\theta \leftarrow \theta - \alpha v$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.textbook.momentum_average_from_first(0.1)
    """
    return optim.momentum(learning_rate, decay, form="average", init_from_first=True)


def momentum_velocity(learning_rate: ScalarOrSchedule, decay: ArrayLike = 0.9) -> Transform:
    r"""A velocity with the rate inside: $v_0 = 0$, $v \leftarrow \beta v - \alpha g$, $\theta \leftarrow \theta + v$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.textbook.momentum_velocity(0.1)
    """
    return optim.momentum(learning_rate, decay, form="velocity")


def adagrad_eps_inside(learning_rate: ScalarOrSchedule = 0.01, eps: ArrayLike = 1e-8) -> Transform:
    r"""AdaGrad: $G_0 = 0$, $G \leftarrow G + g^2$, $\theta \leftarrow \theta - \alpha g/\sqrt{G + \epsilon}$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.textbook.adagrad_eps_inside(0.1)
    """
    return optim.adagrad(learning_rate, 0.0, eps)


def adagrad_eps_outside(learning_rate: ScalarOrSchedule = 0.01, eps: ArrayLike = 1e-8) -> Transform:
    r"""AdaGrad: $G_0 = 0$, $G \leftarrow G + g^2$, $\theta \leftarrow \theta - \alpha g/(\sqrt G + \epsilon)$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.textbook.adagrad_eps_outside(0.1)
    """
    return optim.adagrad(learning_rate, 0.0, eps, eps_in_sqrt=False)


def rmsprop_eps_inside(
    learning_rate: ScalarOrSchedule = 0.001, decay: ArrayLike = 0.9, eps: ArrayLike = 1e-8
) -> Transform:
    r"""RMSProp from a second moment of zero.

    $s_0 = 0$, $s \leftarrow \beta s + (1 - \beta) g^2$, $\theta \leftarrow \theta - \alpha g/\sqrt{s + \epsilon}$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.textbook.rmsprop_eps_inside(0.1)
    """
    return optim.rmsprop(learning_rate, decay, eps)


def rmsprop_eps_outside(
    learning_rate: ScalarOrSchedule = 0.001, decay: ArrayLike = 0.9, eps: ArrayLike = 1e-8
) -> Transform:
    r"""RMSProp from a second moment of zero.

    $s_0 = 0$, $s \leftarrow \beta s + (1 - \beta) g^2$, $\theta \leftarrow \theta - \alpha g/(\sqrt s + \epsilon)$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.textbook.rmsprop_eps_outside(0.1)
    """
    return optim.rmsprop(learning_rate, decay, eps, eps_in_sqrt=False)


def adam(
    learning_rate: ScalarOrSchedule = 0.001, b1: ArrayLike = 0.9, b2: ArrayLike = 0.999, eps: ArrayLike = 1e-8
) -> Transform:
    r"""Adam with both moments corrected for their start at zero.

    $m \leftarrow \beta_1 m + (1 - \beta_1) g$, $v \leftarrow \beta_2 v + (1 - \beta_2) g^2$,
    $\theta \leftarrow \theta - \alpha \hat m/(\sqrt{\hat v} + \epsilon)$ with $\hat m = m/(1 - \beta_1^t)$,
    $\hat v = v/(1 - \beta_2^t)$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.textbook.adam()
    """
    return optim.adam(learning_rate, b1, b2, eps)
