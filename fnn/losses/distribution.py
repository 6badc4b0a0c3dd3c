"""Losses of distributions: negative log-likelihoods and divergences."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from fnn.kernels.mesh_axes import auto_axes, split_of
from fnn.losses.binary import sigmoid_binary_cross_entropy
from fnn.losses.labels import classes_last, negative_log_likelihood, times_log
from fnn.losses.reduction import Axis, Reduction, absolute, elements, floats, number_or_alike, reduce, takes, visible
from fnn.losses.scale import divide_by_scale, log_scale_of
from fnn.typing import Array, ArrayLike

__all__ = [
    "bernoulli_negative_log_likelihood",
    "categorical_negative_log_likelihood",
    "gaussian_negative_log_likelihood",
    "laplace_negative_log_likelihood",
    "poisson_negative_log_likelihood",
    "student_t_negative_log_likelihood",
]


@takes("log_probabilities")
def categorical_negative_log_likelihood(
    log_probabilities: ArrayLike,
    labels: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    class_weights: ArrayLike | None = None,
    ignore_index: int | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Negative log-likelihood of classes from log-probabilities: $-\sum_i y_i \log p_i$.

    Args:
        log_probabilities: $\log p$, (..., classes), as `fnn.log_softmax` gives them; not normalized here.
        labels: class numbers (...), or distributions of the shape of `log_probabilities`.
        axis, where, class_weights, ignore_index, weights, reduction: as in `softmax_cross_entropy`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> log_p = jnp.log(jnp.array([[0.25, 0.75]]))
        >>> [round(float(x), 3) for x in fnn.losses.categorical_negative_log_likelihood(log_p, jnp.array([0]))]
        [1.386]
    """
    name = "categorical_negative_log_likelihood"
    log_p, classes_in = classes_last(name, floats(name, "log_probabilities", log_probabilities), axis, where)
    losses, keep, share = negative_log_likelihood(
        name, log_probabilities, log_p, labels, axis, classes_in, 0.0, class_weights, ignore_index
    )
    return reduce(name, losses, log_probabilities, reduction, weights, keep, share)


