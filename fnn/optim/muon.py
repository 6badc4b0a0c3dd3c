"""Muon: momentum with all its singular values made equal."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from fnn import checks
from fnn.kernels.mesh_axes import auto_axes, split_of
from fnn.optim.adam import adamw, mean_ahead
from fnn.optim.grouping import partition, weights_only
from fnn.optim.layerwise import _norm
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import correction, counter, full_like, increment, leafwise
from fnn.optim.transform import EmptyState, Transform, chain
from fnn.optim.wrappers import add_decayed_weights
from fnn.typing import Array, ArrayLike, DType, PyTree, ScalarOrSchedule

__all__ = ["MuonState", "muon", "orthogonalize", "scale_by_muon"]

QUINTIC = (3.4445, -4.7750, 2.0315)


class MuonState(NamedTuple):
    """Steps made, the average of gradients and the coefficients of the iteration."""

    count: Array  # type: ignore[assignment]
    mu: PyTree
    ns_coeffs: Array


def orthogonalize(x: Array, ns_coeffs: Any = QUINTIC, ns_steps: int = 5, eps: ArrayLike = 1e-8) -> Array:
    r"""A matrix with the singular vectors of `x` and singular values near 1, by Newton and Schulz:

    $X \leftarrow aX + (bA + cA^2)X$, $A = XX^*$, starting from $X/(\|X\|_F + \epsilon)$.

    Args:
        x: (m, n).
        ns_coeffs: $(a, b, c)$.
        ns_steps: how often; a Python integer.
        eps: $\epsilon$.

    Returns:
        (m, n); the default coefficients are steep rather than convergent and leave the singular values of a full-rank
        matrix within about [0.7, 1.2].

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.optim.orthogonalize(jnp.eye(2)).round(1).tolist()
        [[..., 0.0], [0.0, ...]]

    References:
        Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024.
    """
    checks.rank("orthogonalize", "x", x, 2, "(m, n)")
    coefficients = tuple(jnp.asarray(k).astype(jnp.finfo(x.dtype).dtype) for k in ns_coeffs)
    iterate = functools.partial(_newton_schulz, steps=ns_steps)
    return auto_axes(iterate, PartitionSpec(*split_of(x)))(x, coefficients, eps)


def _newton_schulz(x: Array, coefficients: tuple[Array, ...], eps: ArrayLike, *, steps: int) -> Array:
    a, b, c = coefficients
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (_norm(x) + eps)
    for _ in range(steps):
        gram = x @ x.T.conj()
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def _muon(
    g: Array, m: Array, *, beta: Any, eps: Any, ns_steps: int, adaptive: bool, a: Any, b: Any, c: Any, **at: Any
) -> tuple[Array, Array]:
    m = beta * m + (1 - beta) * g
    mean = mean_ahead(g, m, b1=beta, **at)
    u = orthogonalize(mean, (a, b, c), ns_steps, eps)
    return (jnp.sum(mean.conj() * u) * u if adaptive else u), m


def scale_by_muon(
    ns_coeffs: tuple[ArrayLike, ArrayLike, ArrayLike] = QUINTIC,
    ns_steps: int = 5,
    beta: ArrayLike = 0.95,
    eps: ArrayLike = 1e-8,
    mu_dtype: DType | None = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
) -> Transform:
    r"""Orthogonalized momentum of matrices.

    $m \leftarrow \beta m + (1 - \beta) g$, $u = \mathrm{orthogonalize}(\hat m)$.

    Args:
        ns_coeffs: coefficients of `orthogonalize`.
        ns_steps: its iterations.
        beta: $\beta$, in [0, 1).
        eps: $\epsilon$ of `orthogonalize`.
        mu_dtype: dtype of $m$; that of the parameters by default.
        nesterov: $\hat m = \beta m/(1 - \beta^{t+1}) + (1 - \beta) g/(1 - \beta^t)$ instead of $m/(1 - \beta^t)$.
        adaptive: multiply by the dual norm $\langle \hat m, u\rangle$.

    Raises:
        ValueError: if `beta` is outside [0, 1); at the update, for a leaf that is not a matrix.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_muon()
        >>> rule.update(jnp.ones((2, 3)), rule.init(jnp.ones((2, 3))))[0].shape
        (2, 3)

    References:
        Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024.
    """
    checks.in_range("scale_by_muon", "beta", beta, 0, 1, open="high")
    checks.in_range("scale_by_muon", "eps", eps, 0, open="low")
    ns_steps = checks.integer("scale_by_muon", "ns_steps", ns_steps)
    step = leafwise(_muon, beta=beta, eps=eps, ns_steps=ns_steps, adaptive=adaptive)

    def init(params: PyTree) -> MuonState:
        return MuonState(counter(), full_like(params, dtype=mu_dtype), jnp.asarray(ns_coeffs, float))

    def update(
        updates: PyTree, state: MuonState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, MuonState]:
        count = increment(state.count)
        a, b, c = state.ns_coeffs
        at = {"c1": correction(beta, count), "a": a, "b": b, "c": c}
        if nesterov:
            at["ahead"] = correction(beta, increment(count))
        updates, mu = step(updates, state.mu, **at)
        return updates, MuonState(count, mu, state.ns_coeffs)

    return Transform(init, update)


def _scale_by_shape(consistent_rms: ArrayLike | None) -> Transform:
    def widen(g: Array, *, rms: Any) -> tuple[Array]:
        inputs, outputs = g.shape
        if rms is None:
            return (max(1, outputs / inputs) ** 0.5 * g,)
        return (max(inputs, outputs) ** 0.5 * rms * g,)

    step = leafwise(widen, rms=consistent_rms)

    def update(
        updates: PyTree, state: EmptyState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, EmptyState]:
        (updates,) = step(updates)
        return updates, state

    return Transform(lambda params: EmptyState(), update)


def muon(
    learning_rate: ScalarOrSchedule,
    ns_coeffs: tuple[ArrayLike, ArrayLike, ArrayLike] = QUINTIC,
    ns_steps: int = 5,
    beta: ArrayLike = 0.95,
    eps: ArrayLike = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Any = None,
    mu_dtype: DType | None = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    adam_b1: ArrayLike = 0.9,
    adam_b2: ArrayLike = 0.999,
    adam_eps_root: ArrayLike = 0.0,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    consistent_rms: ArrayLike | None = None,
) -> Transform:
    r"""Muon for the weights that are matrices (`weights_only`), AdamW for everything else.

    $\theta \leftarrow \theta - \alpha (s\, \mathrm{orthogonalize}(\hat m) + \lambda\theta)$.

    Args:
        learning_rate: $\alpha$, a scalar or a schedule.
        ns_coeffs: coefficients of `orthogonalize`.
        ns_steps: its iterations.
        beta: decay of the average $m$ of gradients, in [0, 1).
        eps: $\epsilon$ of `orthogonalize` and of Adam.
        weight_decay: $\lambda$, a scalar or a schedule.
        weight_decay_mask: which leaves decay: a tree of booleans or a function params -> tree.
        mu_dtype: dtype of $m$; that of the parameters by default.
        nesterov: look one step ahead.
        adaptive: multiply by the dual norm.
        adam_b1: Adam's $\beta_1$ for leaves that are not matrices.
        adam_b2: Adam's $\beta_2$.
        adam_eps_root: Adam's $\epsilon_r$.
        adam_weight_decay: Adam's $\lambda$.
        adam_learning_rate: Adam's $\alpha$; that of the matrices by default.
        consistent_rms: $s = \sqrt{\max(m, n)}$ times this; by default $s = \sqrt{\max(1, n/m)}$ for an (m, n) leaf.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.muon(2e-2)

    References:
        Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024.
        Liu et al., Muon is Scalable for LLM Training, 2025.
    """
    matrices = chain(
        scale_by_muon(ns_coeffs, ns_steps, beta, eps, mu_dtype, nesterov=nesterov, adaptive=adaptive),
        _scale_by_shape(consistent_rms),
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_learning_rate(learning_rate),
    )
    others = adamw(
        learning_rate if adam_learning_rate is None else adam_learning_rate,
        adam_b1,
        adam_b2,
        eps,
        adam_eps_root,
        mu_dtype,
        adam_weight_decay,
        nesterov=nesterov,
    )

    def labels(params: PyTree) -> PyTree:
        return jax.tree.map(
            lambda leaf, weight: "muon" if weight and jnp.ndim(leaf) == 2 else "adam", params, weights_only(params)
        )

    return partition({"muon": matrices, "adam": others}, labels)
