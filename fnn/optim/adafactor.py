"""Adafactor: a second moment kept as its rows and columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optim.gradient_descent import ema
from fnn.optim.layerwise import clip_by_block_rms, scale_by_param_block_rms
from fnn.optim.learning_rate import scale, scale_by_learning_rate
from fnn.optim.leaves import counter, inverse_root, leafwise, square
from fnn.optim.rules import stateful
from fnn.optim.transform import Transform, chain
from fnn.optim.wrappers import add_decayed_weights
from fnn.typing import Array, ArrayLike, DType, PyTree, ScalarOrSchedule, Shape

__all__ = ["FactoredState", "adafactor", "scale_by_factored_rms"]


class FactoredState(NamedTuple):
    """Steps made; row and column means of factored leaves; the second moment of the others."""

    count: Array  # type: ignore[assignment]
    v_row: PyTree
    v_col: PyTree
    v: PyTree


def _axes_to_factor(shape: Shape, factored: bool, min_dim_size_to_factor: int) -> tuple[int, int] | None:
    """The second largest and the largest axis, if both are large enough."""
    axes = sorted(range(len(shape)), key=shape.__getitem__)[-2:]
    if not factored or len(axes) < 2 or shape[axes[0]] < min_dim_size_to_factor:
        return None
    return axes[0], axes[1]


def _adafactor(
    g: Array, v_row: Array, v_col: Array, v: Array, *, epsilon: Any, beta: Any, **options: Any
) -> tuple[Array, Array, Array, Array]:
    squared = jnp.real(square(g)) + epsilon
    axes = _axes_to_factor(g.shape, **options)
    if axes is None:
        v = beta * v + (1 - beta) * squared.astype(v.dtype)
        return g * inverse_root(v), v_row, v_col, v
    small, large = axes
    v_row = beta * v_row + (1 - beta) * squared.mean(large).astype(v_row.dtype)
    v_col = beta * v_col + (1 - beta) * squared.mean(small).astype(v_col.dtype)
    rows = v_row / v_row.mean(small - 1 if small > large else small, keepdims=True)
    u = g * jnp.expand_dims(inverse_root(rows), large) * jnp.expand_dims(inverse_root(v_col), small)
    return u, v_row, v_col, v


def _power_decay(step: ArrayLike, exponent: ArrayLike) -> Array:
    dtype = jnp.result_type(float)
    return 1 - (jnp.asarray(step, dtype) + 1) ** -jnp.asarray(exponent, dtype)


def scale_by_factored_rms(
    factored: bool = True,
    decay_rate: ArrayLike = 0.8,
    step_offset: ArrayLike = 0,
    min_dim_size_to_factor: int = 128,
    epsilon: ArrayLike = 1e-30,
    decay_rate_fn: Callable[[Any, Any], Any] = _power_decay,
) -> Transform:
    r"""Divide by a root mean square of rank one.

    With $R$, $C$ the averages of the row and column means of $g^2 + \epsilon$ at the decay $1 - t^{-c}$,
    $u = g \sqrt{\mathrm{mean}(R)/(R\,C^\top)}$.

    Arguments that are not listed are those of `adafactor`.

    Args:
        step_offset: steps to subtract from the count, down to 0, for fine-tuning.
        epsilon: $\epsilon$, above 0.
        decay_rate_fn: (steps made, $c$) -> decay; by default $1 - t^{-c}$ at $t = 1, 2, …$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_factored_rms(min_dim_size_to_factor=2)
        >>> state = rule.init(jnp.ones((3, 5)))
        >>> state.v_row.shape, state.v_col.shape
        ((3,), (5,))

    References:
        Shazeer and Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost, 2018.
    """
    checks.in_range("scale_by_factored_rms", "decay_rate", decay_rate, 0)
    checks.whole_number("scale_by_factored_rms", "step_offset", step_offset, 0)
    checks.flags("scale_by_factored_rms", factored=factored)
    checks.instance("scale_by_factored_rms", "decay_rate_fn", decay_rate_fn, Callable, "a function (step, c) -> decay")
    checks.in_range("scale_by_factored_rms", "epsilon", epsilon, 0, open="low")
    least = checks.integer("scale_by_factored_rms", "min_dim_size_to_factor", min_dim_size_to_factor)
    options: dict[str, Any] = {"factored": factored, "min_dim_size_to_factor": least}
    step = leafwise(_adafactor, one_shape=False, epsilon=epsilon, **options)

    def empty(leaf: Any, part: str) -> Array:
        axes, shape = _axes_to_factor(leaf.shape, **options), [1]
        if axes is None and part == "v":
            shape = list(leaf.shape)
        elif axes is not None and part != "v":
            shape = list(leaf.shape)
            del shape[axes[1] if part == "row" else axes[0]]
        return jnp.zeros(shape, leaf.dtype)

    def init(params: PyTree) -> FactoredState:
        parts = (jax.tree.map(lambda leaf: empty(leaf, part), params) for part in ("row", "col", "v"))
        return FactoredState(counter(), *parts)

    def values(count: Array) -> dict[str, Any]:
        return {"beta": decay_rate_fn(jnp.maximum(count - 1 - step_offset, 0), decay_rate)}

    return stateful(init, step, values)


def adafactor(
    learning_rate: ScalarOrSchedule | None = None,
    min_dim_size_to_factor: int = 128,
    decay_rate: ArrayLike = 0.8,
    decay_offset: ArrayLike = 0,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: ArrayLike | None = 1.0,
    momentum: ArrayLike | None = None,
    dtype_momentum: DType = jnp.float32,
    weight_decay_rate: ScalarOrSchedule | None = None,
    eps: ArrayLike = 1e-30,
    factored: bool = True,
    weight_decay_mask: Any = None,
) -> Transform:
    r"""Adafactor: steps relative to the size of the parameters, with little memory.

    $\theta \leftarrow \theta - \alpha \max(10^{-3}, \mathrm{rms}(\theta))\, u/\max(1, \mathrm{rms}(u)/d)$
    with $u$ of `scale_by_factored_rms`.

    Args:
        learning_rate: $\alpha$, a scalar or a schedule; None for 1.
        min_dim_size_to_factor: leaves whose second largest axis is shorter keep their whole second moment.
        decay_rate: $c \ge 0$ in the decay $1 - t^{-c}$.
        decay_offset: steps to subtract from the count, for fine-tuning.
        multiply_by_parameter_scale: whether the step is relative to the size of the parameters.
        clipping_threshold: $d$; None does not clip.
        momentum: decay of an average of steps; None for none.
        dtype_momentum: its dtype.
        weight_decay_rate: $\lambda$: decoupled decay, not multiplied by the learning rate. None for none.
        eps: added to the squared gradient.
        factored: False keeps the whole second moment of every leaf.
        weight_decay_mask: which leaves decay: a tree of booleans or a function params -> tree.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.adafactor(1e-2)

    References:
        Shazeer and Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost, 2018.
    """
    checks.flags("adafactor", multiply_by_parameter_scale=multiply_by_parameter_scale)
    checks.floating_dtype("adafactor", "dtype_momentum", dtype_momentum, jnp.inexact)
    parts = [scale_by_factored_rms(factored, decay_rate, decay_offset, min_dim_size_to_factor, eps)]
    if clipping_threshold is not None:
        parts.append(clip_by_block_rms(clipping_threshold))
    if learning_rate is not None:
        parts.append(scale_by_learning_rate(learning_rate, flip_sign=False))
    if multiply_by_parameter_scale:
        parts.append(scale_by_param_block_rms())
    if momentum is not None:
        parts.append(ema(momentum, False, dtype_momentum))
    if weight_decay_rate is not None:
        parts.append(add_decayed_weights(weight_decay_rate, weight_decay_mask))
    return chain(*parts, scale(-1))
