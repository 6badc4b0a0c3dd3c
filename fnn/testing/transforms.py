"""Does an optimizer keep the protocol, and does it take the steps of another? The checks fnn's own rules pass."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer.arguments import mirror
from fnn.optim.transform import Transform, apply_updates
from fnn.typing import Array, DType, PyTree

__all__ = ["check_transform"]

RATES = (0.1, 0.03)
TOLERANCE = {
    "float64": 1e-12,
    "float32": 3e-5,
    "bfloat16": 0.1,
    "float16": 2e-2,
    "complex64": 3e-5,
    "complex128": 1e-12,
}
Build = Callable[[Any], Transform]


def check_transform(
    mine: Transform | Build,
    reference: Transform | Build,
    *,
    dtype: DType = "float64",
    steps: int = 50,
    examples: int = 10,
    params: PyTree | None = None,
    rtol: float | None = None,
    compare_state: bool = True,
    seed: int = 0,
) -> float:
    """Require that `mine` takes the steps of `reference`, and keeps the protocol of transforms.

    On random parameters and trajectories of gradients (some of them tiny, some zero), updates and every leaf of the
    state are compared at every step, in a scan, under vmap over examples and learning rates. Then `mine` alone: the
    state mirrors `jax.eval_shape` and jit and eager agree; no two leaves share a buffer; the second call and another
    learning rate compile nothing; a tree without leaves passes. And what programs written for the reference ask for: a
    learning rate that is an array inside jit, extra keyword arguments where the reference takes them, and where optax
    is in use `optax.tree.map_params`.

    Args:
        mine: a transform, or a function learning rate -> transform (`fnn.optim.adam`), then tried at traced rates.
        reference: the same kind of thing, fnn's or optax's.
        dtype: of parameters and gradients; float64 is switched on where it is asked for.
        steps: length of a trajectory.
        examples: how many trajectories.
        params: a tree whose shapes are used; by default a nested one with a scalar, an empty leaf and a None.
        rtol: largest difference, relative to the largest entry of the leaf at that step (or to a thousandth of
            its largest in the trajectory); by default of the size of rounding.
        compare_state: whether the states must be equal, in the names of their fields too.
        seed: of the random numbers.

    Returns:
        The largest relative difference seen.

    Example:
        >>> import fnn
        >>> worst = fnn.testing.check_transform(fnn.optim.sgd, fnn.optim.sgd, steps=3, examples=2)
        >>> fnn.testing.check_transform(fnn.optim.sgd(0.1), fnn.optim.sgd(0.2), steps=3, examples=2)
        Traceback (most recent call last):
        AssertionError: update ['bias'] at step 1, example 0: ...
    """
    name = jnp.dtype(dtype).name
    rtol = TOLERANCE[name] if rtol is None else rtol
    with jax.enable_x64(name in ("float64", "complex128")):
        tree = _draw(params if params is not None else _tree(), dtype, np.random.default_rng(seed), examples, ())
        rng = np.random.default_rng(seed + 1)
        gradients = _draw(tree, dtype, rng, None, (steps,))
        rates = jnp.asarray(np.resize(RATES, examples), jnp.finfo(jnp.dtype(dtype)).dtype)
        got = _trajectories(mine, rates, tree, gradients)
        with jax.numpy_dtype_promotion("standard"):
            expected = _trajectories(reference, rates, tree, gradients)
        parts = list(zip(("update", "state"), got, expected, strict=True))[: 2 if compare_state else 1]
        for what, a, b in parts:
            _require_same_leaves(what, a, b)
        worst = max(_compare(*part, rtol) for part in parts)
        params, gradient = jax.tree.map(lambda x: x[0], tree), jax.tree.map(lambda x: x[0, 0], gradients)
        _check_protocol(mine, params, gradient, rtol)
        _check_place(mine, reference, params, gradient)
    return worst


def _tree() -> PyTree:
    return {
        "dense": {"kernel": np.zeros((3, 2))},
        "bias": np.zeros(4),
        "scale": np.zeros(()),
        "rest": [np.zeros((0, 3)), None, ()],
    }


def _draw(tree: PyTree, dtype: DType, rng: np.random.Generator, examples: int | None, steps: tuple[int, ...]) -> PyTree:
    """Random leaves with axes for examples and steps in front: of all sizes, about one in ten exactly zero."""

    def leaf(x: Any) -> Array:
        shape = (np.shape(x)[0], *steps, *np.shape(x)[1:]) if examples is None else (examples, *np.shape(x))
        values = rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 0, size=shape)
        if jnp.issubdtype(dtype, jnp.complexfloating):
            values = values + 1j * rng.normal(size=shape)
        return jnp.asarray(np.where(rng.uniform(size=shape) < 0.1, 0, values), dtype)

    return jax.tree.map(leaf, tree)


def _build(transform: Transform | Build, rate: Any) -> Transform:
    return transform(rate) if callable(transform) else transform


def _trajectories(transform: Transform | Build, rates: Array, tree: PyTree, gradients: PyTree) -> tuple[PyTree, PyTree]:
    """Updates and states of all examples and steps: (examples, steps, …)."""

    def run(rate: Array, params: PyTree, gradients: PyTree) -> tuple[PyTree, PyTree]:
        rule = _build(transform, rate)

        def step(carry: Any, gradient: PyTree) -> Any:
            params, state = carry
            updates, state = rule.update(gradient, state, params)
            return (apply_updates(params, updates), state), (updates, state)

        return jax.lax.scan(step, (params, rule.init(params)), gradients)[1]

    return jax.jit(jax.vmap(run))(rates, tree, gradients)


def _leaves(tree: PyTree) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def _require_same_leaves(what: str, got: PyTree, expected: PyTree) -> None:
    left, right = _leaves(got), _leaves(expected)
    if list(left) != list(right):
        extra, missing = (", ".join(k for k in a if k not in b) or "none" for a, b in ((left, right), (right, left)))
        raise AssertionError(f"{what}: leaves {extra} instead of {missing}")
    for (name, a), b in zip(left.items(), right.values(), strict=True):
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            raise AssertionError(f"{what} {name}: {a.dtype}{a.shape[2:]} instead of {b.dtype}{b.shape[2:]}")


def _compare(what: str, got: PyTree, expected: PyTree, rtol: float) -> float:
    """Compare (examples, steps, …) leaves; the largest difference relative to the largest entry of its leaf."""
    gaps = np.zeros((1, 1))
    for (name, a), b in zip(_leaves(got).items(), _leaves(expected).values(), strict=True):
        gap = _gap(a, b)
        if (gap > rtol).any():
            step, example = np.argwhere((gap > rtol).T)[0]
            raise AssertionError(
                f"{what} {name} at step {step + 1}, example {example}: {np.asarray(a[example, step])} instead of "
                f"{np.asarray(b[example, step])}, relative difference {gap[example, step]:.3g}"
            )
        gaps = np.maximum(gaps, gap)
    return float(gaps.max(initial=0))


def _gap(a: Array, b: Array) -> np.ndarray:
    """Largest relative difference, (examples, steps); infinite where one is NaN and the other is not."""
    wide = np.complex128 if jnp.iscomplexobj(a) else np.float64
    x, y = (np.asarray(v).astype(wide).reshape(*v.shape[:2], -1) for v in (a, b))
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    with np.errstate(invalid="ignore"):
        off = np.where(same, 0, np.abs(x - y))
        off = np.where(np.isnan(off), np.inf, off).max(-1, initial=0)
        size = np.nan_to_num(np.abs(y)).max(-1, initial=0)
    # Where a leaf passes through zero, rounding is that of the values it came from.
    size = np.maximum(size, 1e-3 * size.max(1, keepdims=True, initial=0))
    return off / np.maximum(size, np.finfo(np.float32).tiny)


def _check_protocol(mine: Transform | Build, params: PyTree, gradient: PyTree, rtol: float) -> None:
    rule, traces = _build(mine, RATES[0]), 0

    def step(rate: Any, gradient: PyTree, state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        nonlocal traces
        traces += 1
        return _build(mine, rate).update(gradient, state, params)

    state = rule.init(params)
    for initialize in (rule.init, jax.jit(rule.init)):  # buffers in common could not be donated
        leaves = [x for x in jax.tree.leaves(initialize(params)) if isinstance(x, jax.Array) and x.size]
        pointers = [x.unsafe_buffer_pointer() for x in leaves]
        if len(set(pointers)) < len(pointers):
            raise AssertionError("init: two leaves of the state share one buffer, which cannot be donated twice")
    predicted, real = mirror(jax.eval_shape(rule.init, params)), mirror(state)
    if predicted != real:
        raise AssertionError(f"init: jax.eval_shape gives {predicted} instead of {real}")
    eager, jitted = rule.update(gradient, state, params), jax.jit(step)
    compiled = jitted(jnp.asarray(RATES[0]), gradient, state, params)
    _require_same_leaves("jit against eager:", compiled, eager)
    one, other = (jax.tree.map(lambda x: x[None, None], tree) for tree in (compiled, eager))
    _compare("jit against eager:", one, other, rtol)
    jitted(jnp.asarray(RATES[1]), gradient, compiled[1], params)
    if traces != 1:
        raise AssertionError("update: the second call or another learning rate compiles again")
    empty: dict[str, Any] = {"nothing": ()}
    if rule.update(empty, rule.init(empty), empty)[0] != empty:
        raise AssertionError("update: a tree without leaves does not pass unchanged")


def _check_place(mine: Transform | Build, reference: Transform | Build, params: PyTree, gradient: PyTree) -> None:
    """Whether programs written for the reference run with `mine`."""
    rule, other = _build(mine, RATES[0]), _build(reference, RATES[0])
    if callable(mine):
        rate = jnp.asarray(RATES[0])
        try:
            jax.eval_shape(lambda params: mine(rate).init(params), params)
        except Exception as error:
            raise AssertionError(f"a learning rate given as an array fails inside jit: {error}") from error
    state = rule.init(params)
    if _takes_extra(other) and not _takes_extra(rule):
        raise AssertionError("update: refuses extra keyword arguments, which the reference takes; write **extra")
    if _takes_extra(other):
        rule.update(gradient, state, params, value=jnp.zeros(()))
    optax = sys.modules.get("optax")
    if optax is not None and hasattr(optax, "tree"):
        expected = _marks(optax, other, params)
        try:
            got: Any = _marks(optax, rule, params)
        except Exception as error:
            got = f"none: {error}"
        if got != expected:
            raise AssertionError(f"optax.tree.map_params finds the parameters in {got} instead of {expected}")


def _takes_extra(rule: Transform) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(rule.update).parameters.values())


def _marks(optax: Any, rule: Transform, params: PyTree) -> dict[str, str]:
    """Which leaves of the state mirror parameters, as optax finds them."""

    def mark() -> PyTree:
        state = rule.init(params)
        return optax.tree.map_params(rule, lambda _: "parameter", state, transform_non_params=lambda _: "other")

    with jax.numpy_dtype_promotion("standard"):
        return _leaves(mark())
