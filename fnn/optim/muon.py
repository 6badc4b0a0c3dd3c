"""Muon: momentum with all its singular values made equal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optim.adam import adamw, mean_ahead
from fnn.optim.grouping import partition, resolve_mask, weights_only
from fnn.optim.learning_rate import scale_by_learning_rate
from fnn.optim.leaves import correction, counter, full_like, increment, leafwise
from fnn.optim.orthogonalization import COEFFICIENTS, PRECONDITIONINGS, QUINTIC, coefficients, orthogonalize
from fnn.optim.rules import stateless
from fnn.optim.transform import Transform, chain
from fnn.optim.wrappers import add_decayed_weights
from fnn.typing import Array, ArrayLike, DType, PyTree, ScalarOrSchedule

__all__ = ["MuonDimensionNumbers", "MuonState", "muon", "scale_by_muon"]


class MuonState(NamedTuple):
    """Steps made, the average of gradients and the coefficients of the iteration."""

    count: Array  # type: ignore[assignment]
    mu: PyTree
    ns_coeffs: Array


class MuonDimensionNumbers(NamedTuple):
    """Which axes of a weight are the inputs and which the outputs of its matrix; all others are a batch of matrices.

    Example:
        >>> import fnn
        >>> fnn.optim.MuonDimensionNumbers((0, 1, 2), 3)  # a convolution kernel (height, width, in, out)
        MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)
    """

    reduction_axis: Sequence[int] | int = 0
    output_axis: Sequence[int] | int = 1


def _as_matrices(x: Array, numbers: MuonDimensionNumbers) -> tuple[Array, Callable[[Array], Array]]:
    """`x` as (batch, inputs, outputs), and the way back; a plain matrix stays as it is."""
    checks.least_rank("muon", "a weight", x, 2, "(in, out, ...)")
    given = [tuple(axes) if isinstance(axes, Sequence) else (axes,) for axes in numbers]
    inputs, outputs = (tuple(a % x.ndim for a in axes if -x.ndim <= a < x.ndim) for axes in given)
    if len({*inputs, *outputs}) < sum(map(len, given)):
        raise ValueError(f"muon: expected inputs and outputs on different axes, got {numbers} for {checks.describe(x)}")
    if (inputs, outputs, x.ndim) == ((0,), (1,), 2):
        return x, lambda matrix: matrix
    order = (*(a for a in range(x.ndim) if a not in inputs + outputs), *inputs, *outputs)
    moved = x.transpose(order)
    split = len(moved.shape) - len(inputs) - len(outputs), len(moved.shape) - len(outputs)
    sizes = [math.prod(part) for part in (moved.shape[: split[0]], moved.shape[slice(*split)], moved.shape[split[1] :])]
    back = tuple(order.index(a) for a in range(x.ndim))
    return moved.reshape(sizes), lambda matrices: matrices.reshape(moved.shape).transpose(back)


def _muon(
    g: Array, m: Array, *,
    beta: Any, eps: Any, ns_steps: int, how: str, adaptive: bool, rows: Any, c1: Any, ahead: Any = None,
) -> tuple[Array, Array]:  # fmt: skip
    m = beta * m + (1 - beta) * g
    mean = mean_ahead(g, m, beta, c1, ahead)

    def one(x: Array) -> Array:
        return orthogonalize(x, rows, ns_steps, how, eps)

    u = one(mean) if mean.ndim == 2 else jax.vmap(one)(mean)
    return (jnp.sum(mean.conj() * u) * u if adaptive else u), m


DimensionNumbers: TypeAlias = "MuonDimensionNumbers | PyTree | Callable[[PyTree], PyTree] | None"


def _each(numbers: DimensionNumbers, tree: PyTree) -> list[Any]:
    """The dimension numbers of every leaf of `tree`, which may hide some; None where a leaf is no matrix."""

    def is_leaf(node: Any) -> bool:
        return node is None or isinstance(node, MuonDimensionNumbers)

    given = MuonDimensionNumbers() if numbers is None else resolve_mask(numbers, tree)
    found: list[Any] = []  # not a tree: its leaves would be None for what `tree` hides, too
    jax.tree.map(lambda n, part: found.extend([n] * len(jax.tree.leaves(part))), given, tree, is_leaf=is_leaf)
    return found


def _on_matrices(
    step: Callable[..., tuple[PyTree, ...]], numbers: DimensionNumbers
) -> Callable[..., tuple[PyTree, ...]]:
    """`step` on the leaves of its trees as matrices; what it returns has the shapes of the leaves again."""

    def every(updates: PyTree, *trees: PyTree, **values: Any) -> tuple[PyTree, ...]:
        structure: Any = jax.tree.structure(updates)
        own = _each(numbers, updates)
        rows = [list(map(_as_matrices, structure.flatten_up_to(tree), own)) for tree in (updates, *trees)]
        done = step(*(structure.unflatten([matrix for matrix, _ in row]) for row in rows), **values)

        def back(tree: PyTree) -> PyTree:
            return structure.unflatten([undo(x) for (_, undo), x in zip(rows[0], jax.tree.leaves(tree), strict=True)])

        return tuple(map(back, done))

    return every


def scale_by_muon(
    ns_coeffs: Any = QUINTIC,
    ns_steps: int = 5,
    beta: ArrayLike = 0.95,
    eps: ArrayLike = 1e-8,
    mu_dtype: DType | None = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: str = "frobenius",
    weight_dimension_numbers: DimensionNumbers = None,
) -> Transform:
    r"""Orthogonalized momentum: $m \leftarrow \beta m + (1 - \beta) g$, $u = \mathrm{orthogonalize}(\hat m)$.

    Arguments that are not listed are those of `muon`.

    Args:
        nesterov: $\hat m = \beta m/(1 - \beta^{t+1}) + (1 - \beta) g/(1 - \beta^t)$ instead of $m/(1 - \beta^t)$.
        adaptive: multiply by the dual norm $\langle \hat m, u\rangle$.
        weight_dimension_numbers: `MuonDimensionNumbers` of every weight, a tree of them or a function
            params -> tree; by default every weight is a matrix (in, out).

    Raises:
        ValueError: if `beta` is outside [0, 1) or a word unknown; at the update, for a leaf that is not a matrix.

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
    checks.one_of("scale_by_muon", "preconditioning", preconditioning, PRECONDITIONINGS)
    ns_steps = checks.integer("scale_by_muon", "ns_steps", ns_steps)
    checks.flags("scale_by_muon", nesterov=nesterov, adaptive=adaptive)
    checks.floating_dtype("scale_by_muon", "mu_dtype", mu_dtype, jnp.inexact)
    coefficients("scale_by_muon", ns_coeffs, ns_steps)
    options: dict[str, Any] = {"ns_steps": ns_steps, "how": preconditioning, "adaptive": adaptive}
    step = _on_matrices(leafwise(_muon, beta=beta, eps=eps, **options), weight_dimension_numbers)

    def init(params: PyTree) -> MuonState:
        rows = coefficients("scale_by_muon", ns_coeffs, ns_steps)
        return MuonState(counter(), full_like(params, dtype=mu_dtype), rows)

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, PyTree]:
        count = increment(state.count)
        at = {"c1": correction(beta, count), "rows": state.ns_coeffs}
        if nesterov:
            at["ahead"] = correction(beta, increment(count))
        updates, mu = step(updates, state.mu, **at)
        return updates, MuonState(count, mu, state.ns_coeffs)

    return Transform(init, update)


