"""L-BFGS: Newton's direction from the last few steps and the differences of their gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optim.learning_rate import scale, scale_by_learning_rate
from fnn.optim.leaves import counter, full_like, increment, inner_product, leafwise, need_params, real_dtype, times
from fnn.optim.line_search import scale_by_zoom_linesearch
from fnn.optim.transform import Transform, chain, identity, require_transform
from fnn.optim.wrappers import global_norm
from fnn.typing import Array, PyTree, ScalarOrSchedule

__all__ = ["ScaleByLBFGSState", "lbfgs", "scale_by_lbfgs"]


class ScaleByLBFGSState(NamedTuple):
    r"""Steps made, the last parameters and gradients, of the last few steps $s$, $y$ and $1/\langle y, s\rangle$."""

    count: Array  # type: ignore[assignment]
    params: PyTree
    updates: PyTree
    diff_params_memory: PyTree
    diff_updates_memory: PyTree
    weights_memory: Array


_difference = leafwise(lambda a, b, *, known: (jnp.where(known, a - b, 0),))
_plus = leafwise(lambda q, s, *, times: (q + times * s,))
_times = leafwise(times)


def _direction(gradient: PyTree, s: PyTree, y: PyTree, rho: Array, scale: Array, oldest: Array) -> PyTree:
    """$H g$ by two loops over the remembered pairs, the newest first and then the oldest first."""
    places = (oldest + jnp.arange(len(rho), dtype=jnp.int32)) % len(rho)

    def pair(place: Array) -> tuple[PyTree, PyTree, Array]:
        return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, place, keepdims=False), (s, y, rho))

    def down(q: PyTree, place: Array) -> tuple[PyTree, Array]:
        s, y, rho = pair(place)
        alpha = rho * inner_product(s, q, rho.dtype)
        return _plus(q, y, times=-alpha)[0], alpha

    def up(q: PyTree, at: tuple[Array, Array]) -> tuple[PyTree, None]:
        s, y, rho = pair(at[0])
        return _plus(q, s, times=at[1] - rho * inner_product(y, q, rho.dtype))[0], None

    q, alphas = jax.lax.scan(down, gradient, places, reverse=True)
    return jax.lax.scan(up, _times(q, factor=scale)[0], (places, alphas))[0]


def scale_by_lbfgs(memory_size: int = 10, scale_init_precond: bool = True) -> Transform:
    r"""Multiply the gradient by an approximate inverse of the Hessian, $u = H g$:

    $H_{j+1} = (I - \rho_j s_j y_j^\top) H_j (I - \rho_j y_j s_j^\top) + \rho_j s_j s_j^\top$, with the last $m$ steps
    $s_j = \theta_{j+1} - \theta_j$, $y_j = g_{j+1} - g_j$, $\rho_j = 1/\langle y_j, s_j\rangle$, from $H_0 = \gamma I$.

    A step along which the gradient did not grow, $\langle y, s\rangle \le 0$, is no step of a convex function and is
    left out: $H$ stays positive definite, and $-Hg$ a descent. That happens where batches differ; give all rows at once
    (`batch_size=None`).

    Args:
        memory_size: $m$.
        scale_init_precond: $\gamma = \langle y, s\rangle/\langle y, y\rangle$ of the last step, and
            $\min(1, 1/\|g\|)$ where there is none; False takes 1.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.scale_by_lbfgs()
        >>> hessian, params = jnp.array([1.0, 4.0]), jnp.array([1.0, 1.0])
        >>> _, state = rule.update(hessian * params, rule.init(params), params)
        >>> rule.update(hessian * 0.5 * params, state, 0.5 * params)[0].round(2).tolist()
        [0.5, 0.5]

    References:
        Liu and Nocedal, On the limited memory BFGS method for large scale optimization, 1989; Nocedal and Wright,
        Numerical Optimization, 1999, algorithm 7.4.
    """
    size = checks.integer("scale_by_lbfgs", "memory_size", memory_size)
    checks.flags("scale_by_lbfgs", scale_init_precond=scale_init_precond)

    def remember(params: PyTree) -> PyTree:
        return jax.tree.map(lambda zero: jnp.stack([zero] * size), full_like(params))

    def init(params: PyTree) -> ScaleByLBFGSState:
        return ScaleByLBFGSState(
            counter(), full_like(params), full_like(params), remember(params), remember(params), jnp.zeros(size)
        )

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, PyTree]:
        params = need_params("scale_by_lbfgs", params)
        dtype, known = real_dtype(params), state.count > 0
        s, y = (
            _difference(new, old, known=known)[0] for new, old in ((params, state.params), (updates, state.updates))
        )
        curvature, squared = inner_product(y, s, dtype), inner_product(y, y, dtype)
        convex = curvature > 0
        rho = jnp.where(convex, 1 / jnp.where(convex, curvature, 1), 0)
        newest = jnp.arange(size, dtype=jnp.int32) == (state.count - 1) % size

        def put(memory: Array, new: Array) -> Array:
            here = newest.reshape(-1, *[1] * new.ndim)
            return jnp.where(here, new.astype(memory.dtype)[None], memory)

        old = (state.diff_params_memory, state.diff_updates_memory, state.weights_memory)
        steps, differences, weights = jax.tree.map(put, old, (s, y, rho))
        gamma = jnp.ones([], dtype)
        if scale_init_precond:
            gamma = 1 / jnp.maximum(global_norm(updates).astype(dtype), 1)
            by_pair = jnp.where(convex, curvature / jnp.where(convex, squared, 1), gamma)
            gamma = jnp.where(known, jnp.where(squared > 0, by_pair, 1), gamma)
        new = _direction(updates, steps, differences, weights, gamma, state.count % size)
        return new, ScaleByLBFGSState(increment(state.count), params, updates, steps, differences, weights)

    return Transform(init, update)


def lbfgs(
    learning_rate: ScalarOrSchedule | None = None,
    memory_size: int = 10,
    scale_init_precond: bool = True,
    linesearch: Transform | None = scale_by_zoom_linesearch(20, initial_guess_strategy="one"),  # noqa: B008
) -> Transform:
    r"""L-BFGS: a quasi-Newton step $\theta \leftarrow \theta - \eta H g$ whose size $\eta$ a line search finds.

    $H$ is that of `scale_by_lbfgs`, $\eta$ satisfies the strong Wolfe conditions of `scale_by_zoom_linesearch`. For
    small models on all rows at once (`batch_size=None`), where it needs a small part of the steps of any rule that
    looks at the last gradient alone. A step costs as many losses and gradients as trials, mostly one or two more than
    another rule's, and keeps $2m + 2$ copies of the parameters.

    Args:
        learning_rate: of the direction before the line search; None for 1.
        memory_size: $m$, how many steps $H$ is made of.
        scale_init_precond: whether $H$ starts from a scaled identity.
        linesearch: finds $\eta$; None takes 1.

    Example:
        >>> import jax, fnn
        >>> x = jax.numpy.linspace(-1, 1, 20).reshape(20, 1)
        >>> _, history = fnn.fit(
        ...     fnn.dense(1), fnn.optim.lbfgs(), fnn.tasks.regression(), (x, 3 * x[:, 0] + 1),
        ...     key=jax.random.key(0), epochs=8, batch_size=None, progress=False)
        >>> bool(history["loss"][-1] < 1e-9)
        True

    References:
        Liu and Nocedal, On the limited memory BFGS method for large scale optimization, 1989.
    """
    if linesearch is not None:
        require_transform("lbfgs", linesearch, "linesearch")
    return chain(
        scale_by_lbfgs(memory_size, scale_init_precond),
        scale(-1.0) if learning_rate is None else scale_by_learning_rate(learning_rate),
        identity() if linesearch is None else linesearch,
    )
