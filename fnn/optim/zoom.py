"""The search for a step size: trials grow until an interval is known to hold a good one, then the interval shrinks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.optim.acceptance import choose
from fnn.typing import Array, ArrayLike, PyTree


class Point(NamedTuple):
    """A step size, and there the loss and its slope along the direction."""

    size: Array
    value: Array
    slope: Array


class Search(NamedTuple):
    """What the search carries: the last trial, the interval, the safe step, and the gradients of trial and safe step.

    `low` is the better end of the interval, `high` the other, on either side; `third` is what else a cubic goes
    through. The safe step is the best so far that decreases the loss enough.
    """

    count: Array  # type: ignore[assignment]
    found: Array
    done: Array
    failed: Array
    last: Point
    low: Point
    high: Point
    third: Point
    safe: Point
    grad: PyTree
    safe_grad: PyTree
    decrease_error: Array
    curvature_error: Array


class Rule(NamedTuple):
    """The settings of the search."""

    most: ArrayLike
    largest: ArrayLike | None
    tol: ArrayLike
    increase: ArrayLike
    decrease: ArrayLike
    curvature: ArrayLike
    near: ArrayLike | None
    precision: ArrayLike

    def excess(self, new: Point, start: Point) -> tuple[Array, Array]:
        """By how much the two conditions are missed; infinitely where the loss is not a number."""
        decrease = new.value - start.value - self.decrease * new.size * start.slope
        if self.near is not None:
            by_slope = new.slope - (2 * self.decrease - 1) * start.slope
            near = new.value - start.value - self.near * jnp.abs(start.value)
            decrease = jnp.minimum(decrease, jnp.maximum(by_slope, near))
        curvature = jnp.abs(new.slope) - self.curvature * jnp.abs(start.slope)
        a, b = (jnp.where(jnp.isnan(error), jnp.inf, jnp.maximum(error, 0)) for error in (decrease, curvature))
        return a, b


def _cubic(low: Point, high: Point, third: Point) -> Array:
    """Where the cubic through three points, with the slope of the first, is least; NaN where it has no such place."""
    to_high, to_third = high.size - low.size, third.size - low.size
    above_high = high.value - low.value - low.slope * to_high
    above_third = third.value - low.value - low.slope * to_third
    scale = (to_high * to_third) ** 2 * (to_high - to_third)
    a = (to_third**2 * above_high - to_high**2 * above_third) / scale
    b = (to_high**3 * above_third - to_third**3 * above_high) / scale
    return low.size + (-b + jnp.sqrt(b * b - 3 * a * low.slope)) / (3 * a)


def _parabola(low: Point, high: Point) -> Array:
    """Where the parabola through two points, with the slope of the first, is least."""
    width = high.size - low.size
    return low.size - low.slope / (2 * ((high.value - low.value - low.slope * width) / width**2))


def _inside(search: Search) -> Array:
    """The next trial within the interval: by a cubic or a parabola if that is well inside, else the middle."""
    low, high = search.low, search.high
    width = jnp.abs(high.size - low.size)
    left, right = jnp.minimum(low.size, high.size), jnp.maximum(low.size, high.size)

    def well_inside(size: Array, share: float) -> Array:
        return (size > left + share * width) & (size < right - share * width)

    cubic, parabola = _cubic(low, high, search.third), _parabola(low, high)
    size = jnp.where(well_inside(parabola, 0.1), parabola, (low.size + high.size) / 2)
    return jnp.where(well_inside(cubic, 0.2), cubic, size)


def _trial(rule: Rule, search: Search, start: Point, first: Array, evaluate: Callable[[Array], Any]) -> Search:
    """One more trial: a larger step size, or one within the interval once that is found."""
    low, high, last, found = search.low, search.high, search.last, search.found
    size, at_most = jnp.where(search.count == 0, first, rule.increase * last.size), jnp.array(False)
    if rule.largest is not None:
        at_most, size = size >= rule.largest, jnp.minimum(size, rule.largest)
    new, grad = evaluate(jnp.where(found, _inside(search), size))
    decrease, curvature = rule.excess(new, start)
    good = jnp.maximum(decrease, curvature) <= rule.tol
    safer = (decrease <= rule.tol) & (~found | (new.value < search.safe.value))
    best = choose(found, low, last)
    above = (decrease > 0) | ((new.value >= best.value) & (found | (search.count > 0)))
    # The loss rises behind the new point, or towards the other end: the least is between it and the best so far.
    turned = ~above & jnp.where(found, new.slope * (high.size - low.size) >= 0, new.slope >= 0)
    new_low = choose(above, best, choose(found | turned, new, last))
    new_high = choose(above, new, choose(turned, best, choose(found, high, new)))
    third = choose(found, choose(above | turned, high, low), new_low)
    now_found = found | above | turned | good
    safe, safe_grad = choose(safer, (new, grad), (search.safe, search.safe_grad))
    done = good | (at_most & ~now_found)
    short = found & (jnp.abs(high.size - low.size) <= rule.precision) & (safe.size > 0)
    failed = ~done & (((search.count + 1).astype(new.size.dtype) >= rule.most) | short)
    return Search(
        search.count + 1, now_found, done, failed, new, new_low, new_high, third, safe, grad, safe_grad, decrease,
        curvature,
    )  # fmt: skip


def search(rule: Rule, start: Point, grad: PyTree, first: Array, evaluate: Callable[[Array], Any]) -> Search:
    """Trials until one is good or no more are worth it; `last` and its gradient are then the step to take."""
    never, unknown = jnp.array(False), jnp.full_like(start.value, jnp.inf)
    zero = jnp.zeros([], jnp.int32)
    begin = Search(zero, never, never, never, start, start, start, start, start, grad, grad, unknown, unknown)
    end = jax.lax.while_loop(
        lambda search: ~(search.done | search.failed),
        lambda search: _trial(rule, search, start, first, evaluate),
        begin,
    )
    take_safe = end.failed & ((end.safe.size > 0) | jnp.isinf(end.decrease_error))
    point, grad = choose(take_safe, (end.safe, end.safe_grad), (end.last, end.grad))
    return end._replace(last=point, grad=grad)


def report(search: Search, start: Point) -> None:
    """Print how a search went that found no step satisfying both conditions."""
    jax.lax.cond(
        search.failed,
        lambda: jax.debug.print(
            "scale_by_zoom_linesearch: no step size satisfies both conditions after {n} trials: took {size}, decrease "
            "missed by {a}, curvature by {b}, slope {slope} (a descent has a negative one)",
            n=search.count, size=search.last.size, a=search.decrease_error, b=search.curvature_error, slope=start.slope,
        ),
        lambda: None,
    )  # fmt: skip
