"""What a trained model consists of, whether what was given is this model's, and how it is brought into another."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.layer import Frozen, Layer
from fnn.layer.arguments import example, output_and_state, params_and_state
from fnn.layer.naming import owner_of
from fnn.optim.transform import eval_params
from fnn.typing import Key, PyTree

__all__ = ["TrainState", "Trained", "Transfer", "transfer"]


class Trained(NamedTuple):
    """What a trained model consists of: `params` and `state`, two pytrees.

    Example:
        >>> import fnn
        >>> fnn.Trained(params=(), state=())
        Trained(params=(), state=())
    """

    params: PyTree
    state: PyTree


class TrainState(NamedTuple):
    """Everything that changes while a model trains: `params`, `state` and `opt_state`.

    Example:
        >>> import fnn
        >>> fnn.TrainState(params=(), state=(), opt_state=()).trained
        Trained(params=(), state=())
    """

    params: PyTree
    state: PyTree
    opt_state: PyTree

    @property
    def trained(self) -> Trained:
        """What to predict with: the parameters that the optimizer evaluates with, `fnn.optim.eval_params`."""
        return Trained(eval_params(self.opt_state, self.params), self.state)


def as_trained(where: str, given: Any) -> Trained:
    """Parameters and state, of a `TrainState` those to evaluate with."""
    if isinstance(given, TrainState):
        return given.trained
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise TypeError(f"{where}: expected Trained(params, state), got {checks.describe(given)}")
    checks.leaves(where, given)
    return Trained(*given)


def apply_trained(model: Layer, trained: Trained, x: PyTree) -> PyTree:
    """What the model gives at inference."""
    return output_and_state(model.apply(trained.params, trained.state, x))[0]


def check_trained(where: str, model: Layer, given: Trained, x: PyTree) -> None:
    """Require parameters and state of the structure, shapes and kinds of number that this model has for `x`.

    Only shapes and dtypes are looked at, so inside `jit` it costs nothing once compiled. A size that follows the batch
    (of a stateful recurrent layer) is not compared, nor the precision: float32 parameters compute in bfloat16. The
    error names the first layer that differs, and both shapes.
    """
    try:
        like, other = (jax.eval_shape(model.init, jax.random.key(0), shapes_of(x, rows)) for rows in (2, 3))
    except Exception:  # it begins with other inputs than these, as `encoder_decoder`: there is nothing to compare with
        return
    for place, what in enumerate(("params", "state")):
        expected, varying, came = (
            dict(jax.tree.leaves_with_path(tree)) for tree in (like[place], other[place], given[place])
        )
        paths = (*expected, *(path for path in came if path not in expected))
        complaints = {path: _complaint(expected.get(path), varying.get(path), came.get(path)) for path in paths}
        if wrong := [path for path in paths if complaints[path]]:
            # Of the first layer that differs the leaf that says most: a kernel rather than a bias.
            beside = [path for path in wrong if path[:-1] == wrong[0][:-1]]
            path = max(beside, key=lambda path: jnp.ndim(expected.get(path, 0)))
            batch = f"; {checks.ONE_EXAMPLE}" if _is_one_example(model, given, x) else ""
            text = f"{where}: {owner_of(model, path, place).text(what)} {complaints[path]} for x {checks.describe(x)}"
            other = ", or fnn.transfer(key, model, x, trained).start of another's" if where == "start" else ""
            raise ValueError(f"{text}; give what this model's init, fit or trainer returned for such x{other}{batch}")
        structures: list[Any] = [jax.tree.structure(tree) for tree in (like[place], given[place])]
        if structures[0] != structures[1]:
            raise ValueError(f"{where}: expected {what} of the structure {structures[0]}, got {structures[1]}")


def _is_one_example(model: Layer, given: Trained, x: PyTree) -> bool:
    """Whether parameters and state are those for `x` with a batch axis before its own."""
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *jnp.shape(leaf)), jnp.result_type(leaf)), x)
    try:
        like = Trained(*jax.eval_shape(model.init, jax.random.key(0), batch))
    except Exception:  # of other inputs than it begins with
        return False
    return bool(jax.tree.map(jnp.shape, like) == jax.tree.map(jnp.shape, given))


def shapes_of(x: PyTree, rows: int) -> PyTree:
    """Inputs of so many rows, without numbers."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((rows, *jnp.shape(leaf)[1:]), jnp.result_type(leaf)), x)


def _complaint(expected: Any, varying: Any, came: Any) -> str | None:
    if expected is None:
        return f"is not this model's: expected none, got {checks.describe(came)}"
    if came is None:
        return f"is missing: expected {checks.describe(expected)}, got none"
    shape = jnp.shape(came)
    fits = fits_shape(shape, expected.shape, varying.shape)
    dtype = getattr(came, "dtype", None) or jnp.result_type(came)
    if fits and _kind(dtype) == _kind(expected.dtype):
        return None
    return f"is {checks.describe(expected)}, got {checks.describe(jax.ShapeDtypeStruct(shape, dtype))}"


def fits_shape(shape: tuple[int, ...], expected: tuple[int, ...], varying: tuple[int, ...]) -> bool:
    """Whether it is the expected one, but for sizes that follow the batch: those in which the `varying` one differs."""
    sizes = zip(shape, expected, varying, strict=False)
    return len(shape) == len(expected) and all(n == size or size != other for n, size, other in sizes)


def _kind(dtype: Any) -> Any:
    kinds = (jnp.floating, jnp.complexfloating, jnp.integer)
    return next((kind for kind in kinds if jnp.issubdtype(dtype, kind)), dtype)


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
