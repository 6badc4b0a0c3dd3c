"""Are the derivatives right? Forward and reverse mode against finite differences in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.typing import PyTree

__all__ = ["check_gradients"]


def is_float(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def _dot(a: Sequence[Any], b: Sequence[Any]) -> float:
    return float(sum(np.vdot(x, y) for x, y in zip(a, b, strict=True)))


def _directions(rng: np.random.Generator, leaves: Sequence[Any]) -> list[Any]:
    return [np.asarray(rng.standard_normal(np.shape(leaf)), np.float64) for leaf in leaves]


def check_gradients(
    f: Callable[..., PyTree], *args: PyTree, order: int = 2, step: float = 1e-5, rtol: float = 1e-5, seed: int = 0
) -> None:
    r"""Require that the derivatives of `f` at `args` are right, in forward and reverse mode.

    In float64, for random directions $v$ and $w$:
    $J v \approx (f(x + h v) - f(x - h v)) / 2h$, $w^T (J v) = (w^T J) v$, everything finite; and the same for
    the gradient of $w^T f$ if `order` is 2.

    Args:
        f: a function of pytrees of arrays that returns one; arrays it depends on, besides integers, should be
            arguments, since all are cast to float64. It should be smooth within a few `step` of `args`.
        *args: where to look; integer arrays are held fixed.
        order: 1 or 2 (or more) derivatives.
        step: $h$.
        rtol: largest difference allowed, relative to the size of the derivative.
        seed: of the directions.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.testing.check_gradients(lambda x: x**3, jnp.array([1.0, 2.0]))
        >>> fnn.testing.check_gradients(jnp.abs, jnp.array([0.0]))
        Traceback (most recent call last):
        AssertionError: order 1: forward mode differs from finite differences...
    """
    with jax.enable_x64(True):
        leaves, structure = jax.tree.flatten(args)
        leaves = [np.asarray(leaf) for leaf in leaves]
        moving = [i for i, leaf in enumerate(leaves) if is_float(leaf)]
        point = [leaves[i].astype(np.float64) for i in moving]

        def flat(*values: Any) -> list[Any]:
            filled = list(leaves)
            for i, value in zip(moving, values, strict=True):
                filled[i] = value
            outputs = jax.tree.leaves(f(*jax.tree.unflatten(structure, filled)))
            return [jnp.asarray(y, jnp.float64) for y in outputs if is_float(y)]

        _check(flat, point, 1, order, step, rtol, np.random.default_rng(seed))


def _check(
    f: Callable[..., list[Any]],
    point: list[Any],
    order: int,
    last: int,
    step: float,
    rtol: float,
    rng: np.random.Generator,
) -> None:
    f = jax.jit(f)
    v = _directions(rng, point)
    y, forward = jax.jit(lambda x, v: jax.jvp(f, x, v))(tuple(point), tuple(v))
    w = _directions(rng, y)
    reverse = jax.jit(lambda x, w: jax.vjp(f, *x)[1](w))(point, w)
    for mode, values in (("value", y), ("forward mode", forward), ("reverse mode", reverse)):
        for value in values:
            if not np.all(np.isfinite(value)):
                raise AssertionError(f"order {order}: {mode} is not finite: {np.asarray(value)}")

    ahead = f(*[x + step * d for x, d in zip(point, v, strict=True)])
    behind = f(*[x - step * d for x, d in zip(point, v, strict=True)])
    for place, (a, b, t) in enumerate(zip(ahead, behind, forward, strict=True)):
        difference = (np.asarray(a) - np.asarray(b)) / (2 * step)
        _require_close(
            f"order {order}: forward mode differs from finite differences, output {place}", t, difference, rtol
        )
    # The two sums may cancel: compare at the size of their terms.
    size = np.sqrt(_dot(reverse, reverse) * _dot(v, v)) + np.sqrt(_dot(w, w) * _dot(forward, forward))
    gap = abs(_dot(w, forward) - _dot(reverse, v))
    if gap > rtol * max(size, 1e-3):
        raise AssertionError(f"order {order}: reverse mode differs from forward mode by {gap:.3g} of {size:.3g}")
    if order < last:

        def slope(*x: Any) -> list[Any]:
            return list(jax.vjp(f, *x)[1](w))

        _check(slope, point, order + 1, last, step, rtol, rng)


def _require_close(what: str, got: Any, expected: Any, rtol: float) -> None:
    got, expected = np.asarray(got), np.asarray(expected)
    size = max(float(np.max(np.abs(expected), initial=0)), 1e-3)
    gap = np.abs(got - expected)
    if np.any(~(gap <= rtol * size)):
        at = np.unravel_index(np.argmax(gap), gap.shape)
        place = "".join(f"[{i}]" for i in at)
        raise AssertionError(f"{what}{place}: {got[at]:.8g} instead of {expected[at]:.8g}")
