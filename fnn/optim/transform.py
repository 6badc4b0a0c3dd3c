"""The protocol of optimizers, and what composes them. A transform maps gradients to updates.

Field names and argument order are optax's, so that transforms of either work in programs of the other.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, Self

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optim.leaves import leafwise, nodes, over, widest
from fnn.optim.stated_rate import rate_of_all, with_rate
from fnn.typing import Array, PyTree

__all__ = ["EmptyState", "Transform", "apply_updates", "chain", "eval_params", "identity"]


class Update(Protocol):
    def __call__(
        self, updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, PyTree]: ...


class _Transform(NamedTuple):
    init: Callable[[PyTree], PyTree]
    update: Update


@checks.refuse_pickling(f"keep its state, which pickle can write, and build the rule {checks.BY_THE_SAME_CALL}")
class Transform(_Transform):
    """A gradient transformation: `init(params) -> state`, `update(updates, state, params=None, **extra)`.

    `update` returns the new updates, in the structure and dtypes of the old, and the new state. Where the parameters
    to evaluate with are others than those that are trained, the state says so by a method
    `eval_params(params) -> params`; `fnn.optim.eval_params` finds it. A rule that leaves a step out says so by a method
    `skipped(before) -> bool` of its new state, given the old one.

    Complex parameters follow optax's convention: the updates are the conjugate of `jax.grad`'s, as `fnn.train_step`,
    `fit` and `trainer` take it; in a loop of your own write `jax.tree.map(jnp.conj, gradients)`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.sgd(0.1)
        >>> params = {"w": jnp.array([1.0, 2.0])}
        >>> updates, state = rule.update({"w": jnp.array([1.0, 1.0])}, rule.init(params), params)
        >>> fnn.optim.apply_updates(params, updates)["w"].tolist()
        [0.8999999761581421, 1.899999976158142]
    """

    __slots__ = ()

    def __new__(cls, init: Callable[[PyTree], PyTree], update: Update) -> Self:
        return super().__new__(cls, _with_sortable_keys(init), update)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """optax's class where a program uses optax, which hands extra arguments only to what `isinstance` says is one.

        `type` says `Transform` always, and so does `isinstance(…, Transform)`.
        """
        return getattr(sys.modules.get("optax"), "GradientTransformationExtraArgs", Transform)

    def __repr__(self) -> str:
        return f"Transform(init={self.init!r}, update={self.update!r})"


def _with_sortable_keys(init: Any) -> Callable[[PyTree], PyTree]:
    """`init`, which names dict keys that JAX cannot sort; one that does already is itself, as in a copy."""
    if getattr(init, "names_keys", False):
        return init

    @functools.wraps(init)
    def begin(params: PyTree) -> PyTree:
        checks.leaves("init", params)
        return init(params)

    begin.names_keys = True  # type: ignore[attr-defined]
    return begin


class EmptyState(NamedTuple):
    """The state of a transform that remembers nothing."""


def identity() -> Transform:
    """Updates pass through unchanged.

    Example:
        >>> import fnn
        >>> fnn.optim.identity().update(1.0, fnn.optim.EmptyState())
        (1.0, EmptyState())
    """
    return Transform(lambda params: EmptyState(), lambda updates, state, params=None, **extra: (updates, state))


def require_transform(where: str, given: Any, name: str = "optimizer") -> None:
    """Require something with `init` and `update`."""
    if hasattr(given, "init") and hasattr(given, "update"):
        return
    if callable(given) and str(getattr(given, "__module__", "")).startswith(("fnn.", "optax")):
        repair = f"call it, {given.__name__}(1e-3)"
    else:
        repair = f"write fnn.optim.{given if isinstance(given, str) else 'adam'}(1e-3)"
    raise checks.not_one(where, name, "a transform of gradients", given, repair)


def keep_accepted(update: Callable[..., Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Which extra keyword arguments `update` takes: optax's plain transformations take none."""
    parameters = inspect.signature(update).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return lambda extra: extra
    names = {p.name for p in parameters}
    return lambda extra: {k: v for k, v in extra.items() if k in names}


def chain(*transforms: Transform) -> Transform:
    """Transforms one after another: the updates of one are the gradients of the next.

    Args:
        *transforms: fnn's or optax's; the state is a tuple with one entry each. Extra keyword arguments of
            `update` reach every transform that accepts them.

    Raises:
        TypeError: if one of them is not a transform.

    Example:
        >>> import fnn
        >>> rule = fnn.optim.chain(fnn.optim.clip_by_global_norm(1.0), fnn.optim.sgd(0.1))
    """
    for place, transform in enumerate(transforms):
        require_transform("chain", transform, f"transform {place}")
    accepted = [keep_accepted(transform.update) for transform in transforms]

    def init(params: PyTree) -> PyTree:
        return tuple(transform.init(params) for transform in transforms)

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, PyTree]:
        came = len(state) if isinstance(state, tuple | list) else type(state).__name__
        if came != len(transforms):
            raise ValueError(f"chain: expected the state of {len(transforms)} transforms, got {came}; call init")
        new_state = []
        for transform, keep, one in zip(transforms, accepted, state, strict=True):
            updates, one = transform.update(updates, one, params, **keep(extra))
            new_state.append(one)
        return updates, tuple(new_state)

    return with_rate(Transform(init, update), rate_of_all(transforms))


