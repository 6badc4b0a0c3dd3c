"""Weights of whole models from and to flax, linen and nnx."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from fnn import checks
from fnn.interop import matching
from fnn.interop.comparing import compare
from fnn.interop.matching import Library, Module, Slot, back, read
from fnn.interop.modules import module_layer
from fnn.interop.recurrent import is_cell, recurrent_from_flax
from fnn.layer import Layer
from fnn.layer.arguments import example
from fnn.train.trained import Trained, as_trained
from fnn.typing import PyTree

__all__ = ["from_flax", "to_flax"]

Path = tuple[Any, ...]
_Leaf = tuple[Path, Path, np.ndarray]
_TREE = "a tree of arrays by their names"


def from_flax(variables: Any, model: Layer, x: Any, *, module: Any = None) -> Trained:
    """The parameters and state of a model from those of a flax module that computes the same.

    Of linen the order of its modules is known from `module`, or from the names: as `init` returned them, or, sorted as
    optimizers and checkpoints leave them, Conv_0, Conv_1, ….

    Args:
        variables: linen's `{"params": …, "batch_stats": …}` or the params alone; or an nnx module.
        model: the model in fnn.
        x: an input of the model, or its shape.
        module: the linen module, whose calls say in which order its parts come and what its norms add to a variance;
            with it, and with nnx, both are run once, and outputs that differ are warned of.

    Raises:
        ValueError: for a norm of another `eps`, flax's default being 1e-6 but for batch norm.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> dense = {"Dense_0": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}}
        >>> fnn.interop.from_flax({"params": dense}, fnn.dense(3), (1, 4)).params["kernel"].shape
        (4, 3)
    """
    trained = read("from_flax", _FLAX, _modules("from_flax", variables, module, x), model, x)
    if _is_nnx(variables) or module is not None:
        layer = module_layer(variables if module is None else module)
        params, state = layer.init(jax.random.key(0), x) if module is None else _variables(variables)
        compare("from_flax", model, trained, x, lambda x: np.asarray(layer.apply(params, state, x)[0], np.float32))
    return trained


def _variables(given: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Parameters and all other variables of a linen module."""
    if "params" not in given:
        return given, {}
    return given["params"], {name: value for name, value in given.items() if name != "params"}


def to_flax(trained: Trained, model: Layer, x: Any, like: Any, *, module: Any = None) -> dict[Any, Any]:
    """The variables of a flax module from the parameters and state of a model that computes the same.

    Args:
        trained: the model's `Trained(params, state)`.
        model: the model in fnn.
        x: an input of the model, or its shape.
        like: linen's variables, for names and shapes, or the nnx module.
        module: the linen module, as for `from_flax`.

    Returns:
        Of linen, variables like those given, for `module.apply(variables, x)`. Of nnx a dict for
        `nnx.update(module, state)` after `nnx.replace_by_pure_dict(state, found)`, `state` being
        `nnx.state(module, (nnx.Param, nnx.BatchStat))`.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> trained = fnn.Trained(*fnn.dense(3).init(jax.random.key(0), jnp.ones((1, 4))))
        >>> like = {"params": {"Dense_0": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}}}
        >>> found = fnn.interop.to_flax(trained, fnn.dense(3), (1, 4), like)
        >>> bool((found["params"]["Dense_0"]["kernel"] == trained.params["kernel"]).all())
        True
    """
    found = back("to_flax", _FLAX, _modules("to_flax", like, module, x), as_trained("to_flax", trained), model, x)
    nested: dict[Any, Any] = {} if _is_nnx(like) else _copy(like)
    for (*path, name), array in found.items():
        inside = nested
        for key in path:
            inside = inside.setdefault(key, {})
        inside[name] = array
    return nested


def _copy(tree: Any) -> Any:
    return {key: _copy(value) for key, value in tree.items()} if isinstance(tree, Mapping) else tree


def _is_nnx(given: Any) -> bool:
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(given, nnx.Module)


def _modules(where: str, given: Any, module: Any, x: Any) -> list[Module]:
    """The modules that have arrays, in the order in which they are used as far as it is known."""
    if _is_nnx(given):
        found = list(_nnx_leaves(given, (), set()))
        return list(_group([leaf[:3] for leaf in found], {path[:-1]: eps for path, _, _, eps in found}).values())
    if not isinstance(given, Mapping):
        raise TypeError(f"{where}: expected linen's variables or an nnx module, got {checks.describe(given)}")
    checks.leaves(where, given)
    collections = given if "params" in given else {"params": given}
    leaves: list[_Leaf] = []
    for name in ("params", "batch_stats"):
        own = collections.get(name, {})
        keys = (name,) if "params" in given else ()
        checks.instance(where, repr(name), own, Mapping, _TREE)
        leaves += [(path, (*keys, *place), array) for path, place, array in _linen_leaves(where, own, ())]
    if module is not None:
        calls = _calls(where, module, collections, x)
        modules = _group(leaves, {path: eps for path, (_, eps) in calls.items()})
        return [modules[path] for path in sorted(modules, key=lambda path: calls.get(path, (len(calls), None))[0])]
    modules = _group(leaves, {})
    if _is_unsorted(collections["params"]):
        return list(modules.values())
    _warn_of_order(modules.values())
    return [modules[path] for path in sorted(modules, key=_natural)]