@takes("logits")
def bernoulli_negative_log_likelihood(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Negative log-likelihood of yes-or-no, $p = σ(x)$: the name of `sigmoid_binary_cross_entropy` here.

    Args:
        logits: (...).
        targets: 0 or 1, of the same shape.
        where, weights, reduction: as in every loss, see `fnn.losses`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> [round(float(x), 3) for x in fnn.losses.bernoulli_negative_log_likelihood(jnp.array([0.0]), jnp.array([1]))]
        [0.693]
    """
    return sigmoid_binary_cross_entropy(logits, targets, where=where, weights=weights, reduction=reduction)


def _log_gamma(x: Array) -> Array:
    """The logarithm of the gamma function; newer versions of JAX look it up in a table."""
    return auto_axes(jax.scipy.special.gammaln, PartitionSpec(*split_of(x)))(x)


def gaussian_negative_log_likelihood(
    mean: ArrayLike,
    targets: ArrayLike,
    variance: ArrayLike | None = None,
    *,
    log_variance: ArrayLike | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Negative log-likelihood of a normal distribution: $\frac12 (\log 2πσ^2 + (y-μ)^2 / σ^2)$.

    Args:
        mean: μ, (...).
        targets: of the same shape.
        variance: $σ^2 > 0$, of the same shape or one number; or else
        log_variance: $\log σ^2$, any number, which suits the output of a network.
        where, weights, reduction: as in every loss, see `fnn.losses`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> loss = fnn.losses.gaussian_negative_log_likelihood(jnp.array([0.0]), jnp.array([2.0]), 4.0)
        >>> round(float(loss[0]), 3)
        2.112

    References:
        Nix, Weigend, Estimating the Mean and Variance of the Target Probability Distribution, 1994.
    """
    name = "gaussian_negative_log_likelihood"
    mu, y, mask = elements(name, mean, targets, where, first="mean")
    log_v = log_scale_of(name, "variance", variance, log_variance, mu, mask)
    losses = 0.5 * (math.log(2 * math.pi) + log_v + divide_by_scale(y - mu, log_v / 2) ** 2)
    return reduce(name, losses, mean, reduction, weights, mask)


def laplace_negative_log_likelihood(
    location: ArrayLike,
    targets: ArrayLike,
    scale: ArrayLike | None = None,
    *,
    log_scale: ArrayLike | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Negative log-likelihood of a Laplace distribution: $\log 2b + |y-μ| / b$.

    Args:
        location: μ, (...).
        targets: of the same shape.
        scale: $b > 0$, of the same shape or one number; or else
        log_scale: $\log b$, any number.
        where, weights, reduction: as in every loss, see `fnn.losses`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> loss = fnn.losses.laplace_negative_log_likelihood(jnp.array([0.0]), jnp.array([2.0]), 1.0)
        >>> round(float(loss[0]), 3)
        2.693
    """
    name = "laplace_negative_log_likelihood"
    mu, y, mask = elements(name, location, targets, where, first="location")
    log_b = log_scale_of(name, "scale", scale, log_scale, mu, mask)
    losses = math.log(2) + log_b + absolute(divide_by_scale(y - mu, log_b))
    return reduce(name, losses, location, reduction, weights, mask)


def _log1p_square(u: Array) -> Array:
    """$\\log(1 + u^2)$ without overflow."""
    large = jnp.abs(u) > 1
    near, far = jnp.where(large, 0, u), jnp.where(large, jnp.abs(u), 1)
    return jnp.where(large, 2 * jnp.log(far) + jnp.log1p(1 / far / far), jnp.log1p(near**2))


_PEAK_SERIES = (-691 / 180224, 31 / 18432, -17 / 14336, 1 / 640, -1 / 192, 1 / 8)
"""Of `½ log x - log Γ(x + ½) + log Γ(x)`, in odd powers of 1/x, the highest first."""


def _minus_log_peak(nu: Array) -> Array:
    """`-log t_ν(0)`: of many degrees of freedom by its series, where the difference of two `log Γ` has no digits."""
    x = nu / 2
    many = x >= (16 if x.dtype == jnp.float64 else 8)
    few, u = jnp.where(many, 1, x), 1 / jnp.where(many, x, 1)
    exact = _log_gamma(few) - _log_gamma(few + 0.5) + 0.5 * jnp.log(2 * math.pi * few)
    rest = functools.reduce(lambda sum, term: sum * u**2 + term, _PEAK_SERIES, jnp.zeros_like(u)) * u
    return jnp.where(many, 0.5 * math.log(2 * math.pi) + rest, exact)


def student_t_negative_log_likelihood(
    location: ArrayLike,
    targets: ArrayLike,
    scale: ArrayLike | None = None,
    *,
    log_scale: ArrayLike | None = None,
    degrees_of_freedom: ArrayLike,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Negative log-likelihood of Student's t with ν degrees of freedom.

    $-\log \frac{Γ((ν+1)/2)}{Γ(ν/2)\sqrt{πν}\,s} + \frac{ν+1}2 \log(1 + z^2/ν)$, $z = (y-μ)/s$.

    Its tails forgive outliers: the derivative tends to 0 for large residuals.

    Args:
        location, targets, scale, log_scale: as in `laplace_negative_log_likelihood`, whose $b$ is $s$ here.
        degrees_of_freedom: ν > 0, one number or of the same shape; 1 is the Cauchy distribution.
        where, weights, reduction: as in every loss, see `fnn.losses`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> y = jnp.array([1.0])
        >>> loss = fnn.losses.student_t_negative_log_likelihood(jnp.zeros(1), y, 1.0, degrees_of_freedom=1.0)
        >>> round(float(loss[0]), 3)
        1.838
    """
    name = "student_t_negative_log_likelihood"
    mu, y, mask = elements(name, location, targets, where, first="location")
    log_s = log_scale_of(name, "scale", scale, log_scale, mu, mask)
    if (visible(degrees_of_freedom) <= 0).any():
        raise ValueError(f"{name}: expected positive degrees_of_freedom")
    nu = number_or_alike(name, "degrees_of_freedom", degrees_of_freedom, "location", mu)
    losses = _minus_log_peak(nu) + log_s + (nu + 1) / 2 * _log1p_square(divide_by_scale(y - mu, log_s) / jnp.sqrt(nu))
    return reduce(name, losses, location, reduction, weights, mask)


def poisson_negative_log_likelihood(
    log_rate: ArrayLike,
    targets: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Negative log-likelihood of counts from the logarithm of their rate: $e^z - y z + \log y!$.

    Args:
        log_rate: $z = \log λ$, (...), any number, which suits the output of a network.
        targets: counts $y ≥ 0$, of the same shape.
        where, weights, reduction: as in every loss, see `fnn.losses`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> [round(float(x), 3) for x in fnn.losses.poisson_negative_log_likelihood(jnp.array([0.0]), jnp.array([3]))]
        [2.792]
    """
    name = "poisson_negative_log_likelihood"
    if (visible(targets, where) < 0).any():
        raise ValueError(f"{name}: expected counts >= 0 as targets")
    z, y, mask = elements(name, log_rate, targets, where, first="log_rate")
    losses = jnp.exp(z) - times_log(y, z) + _log_gamma(y + 1)
    return reduce(name, losses, log_rate, reduction, weights, mask)
