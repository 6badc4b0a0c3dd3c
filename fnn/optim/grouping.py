"""Different rules for different parameters: masks, labels and paths."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.optim.rules import stateless
from fnn.optim.stated_rate import OfSome, rate_inside, with_rate
from fnn.optim.transform import Transform, identity, keep_accepted, require_transform
from fnn.typing import PyTree

__all__ = [
    "Mask",
    "MaskedNode",
    "MaskedState",
    "PartitionState",
    "by_path",
    "freeze",
    "masked",
    "multi_transform",
    "partition",
    "set_to_zero",
    "weights_only",
]

Mask: TypeAlias = PyTree | Callable[[PyTree], PyTree]
"""Booleans in the structure of the parameters or a prefix of it, or a function params -> booleans."""


class MaskedNode(NamedTuple):
    """Stands in a tree where a leaf is hidden; it has no leaves itself."""


class MaskedState(NamedTuple):
    """The state of the inner transform, for the parameters it sees."""

    inner_state: PyTree


class PartitionState(NamedTuple):
    """The state of each group's transform by its label."""

    inner_states: Mapping[Hashable, MaskedState]


def weights_only(params: PyTree) -> PyTree:
    """True for leaves of two axes or more that their layer does not call a bias, a scale or a peephole.

    A parameter's own key says what it is: `bias`, `scale` and `peephole`, and what ends in `_bias` or `_scale`, are no
    weights, however many axes they have (`layer_norm(axis=(1, 2, 3))`); kernels, embeddings and all others are. In a
    layer of your own, name its parameters so, or give a mask made by `by_path`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.optim.weights_only({"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)})
        {'bias': False, 'kernel': True}
    """

    def weight(path: tuple[Any, ...], leaf: Any) -> bool:
        own = jax.tree_util.keystr(path[-1:], simple=True)
        return jnp.ndim(leaf) >= 2 and own not in _NO_WEIGHTS and not own.endswith(("_bias", "_scale"))

    return jax.tree.map_with_path(weight, params)


_NO_WEIGHTS = frozenset({"bias", "scale", "peephole"})


def by_path(function: Callable[[str], Any]) -> Callable[[PyTree], PyTree]:
    """A mask, or labels, from the names of the parameters: params -> the tree of what the function says of each.

    Args:
        function: path -> boolean or label; the path of a leaf is its keys with slashes, "0/kernel".

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.optim.by_path(lambda path: path.endswith("kernel"))([{"kernel": jnp.ones(2), "bias": jnp.ones(2)}])
        [{'bias': False, 'kernel': True}]
    """
    checks.instance("by_path", "function", function, Callable, "a function of a path")

    def apply(params: PyTree) -> PyTree:
        return jax.tree.map_with_path(
            lambda path, leaf: function(jax.tree_util.keystr(path, simple=True, separator="/")), params
        )

    return apply


def resolve_mask(mask: Mask, tree: PyTree) -> PyTree:
    """What a mask or labels are for this tree. A tree that happens to be callable (a module) is read, not called."""
    is_function = isinstance(mask, jax.tree_util.Partial) or jax.tree_util.all_leaves([mask])
    return mask(tree) if callable(mask) and is_function else mask


def booleans(where: str, mask: Mask, tree: PyTree) -> PyTree:
    """What a mask is for this tree. A word or a number in it would count as True."""
    found = resolve_mask(mask, tree)
    for leaf in jax.tree.leaves(found):
        if getattr(leaf, "dtype", None) != jnp.bool_ or leaf.ndim:
            checks.flags(where, **{"every value of the mask": leaf})
    return found


def _keep(mask: PyTree, tree: PyTree) -> PyTree:
    try:
        return jax.tree.map(lambda m, x: x if m else MaskedNode(), mask, tree)
    except jax.errors.TracerBoolConversionError:
        raise TypeError("masked: the mask decides the structure of the state; expected Python booleans") from None
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"masked: expected a mask with the structure of the parameters, or with a prefix of it: {error}"
        ) from error


def _restrict(value_fn: Callable[..., Any], where: PyTree, params: PyTree) -> Callable[..., Any]:
    """The loss as a function of the parameters that the mask leaves to see; the others stay."""

    @functools.wraps(value_fn)
    def value_of(seen: PyTree, *args: Any, **kwargs: Any) -> Any:
        whole = jax.tree.map(lambda m, new, old: new if m else old, where, seen, params)
        return value_fn(whole, *args, **kwargs)

    return value_of