def _warn_of_order(modules: Iterable[Module]) -> None:
    """Say so where names in the order of the alphabet decide between modules that could be exchanged."""
    alike: dict[Any, dict[str, str]] = {}
    for one in modules:
        shapes = (one.kind, *sorted((name, array.shape) for name, array in one.arrays.items()))
        alike.setdefault(shapes, {}).setdefault(re.sub(r"\d+", "#", one.name), one.name)
    for names in (list(names.values()) for names in alike.values()):
        if len(names) > 1:
            checks.warn(
                f"from_flax: {' and '.join(names[:2])} have the same shapes, and names in the order of the alphabet do "
                "not say which comes first; they are taken in that order. Give module=, the flax module, whose calls "
                "say it"
            )
            return


def _group(leaves: list[_Leaf], eps: Mapping[Path, float | None]) -> dict[Path, Module]:
    """Leaves by the module they stand in; those of a recurrent cell's gates by the cell."""
    inside: dict[Path, set[str]] = {}
    for path, *_ in leaves:
        if len(path) > 1:
            inside.setdefault(path[:-2], set()).add(str(path[-2]))
    cells = {path for path, names in inside.items() if is_cell(names)}
    found: dict[Path, tuple[dict[str, np.ndarray], dict[str, Path]]] = {}
    for path, key, array in leaves:
        own = path[:-2] if path[:-2] in cells and len(path) > 1 else path[:-1]
        name = "/".join(map(str, path[len(own) :]))
        arrays, keys = found.setdefault(own, ({}, {}))
        arrays[name], keys[name] = array, key
    return {
        path: Module("/".join(map(str, path)), _kind(arrays), arrays, keys, eps.get(path))
        for path, (arrays, keys) in found.items()
    }


def _kind(arrays: Mapping[str, np.ndarray]) -> matching.ModuleKind:
    return matching.RECURRENT if any("/" in name for name in arrays) else matching.kind_of(arrays)


def _linen_leaves(where: str, tree: Mapping[Any, Any], path: Path) -> Iterator[_Leaf]:
    for name, value in tree.items():
        place = (*path, name)
        if isinstance(value, Mapping):
            yield from _linen_leaves(where, value, place)
        else:
            value = value.unbox() if hasattr(value, "unbox") else value
            if not hasattr(value, "shape"):
                raise checks.not_one(where, "/".join(map(str, place)), f"an array or {_TREE}", value)
            yield _owner_of(tree, path, name), place, np.asarray(value)


def _owner_of(tree: Mapping[Any, Any], path: Path, name: Any) -> Path:
    """The module of an array and its name there: what linen's `WeightNorm` keeps of another's kernel, as
    "Dense_0/kernel/scale" beside or around that module, is the module's "kernel_scale"."""
    owner, _, own = str(name).partition("/")
    if not own:
        return (*path, name)
    return (*(path if owner in tree else path[:-1]), owner, own.replace("/", "_"))


def _nnx_leaves(node: Any, path: Path, seen: set[int]) -> Iterator[tuple[Path, Path, np.ndarray, float | None]]:
    """Parameters and statistics in the order in which the modules' attributes were set."""
    nnx = sys.modules["flax.nnx"]
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, nnx.List | list | tuple):
        entries: Any = enumerate(node)
    elif isinstance(node, nnx.Module):
        entries = ((name, value) for name, value in vars(node).items() if not name.startswith("_"))
    else:
        entries = node.items() if isinstance(node, Mapping) else ()
    for name, value in entries:
        if isinstance(value, nnx.Param | nnx.BatchStat):
            yield (*path, name), (*path, name), np.asarray(value[...]), getattr(node, "epsilon", None)
        else:
            yield from _nnx_leaves(value, (*path, name), seen)


def _calls(where: str, module: Any, variables: PyTree, x: Any) -> dict[Path, tuple[int, float | None]]:
    """Path of each part of a linen module -> when it is first called, and what it adds to a variance."""
    linen: Any = sys.modules.get("flax.linen")
    checks.instance(where, "module", module, getattr(linen, "Module", ()), "a linen module")
    found: dict[Path, tuple[int, float | None]] = {}

    def see(function: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.method_name == "__call__":
            found.setdefault(context.module.path, (len(found), getattr(context.module, "epsilon", None)))
        return function(*args, **kwargs)

    with linen.intercept_methods(see):
        jax.eval_shape(module_layer(module).apply, *_variables(variables), example(x))
    return found


def _is_unsorted(tree: Any) -> bool:
    """Whether the names stand in another order than that of the alphabet, so that somebody gave them one."""
    if not isinstance(tree, Mapping):
        return False
    deeper = [value for value in tree.values() if isinstance(value, Mapping)]
    # The names of a module's own arrays tell nothing of the order of modules.
    return (bool(deeper) and list(tree) != sorted(tree)) or any(map(_is_unsorted, deeper))


def _natural(path: Path) -> list[Any]:
    return [[int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(name))] for name in path]


def _arrange(slot: Slot, name: str, array: np.ndarray) -> np.ndarray:
    """flax's transposed convolutions read their kernel from the other end."""
    if name == "kernel" and array.ndim > 2 and slot.transposed != slot.flipped:
        return np.flip(array, tuple(range(array.ndim - 2)))
    return array


def _recurrent(module: Module) -> dict[str, Any]:
    cell: dict[str, dict[str, Any]] = {}
    for name, array in module.arrays.items():
        gate, _, own = name.partition("/")
        cell.setdefault(gate, {})[own] = array
    return recurrent_from_flax(cell)


_FLAX = Library(
    "flax",
    {"alpha": "negative_slope"},
    _arrange,
    _recurrent,
    lambda module: (1e-5 if module.kind == matching.STATISTICS else 1e-6,),
)
