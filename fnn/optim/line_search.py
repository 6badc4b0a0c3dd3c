"""A step size that decreases the loss enough and leaves a small slope: line search by zooming into an interval."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optim.leaves import full_like, inner_product, leafwise, need_params, not_given, real_dtype, times
from fnn.optim.transform import Transform, apply_updates, keep_accepted
from fnn.optim.zoom import Point, Rule, report, search
from fnn.typing import Array, ArrayLike, PyTree

__all__ = ["ScaleByZoomLinesearchState", "ZoomLinesearchInfo", "scale_by_zoom_linesearch"]


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

    Raises:
        ValueError: if a setting is out of range, or an update comes without the loss.

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
