"""A step size that decreases the loss enough and leaves a small slope: line search by zooming into an interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optim.acceptance import choose
from fnn.optim.leaves import full_like, inner_product, leafwise, need_params, not_given, real_dtype, times
from fnn.optim.transform import Transform, apply_updates, keep_accepted
from fnn.typing import Array, ArrayLike, PyTree

__all__ = ["ScaleByZoomLinesearchState", "ZoomLinesearchInfo", "scale_by_zoom_linesearch"]


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


class ZoomLinesearchInfo(NamedTuple):
    """Trials made, and by how much the step found misses sufficient decrease and small slope (0: it does not)."""

    num_linesearch_steps: Array
    decrease_error: Array
    curvature_error: Array


class ScaleByZoomLinesearchState(NamedTuple):
    """The step size found, the loss and its gradient there, how the search went."""

    learning_rate: Array
    value: Array
    grad: PyTree
    info: ZoomLinesearchInfo


def _begin(params: PyTree) -> ScaleByZoomLinesearchState:
    dtype, unknown = real_dtype(params), jnp.asarray(jnp.inf)
    info = ZoomLinesearchInfo(jnp.asarray(0), unknown, jnp.copy(unknown))
    return ScaleByZoomLinesearchState(jnp.ones([], dtype), jnp.full([], jnp.inf, dtype), full_like(params), info)


def _check(rule: Rule, guess: str) -> None:
    where = "scale_by_zoom_linesearch"
    checks.whole_number(where, "max_linesearch_steps", rule.most, 1)
    checks.in_range(where, "increase_factor", rule.increase, 1, open="low")
    shares = {"tol": rule.tol, "slope_rtol": rule.decrease, "curv_rtol": rule.curvature}
    for name, value in (shares | {"stepsize_precision": rule.precision}).items():
        checks.in_range(where, name, value, 0)
    if rule.near is not None:
        checks.in_range(where, "approx_dec_rtol", rule.near, 0)
    if rule.largest is not None:
        checks.in_range(where, "max_learning_rate", rule.largest, 0, open="low")
    checks.one_of(where, "initial_guess_strategy", guess, ("one", "keep"))


def _need_loss(**given: Any) -> None:
    absent = [name for name, value in given.items() if value is None]
    if absent:
        arguments = "updates, state, params, value=loss, grad=gradient, value_fn=loss_fn"
        raise not_given("scale_by_zoom_linesearch", "loss", arguments, f", and {' and '.join(absent)} did not come")


def scale_by_zoom_linesearch(
    max_linesearch_steps: int,
    max_learning_rate: ArrayLike | None = None,
    tol: ArrayLike = 0.0,
    increase_factor: ArrayLike = 2.0,
    slope_rtol: ArrayLike = 1e-4,
    curv_rtol: ArrayLike = 0.9,
    approx_dec_rtol: ArrayLike | None = 1e-6,
    stepsize_precision: ArrayLike = 1e-5,
    initial_guess_strategy: str = "keep",
    verbose: bool = False,
) -> Transform:
    r"""Scale a direction $u$ by a step size $\eta$ that satisfies the strong Wolfe conditions

    $f(\theta + \eta u) \le f(\theta) + c_1 \eta \langle\nabla f(\theta), u\rangle$ (the loss decreases enough),
    $|\langle\nabla f(\theta + \eta u), u\rangle| \le c_2 |\langle\nabla f(\theta), u\rangle|$ (the slope gets small).

    Step sizes grow until an interval is known to hold such a one, then the interval shrinks by interpolation. Every
    trial costs one loss and gradient. Put the rule last in a `chain`; the update needs the loss, which `fnn.fit`,
    `trainer` and `train_step` give: `update(updates, state, params, value=loss, grad=gradient, value_fn=loss_fn)`.

    Args:
        max_linesearch_steps: trials at most; then the best of sufficient decrease is taken, or else the last, unless
            the loss is not finite there: then no step is made.
        max_learning_rate: largest $\eta$; None for no bound.
        tol: by how much both conditions may be missed.
        increase_factor: by which step sizes grow.
        slope_rtol: $c_1$.
        curv_rtol: $c_2$.
        approx_dec_rtol: $c_3$: where $f(\theta + \eta u) \le f(\theta) + c_3 |f(\theta)|$, the slope may decide in the
            place of the loss, whose decrease is lost to rounding near a minimum; None never does so.
        stepsize_precision: an interval shorter than this is searched no further.
        initial_guess_strategy: the first trial is "one", as for Newton's directions, or "keep", the last step size.
        verbose: print what a search that ends without such a step size has found.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> loss = lambda p: jnp.sum((p - 3.0) ** 2)
        >>> rule = fnn.optim.chain(fnn.optim.sgd(1.0), fnn.optim.scale_by_zoom_linesearch(10))
        >>> params = jnp.zeros(2)
        >>> value, grad = jax.value_and_grad(loss)(params)
        >>> updates, _ = rule.update(grad, rule.init(params), params, value=value, grad=grad, value_fn=loss)
        >>> fnn.optim.apply_updates(params, updates).tolist()
        [3.0, 3.0]

    References:
        Nocedal and Wright, Numerical Optimization, 1999, algorithms 3.5 and 3.6; Hager and Zhang, Algorithm 851:
        CG_DESCENT, 2006.
    """
    settings = Rule(
        max_linesearch_steps, max_learning_rate, tol, increase_factor, slope_rtol, curv_rtol,
        approx_dec_rtol, stepsize_precision,
    )  # fmt: skip
    _check(settings, initial_guess_strategy)
    checks.flags("scale_by_zoom_linesearch", verbose=verbose)
    scaled = leafwise(times)

    def update(
        updates: PyTree, state: ScaleByZoomLinesearchState, params: PyTree | None = None, *,
        value: Any = None, grad: PyTree = None, value_fn: Any = None, **extra: Any,
    ) -> tuple[PyTree, ScaleByZoomLinesearchState]:  # fmt: skip
        params = need_params("scale_by_zoom_linesearch", params)
        _need_loss(value=value, grad=grad, value_fn=value_fn)
        dtype, told = real_dtype(params), keep_accepted(value_fn)(extra)
        rule = jax.tree.map(lambda setting: jnp.asarray(setting, dtype), settings)

        def evaluate(size: Array) -> tuple[Point, PyTree]:
            moved = apply_updates(params, scaled(updates, factor=size)[0])
            value, grad = jax.value_and_grad(value_fn)(moved, **told)
            slope = inner_product(jax.tree.map(jnp.conj, grad), updates, dtype)
            return Point(size, value.astype(dtype), slope), grad

        start = Point(jnp.zeros([], dtype), jnp.asarray(value).astype(dtype), inner_product(updates, grad, dtype))
        # After a search that found no step the last size is 0, from which none would grow.
        keep = (initial_guess_strategy == "keep") & (state.learning_rate > 0)
        first = jnp.where(keep, state.learning_rate, jnp.ones([], dtype))
        end = search(rule, start, grad, first, evaluate)
        if verbose:
            report(end, start)
        info = ZoomLinesearchInfo(end.count, end.decrease_error, end.curvature_error)
        new = ScaleByZoomLinesearchState(end.last.size, end.last.value, end.grad, info)
        return scaled(updates, factor=end.last.size)[0], jax.tree.map(lambda n, o: n.astype(o.dtype), new, state)

    return Transform(_begin, update)