def _scale_by_shape(consistent_rms: ArrayLike | None, numbers: DimensionNumbers) -> Transform:
    def widen(g: Array, *, rms: Any) -> tuple[Array]:
        inputs, outputs = g.shape[-2:]
        if rms is None:
            return (max(1, outputs / max(inputs, 1)) ** 0.5 * g,)
        return (max(inputs, outputs) ** 0.5 * rms * g,)

    return stateless(_on_matrices(leafwise(widen, rms=consistent_rms), numbers))


def muon(
    learning_rate: ScalarOrSchedule,
    ns_coeffs: Any = QUINTIC,
    ns_steps: int = 5,
    beta: ArrayLike = 0.95,
    eps: ArrayLike = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Any = None,
    mu_dtype: DType | None = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: str = "frobenius",
    adam_b1: ArrayLike = 0.9,
    adam_b2: ArrayLike = 0.999,
    adam_eps_root: ArrayLike = 0.0,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    muon_weight_dimension_numbers: DimensionNumbers = None,
    consistent_rms: ArrayLike | None = None,
) -> Transform:
    r"""Muon for the weights that are matrices (`weights_only`), AdamW for everything else.

    $\theta \leftarrow \theta - \alpha (s\, \mathrm{orthogonalize}(\hat m) + \lambda\theta)$.

    Args:
        learning_rate: $\alpha$, a scalar or a schedule.
        ns_coeffs: coefficients of `orthogonalize`; "standard" are the default ones, "dion" five rows.
        ns_steps: its iterations.
        beta: decay of the average $m$ of gradients, in [0, 1).
        eps: $\epsilon$ of `orthogonalize` and of Adam.
        weight_decay: $\lambda$, a scalar or a schedule.
        weight_decay_mask: which leaves decay: a tree of booleans or a function params -> tree.
        mu_dtype: dtype of $m$; that of the parameters by default.
        nesterov: look one step ahead.
        adaptive: multiply by the dual norm.
        preconditioning: of `orthogonalize`.
        adam_b1, adam_b2, adam_eps_root, adam_weight_decay: Adam's $\beta_1$, $\beta_2$, $\epsilon_r$ and $\lambda$, for
            leaves that are not matrices.
        adam_learning_rate: Adam's $\alpha$; that of the matrices by default.
        muon_weight_dimension_numbers: `MuonDimensionNumbers` of the weights that are orthogonalized and None for the
            others, a tree (or a prefix) or a function params -> tree; by default all weights of two axes, (in, out).
        consistent_rms: $s = \sqrt{\max(m, n)}$ times this; by default $s = \sqrt{\max(1, n/m)}$ for an (m, n) leaf.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.muon(2e-2)

    References:
        Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024.
        Liu et al., Muon is Scalable for LLM Training, 2025.
    """
    if isinstance(ns_coeffs, str):
        checks.one_of("muon", "ns_coeffs", ns_coeffs, COEFFICIENTS)
        ns_coeffs = COEFFICIENTS[ns_coeffs]
    if consistent_rms is not None:
        checks.in_range("muon", "consistent_rms", consistent_rms, 0)
    numbers = muon_weight_dimension_numbers
    orthogonal = scale_by_muon(
        ns_coeffs, ns_steps, beta, eps, mu_dtype, nesterov=nesterov, adaptive=adaptive,
        preconditioning=preconditioning, weight_dimension_numbers=numbers,
    )  # fmt: skip
    matrices = chain(
        orthogonal,
        _scale_by_shape(consistent_rms, numbers),
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_learning_rate(learning_rate),
    )
    rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    others = adamw(rate, adam_b1, adam_b2, eps, adam_eps_root, mu_dtype, adam_weight_decay, nesterov=nesterov)
    return partition({"muon": matrices, "adam": others}, lambda params: _labels(numbers, params))


def _labels(numbers: DimensionNumbers, params: PyTree) -> PyTree:
    """Which leaves are orthogonalized."""
    if numbers is None:
        return jax.tree.map(
            lambda leaf, weight: "muon" if weight and jnp.ndim(leaf) == 2 else "adam", params, weights_only(params)
        )
    structure: Any = jax.tree.structure(params)
    return structure.unflatten(["adam" if given is None else "muon" for given in _each(numbers, params)])