def masked(inner: Transform, mask: Mask, *, mask_compatible_extra_args: bool = False) -> Transform:
    """Apply `inner` where the mask is True; other updates pass unchanged and need no state.

    Args:
        inner: fnn's or optax's transform.
        mask: booleans in the structure of the parameters or a prefix of it, or a function params -> booleans
            (`weights_only`, `by_path(…)`). It is static.
        mask_compatible_extra_args: mask also those extra arguments that have the structure of the updates. `grad` and
            `value_fn`, by which line searches are told of the loss, speak of the parameters that `inner` sees anyway.

    Raises:
        ValueError: if the mask does not fit the parameters.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.masked(fnn.optim.scale(2.0), {"a": True, "b": False})
        >>> updates = {"a": jnp.ones(1), "b": jnp.ones(1)}
        >>> updates, state = rule.update(updates, rule.init(updates))
        >>> updates["a"].tolist(), updates["b"].tolist()
        ([2.0], [1.0])
    """
    require_transform("masked", inner, "inner")
    checks.flags("masked", mask_compatible_extra_args=mask_compatible_extra_args)
    accepted = keep_accepted(inner.update)

    def init(params: PyTree) -> MaskedState:
        if not jax.tree.leaves(params):  # Nothing to hide; optax asks so which parts of a state mirror the parameters.
            return MaskedState(inner.init(params))
        return MaskedState(inner.init(_keep(booleans("masked", mask, params), params)))

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, PyTree]:
        where = booleans("masked", mask, updates)
        structure: Any = jax.tree.structure(updates)
        for name in extra if mask_compatible_extra_args else extra.keys() & {"grad"}:
            if jax.tree.structure(extra[name]) == structure:
                extra[name] = _keep(where, extra[name])
        if params is not None and extra.get("value_fn") is not None:
            extra["value_fn"] = _restrict(extra["value_fn"], where, params)
        seen = None if params is None else _keep(where, params)
        new, inner_state = inner.update(_keep(where, updates), state.inner_state, seen, **accepted(extra))
        updates = jax.tree.map(lambda m, n, old: n if m else old, where, new, updates)
        return updates, MaskedState(inner_state)

    rate = rate_inside(inner)
    return with_rate(Transform(init, update), rate and OfSome(rate))


def partition(
    transforms: Mapping[Hashable, Transform], param_labels: Mask, *, mask_compatible_extra_args: bool = False
) -> Transform:
    """Each group of parameters by its own rule, for instance with its own learning rate.

    Args:
        transforms: label -> fnn's or optax's transform.
        param_labels: labels in the structure of the parameters or a prefix of it, or a function
            params -> labels (`by_path(…)`).
        mask_compatible_extra_args: as in `masked`.

    Raises:
        ValueError: if a label has no transform.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.partition({"fast": fnn.optim.sgd(1.0), "slow": fnn.optim.sgd(0.5)}, ("fast", "slow"))
        >>> params = (jnp.ones(1), jnp.ones(1))
        >>> [u.tolist() for u in rule.update(params, rule.init(params), params)[0]]
        [[-1.0], [-0.5]]
    """
    checks.flags("partition", mask_compatible_extra_args=mask_compatible_extra_args)
    checks.instance("partition", "transforms", transforms, Mapping, "a dict {label: transform}")
    for name, rule in transforms.items():
        require_transform("partition", rule, f"the transform of {name!r}")

    def group(transform: Transform, label: Hashable, labels: PyTree) -> Transform:
        mask = jax.tree.map(lambda one: one == label, labels)
        return masked(transform, mask, mask_compatible_extra_args=mask_compatible_extra_args)

    def init(params: PyTree) -> PartitionState:
        labels = resolve_mask(param_labels, params)
        for label in (found := jax.tree.leaves(labels)):
            if not isinstance(label, Hashable):
                raise checks.not_one("partition", "every label", "a key of transforms", label)
        unknown = set(found) - set(transforms)
        if unknown:
            raise ValueError(
                f"partition: expected a transform for every label, got labels {sorted(map(repr, unknown))} "
                f"beside transforms {sorted(map(repr, transforms))}"
            )
        return PartitionState({label: group(t, label, labels).init(params) for label, t in transforms.items()})

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, PyTree]:
        labels, states = resolve_mask(param_labels, updates), {}
        for label, transform in transforms.items():
            one = group(transform, label, labels)
            updates, states[label] = one.update(updates, state.inner_states[label], params, **extra)
        return updates, PartitionState(states)

    # Of several groups that move none has the rate of all, and not every rule states one.
    moving = [label for label, transform in transforms.items() if not hasattr(transform.update, "stands_still")]
    alone = transforms[moving[0]] if len(moving) == 1 else identity()
    rate = rate_inside(alone, lambda state: state.inner_states[moving[0]].inner_state)
    return with_rate(Transform(init, update), rate)


multi_transform = partition
"""The older name of `partition`."""


def set_to_zero() -> Transform:
    """No update at all: $u = 0$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.set_to_zero()
        >>> rule.update(jnp.ones(2), rule.init(jnp.ones(2)))[0].tolist()
        [0.0, 0.0]
    """
    rule = stateless(lambda updates: (jax.tree.map(jnp.zeros_like, updates),))
    rule.update.stands_still = True  # type: ignore[attr-defined]
    return rule


def freeze(mask: Mask) -> Transform:
    """Updates of zero where the mask, as in `masked`, is True, so that these parameters stay; put it last in a chain.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> rule = fnn.optim.chain(fnn.optim.sgd(1.0), fnn.optim.freeze((True, False)))
        >>> params = (jnp.ones(1), jnp.ones(1))
        >>> [u.tolist() for u in rule.update(params, rule.init(params), params)[0]]
        [[0.0], [-1.0]]
    """
    return masked(set_to_zero(), mask)
