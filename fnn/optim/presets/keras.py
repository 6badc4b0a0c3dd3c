r"""The optimizers of `keras.optimizers`: their arguments, their defaults, their steps.

Epsilon is 1e-7; in Adam it stands beside the root of the uncorrected second moment (the paper's second form); in
RMSProp and AdaGrad it stands inside the root; the learning rate is inside the momentum.

In the equations $\alpha$ is `learning_rate`, a scalar or a schedule, $\mu$ `momentum`, $\lambda$ `weight_decay`.
"""

from __future__ import annotations

from fnn import checks, optim
from fnn.optim.leaves import is_zero
from fnn.optim.transform import Transform
from fnn.typing import ArrayLike, ScalarOrSchedule

__all__ = ["adadelta", "adagrad", "adam", "adamax", "adamw", "lion", "nadam", "rmsprop", "sgd"]


def sgd(learning_rate: ScalarOrSchedule = 0.01, momentum: ArrayLike = 0.0, nesterov: bool = False) -> Transform:
    r"""`keras.optimizers.SGD`: $v \leftarrow \mu v - \alpha g$, $\theta \leftarrow \theta + v$.

    With `nesterov`, $\theta \leftarrow \theta + \mu v - \alpha g$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.keras.sgd(momentum=0.9)
    """
    checks.flags("sgd", nesterov=nesterov)
    if is_zero(momentum):
        return optim.sgd(learning_rate)
    return optim.momentum(learning_rate, momentum, form="velocity", nesterov=nesterov)


def _adam_rule(beta_1: ArrayLike, beta_2: ArrayLike, epsilon: ArrayLike, amsgrad: bool) -> Transform:
    checks.flags("adam", amsgrad=amsgrad)
    if amsgrad:
        return optim.scale_by_amsgrad(beta_1, beta_2, epsilon, max_over="raw", eps_hat=True)
    return optim.scale_by_adam(beta_1, beta_2, epsilon, eps_hat=True)


def adam(
    learning_rate: ScalarOrSchedule = 0.001,
    beta_1: ArrayLike = 0.9,
    beta_2: ArrayLike = 0.999,
    epsilon: ArrayLike = 1e-7,
    amsgrad: bool = False,
) -> Transform:
    r"""`keras.optimizers.Adam`.

    $\theta \leftarrow \theta - \alpha \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} m/(\sqrt v + \hat\epsilon)$;
    with `amsgrad`, $\max_{i \le t} v_i$ in the place of $v$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.keras.adam()
    """
    return optim.chain(_adam_rule(beta_1, beta_2, epsilon, amsgrad), optim.scale_by_learning_rate(learning_rate))


def adamw(
    learning_rate: ScalarOrSchedule = 0.001,
    weight_decay: ScalarOrSchedule = 0.004,
    beta_1: ArrayLike = 0.9,
    beta_2: ArrayLike = 0.999,
    epsilon: ArrayLike = 1e-7,
    amsgrad: bool = False,
) -> Transform:
    r"""`keras.optimizers.AdamW`: $\theta \leftarrow (1 - \alpha\lambda)\theta$, then the step of `adam`.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.keras.adamw()
    """
    scaled = _adam_rule(beta_1, beta_2, epsilon, amsgrad)
    return optim.chain(scaled, optim.add_decayed_weights(weight_decay), optim.scale_by_learning_rate(learning_rate))


def nadam(
    learning_rate: ScalarOrSchedule = 0.001,
    beta_1: ArrayLike = 0.9,
    beta_2: ArrayLike = 0.999,
    epsilon: ArrayLike = 1e-7,
) -> Transform:
    r"""`keras.optimizers.Nadam`.

    Adam with Nesterov momentum on a schedule, $\psi = 1$ in `fnn.optim.scale_by_scheduled_nadam`.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.keras.nadam()
    """
    scaled = optim.scale_by_scheduled_nadam(beta_1, beta_2, epsilon, momentum_decay=1.0)
    return optim.chain(scaled, optim.scale_by_learning_rate(learning_rate))


def adamax(
    learning_rate: ScalarOrSchedule = 0.001,
    beta_1: ArrayLike = 0.9,
    beta_2: ArrayLike = 0.999,
    epsilon: ArrayLike = 1e-7,
) -> Transform:
    r"""`keras.optimizers.Adamax`.

    $u \leftarrow \max(\beta_2 u, |g|)$, $\theta \leftarrow \theta - \alpha \hat m/(u + \epsilon)$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.keras.adamax()
    """
    scaled = optim.scale_by_adamax(beta_1, beta_2, epsilon, eps_in_max=False)
    return optim.chain(scaled, optim.scale_by_learning_rate(learning_rate))


def rmsprop(
    learning_rate: ScalarOrSchedule = 0.001,
    rho: ArrayLike = 0.9,
    momentum: ArrayLike = 0.0,
    epsilon: ArrayLike = 1e-7,
    centered: bool = False,
) -> Transform:
    r"""`keras.optimizers.RMSprop`.

    $s \leftarrow \rho s + (1 - \rho) g^2$, $v \leftarrow \mu v + \alpha g/\sqrt{s + \epsilon}$,
    $\theta \leftarrow \theta - v$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.keras.rmsprop()
    """
    past = None if is_zero(momentum) else momentum
    return optim.rmsprop(learning_rate, rho, epsilon, centered=centered, momentum=past)


def adagrad(
    learning_rate: ScalarOrSchedule = 0.001, initial_accumulator_value: ArrayLike = 0.1, epsilon: ArrayLike = 1e-7
) -> Transform:
    r"""`keras.optimizers.Adagrad`: $G \leftarrow G + g^2$, $\theta \leftarrow \theta - \alpha g/\sqrt{G + \epsilon}$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.keras.adagrad()
    """
    return optim.adagrad(learning_rate, initial_accumulator_value, epsilon)


def adadelta(learning_rate: ScalarOrSchedule = 0.001, rho: ArrayLike = 0.95, epsilon: ArrayLike = 1e-7) -> Transform:
    r"""`keras.optimizers.Adadelta`.

    $\theta \leftarrow \theta - \alpha \sqrt{E_x + \epsilon}/\sqrt{E_g + \epsilon}\; g$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.keras.adadelta()
    """
    checks.number_or_schedule("adadelta", "learning_rate", learning_rate)
    return optim.adadelta(learning_rate, rho, epsilon)


def lion(learning_rate: ScalarOrSchedule = 0.001, beta_1: ArrayLike = 0.9, beta_2: ArrayLike = 0.99) -> Transform:
    r"""`keras.optimizers.Lion`: $\theta \leftarrow \theta - \alpha\,\mathrm{sign}(\beta_1 m + (1 - \beta_1) g)$.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.presets.keras.lion()
    """
    return optim.chain(optim.scale_by_lion(beta_1, beta_2), optim.scale_by_learning_rate(learning_rate))