def as_transform(optimizer: Transform) -> Transform:
    """A transform of fnn, which takes any extra argument; another is made one."""
    return optimizer if isinstance(optimizer, Transform) else chain(optimizer)


def eval_params(state: PyTree, params: PyTree) -> PyTree:
    """The parameters to evaluate with, in the dtypes of `params`: those that the state points at, or else `params`.

    States of `ema_params`, `swa_params`, `schedule_free` and `lookahead` point at their averages, and so does any with
    a method `eval_params(params)`, in whatever it is wrapped: `chain`, `partition`, `masked`, `multi_steps`, ….
    Parameters that such a rule does not see stay; `LookaheadParams` say themselves which are slow. `fnn.predict`,
    `evaluate`, `fit` and `trainer` ask this function.

    Args:
        state: the state of fnn's or optax's optimizer.
        params: the parameters that are trained.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.chain(fnn.optim.clip(1.0), fnn.optim.ema_params(fnn.optim.sgd(1.0), decay=0.5))
        >>> params = jnp.array([2.0])
        >>> updates, state = rule.update(jnp.array([1.0]), rule.init(params), params)
        >>> fnn.optim.eval_params(state, fnn.optim.apply_updates(params, updates)).tolist()
        [1.5]
    """

    def points(node: Any) -> bool:
        return hasattr(node, "eval_params") or isinstance(node, _optax("ScheduleFreeState", module="optax.contrib"))

    for node in nodes(state, points):
        found = node.eval_params(params) if hasattr(node, "eval_params") else schedule_free_average(node, params)
        params = over(lambda new, p: new.astype(jnp.result_type(p)), found, params)
    return params


def _holds(state: PyTree, kinds: tuple[Any, ...]) -> bool:
    return bool(nodes(state, lambda node: isinstance(node, kinds)))


def loss_arguments(state: PyTree, value: Array, grad: PyTree, value_fn: Callable[[PyTree], Array]) -> dict[str, Any]:
    """What a step tells its optimizer besides the gradients, by optax's names.

    `obj_fn`, as `optax.contrib.sophia` calls the loss, only where the state is of a rule that asks for it: optax's line
    searches refuse every name that they do not know.
    """
    extra = {"value": value, "grad": grad, "value_fn": value_fn}
    return extra | {"obj_fn": value_fn} if _holds(state, _optax("HutchinsonState", module="optax.contrib")) else extra


def require_one_set(where: str, state: PyTree) -> None:
    """Refuse a rule whose parameters are two sets, each with updates of its own."""
    if _holds(state, _optax("LookaheadState")):
        raise TypeError(
            f"{where}: expected a rule of a model's parameters, got optax.lookahead, whose parameters are pairs, fast "
            "and slow; write fnn.optim.lookahead, whose state keeps the slow ones"
        )


def is_skipped(state: PyTree, before: PyTree) -> Array:
    """Whether the optimizer left this step out, by what its state, or any inside it, says (`Transform`)."""
    pairs = zip(_nodes_that_skip(state), _nodes_that_skip(before), strict=True)
    return functools.reduce(jnp.logical_or, (_is_left_out(*pair) for pair in pairs), jnp.array(False))


def _nodes_that_skip(state: PyTree) -> list[Any]:
    def says(node: Any) -> bool:
        return hasattr(node, "skipped") or isinstance(node, _optax("ApplyIfFiniteState", "MultiStepsState"))

    found = nodes(state, says)
    return [
        each for node in found for each in (node, *_nodes_that_skip(tuple(node) if isinstance(node, tuple) else ()))
    ]


def _is_left_out(new: Any, old: Any) -> Array:
    if hasattr(new, "skipped"):
        return new.skipped(old)
    if isinstance(new, _optax("ApplyIfFiniteState")):
        return new.total_notfinite > old.total_notfinite
    return (new.mini_step == old.mini_step) & (new.gradient_step == old.gradient_step)


def _optax(*names: str, module: str = "optax") -> tuple[Any, ...]:
    """Classes of optax, where a program uses it."""
    found = (getattr(sys.modules.get(module), name, None) for name in names)
    return tuple(kind for kind in found if kind is not None)


def schedule_free_average(state: Any, params: PyTree) -> PyTree:
    r"""$x = (y - (1 - \beta) z)/\beta$ of parameters $y$, from a state with $\beta$ and $z$."""
    average = leafwise(lambda y, z, *, b1: ((y - (1 - b1) * z) / b1,))
    return over(lambda z, y: average(y, z, b1=state.b1)[0], state.z, params)


def apply_updates(params: PyTree, updates: PyTree) -> PyTree:
    r"""Add updates to parameters, in the dtype of the parameters: $\theta \leftarrow \theta + u$.

    Args:
        params: any pytree of arrays.
        updates: the same structure; a None stands for "no update".

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.optim.apply_updates({"w": jnp.ones(2)}, {"w": -jnp.ones(2)})["w"].tolist()
        [0.0, 0.0]
    """

    def add(param: Any, update: Any) -> Any:
        if param is None or update is None:
            return param
        param = jnp.asarray(param)
        dtype = widest(param.dtype, jnp.result_type(update))
        return (param.astype(dtype) + jnp.asarray(update, dtype)).astype(param.dtype)

    return jax.tree.map(add, params, updates, is_leaf=lambda x: x is None)
