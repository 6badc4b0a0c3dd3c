"""What was trained, brought into another model."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.layer import Frozen, Layer
from fnn.layer.arguments import example, params_and_state
from fnn.layer.naming import owner_of
from fnn.train.trained import Trained, as_trained
from fnn.typing import Key, PyTree

__all__ = ["Transfer", "transfer"]


class Transfer(NamedTuple):
    """Where to begin: `start`, for `fit` and `trainer`; its `fresh` arrays, and those `left` behind, in words.

    Example:
        >>> import fnn
        >>> fnn.Transfer(fnn.Trained((), ()), (), ()).fresh
        ()
    """

    start: Trained
    fresh: tuple[str, ...]
    left: tuple[str, ...]


def transfer(key: Key, model: Layer, x: PyTree, trained: Trained) -> Transfer:
    """Begin where another model ended: its arrays wherever place, name and shape are the same, fresh ones elsewhere.

    A layer frozen here and not there, or there and not here, is the same layer.

    Args:
        key: draws the fresh arrays.
        model: the new model: the old one with another head, with frozen layers, or with none frozen any more.
        x: an input, or its shape.
        trained: the old model's `Trained(params, state)`, or a `TrainState`.

    Returns:
        A `Transfer`: `fit(…, start=found.start)`; look at `found.fresh` and `found.left`.

    Raises:
        ValueError: if nothing is the same.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> old, x = fnn.serial(fnn.dense(4), fnn.relu, fnn.dense(10)), jnp.ones((8, 3))
        >>> trained = fnn.Trained(*old.init(jax.random.key(0), x))
        >>> new = fnn.serial(*map(fnn.frozen, old.parts[:2]), fnn.dense(2))
        >>> found = fnn.transfer(jax.random.key(1), new, x, trained)
        >>> found.fresh[1]
        'layer 2, dense(2): kernel float32[4,2], was float32[4,10]'
        >>> bool((found.start.state[0].params["kernel"] == trained.params[0]["kernel"]).all())
        True
    """
    old = {place: leaf for _, place, leaf in _places(as_trained("transfer", trained))}
    begun = Trained(*params_and_state(model.init(key, example(x))))
    places = _places(begun)
    fresh, arrays = [], []
    for path, place, leaf in places:
        was = old.get(place)
        same = was is not None and jnp.shape(was) == jnp.shape(leaf)
        arrays.append(jnp.asarray(was, leaf.dtype) if same else leaf)
        if not same:
            what, *keys = path
            name = owner_of(model, tuple(keys), Trained._fields.index(what.name)).text(what.name)
            before = "" if was is None else f", was {checks.describe(was)}"
            fresh.append(f"{name} {checks.describe(leaf)}{before}")
    if len(fresh) == len(arrays) > 0:
        raise ValueError(
            f"transfer: no array of this model has the place, name and shape of a trained one; the first is {fresh[0]}"
        )
    new = {place for _, place, _ in places}
    left = tuple(f"{'.'.join(place)} {checks.describe(leaf)}" for place, leaf in old.items() if place not in new)
    return Transfer(jax.tree.unflatten(jax.tree.structure(begun), arrays), tuple(fresh), left)


def _places(trained: Trained) -> list[tuple[tuple[Any, ...], tuple[str, ...], Any]]:
    return [(path, _place(path, trained), leaf) for path, leaf in jax.tree.leaves_with_path(trained)]


def _place(path: tuple[Any, ...], tree: PyTree) -> tuple[str, ...]:
    """The keys of an array, those of a frozen layer as if it was not frozen."""
    keys = [jax.tree_util.keystr((key,), simple=True) for key in path]
    what = keys[0]
    place: list[str] = []
    for name, entry in zip(keys, path, strict=True):
        if isinstance(tree, Frozen):
            what = name
        elif place or entry is not path[0]:
            place.append(name)
        tree = _inside(tree, entry)
    return what, *place


def _inside(tree: PyTree, entry: Any) -> PyTree:
    if hasattr(entry, "key"):
        return tree[entry.key]
    return tree[entry.idx] if hasattr(entry, "idx") else getattr(tree, entry.name)
