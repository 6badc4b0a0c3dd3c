"""Layers of a model beside the modules of another library: kind by kind, in order, by shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn import checks
from fnn.interop.feature_order import FeatureOrder, orders
from fnn.layer import Layer, Penalty
from fnn.layer.arguments import example
from fnn.layer.parts import any_layer, is_empty, put_within, within
from fnn.layer.protocol import require_layer
from fnn.train.trained import Trained
from fnn.typing import PyTree

ModuleKind = str
CONVOLUTION, MATRIX, STATISTICS, VECTOR, RECURRENT = (
    "convolutions", "dense layers and embeddings", "batch norms", "other norms and slopes", "recurrent layers",
)  # fmt: skip


class Module(NamedTuple):
    """A module of the other library.

    - `name`, `kind`; `arrays` by their names in it, and by these `keys`, where they stand in what was given.
    - `eps`: what it adds to a variance, if it says so.
    """

    name: str
    kind: ModuleKind
    arrays: Mapping[str, np.ndarray]
    keys: Mapping[str, Any]
    eps: float | None = None

    @property
    def text(self) -> str:
        return self.name or "the module"


class Slot(NamedTuple):
    """A layer of the model with arrays of its own: shapes of its parameters and state, and order of its features."""

    numbers: tuple[int, ...]
    layer: Layer
    params: dict[str, Any]
    state: PyTree
    order: FeatureOrder

    @property
    def text(self) -> str:
        return f"layer {' > '.join(map(str, self.numbers))}, {self.layer.name}" if self.numbers else self.layer.name

    @property
    def kind(self) -> ModuleKind:
        return RECURRENT if "recurrent_kernel" in self.params else kind_of({**self.params, **_statistics(self.state)})

    @property
    def transposed(self) -> bool:
        return any_layer(self.layer, lambda facts: facts.transposed)

    @property
    def flipped(self) -> bool:
        return any_layer(self.layer, lambda facts: facts.flipped)


class Library(NamedTuple):
    """How another library writes arrays down.

    - `names`: fnn's name -> the name there.
    - `arrange(slot, name, array)`: an array as fnn has it.
    - `recurrent(module)`: the parameters of a recurrent layer.
    - `eps(module)`: what such norms add to a variance unless told, each of them.
    """

    title: str
    names: Mapping[str, str]
    arrange: Callable[[Slot, str, np.ndarray], np.ndarray]
    recurrent: Callable[[Module], dict[str, Any]]
    eps: Callable[[Module], tuple[float, ...]]
    ignored: frozenset[str] = frozenset()


def kind_of(arrays: Mapping[str, Any]) -> ModuleKind:
    """What has arrays of these names, those of fnn and flax."""
    if "mean" in arrays:
        return STATISTICS
    if "kernel" in arrays:
        return CONVOLUTION if arrays["kernel"].ndim > 2 else MATRIX
    return MATRIX if "embedding" in arrays else VECTOR


def _statistics(state: PyTree) -> dict[str, Any]:
    return {name: state[name] for name in ("mean", "var") if isinstance(state, dict) and name in state}


def read(where: str, library: Library, modules: list[Module], model: Layer, x: Any) -> Trained:
    """The model's arrays with what the modules hold, each in the dtype of the model's."""
    found, like = _fill(where, library, modules, model, x)
    return jax.tree.map(lambda a, b: checks.cast(where, "weights", np.asarray(a), b.dtype), found, like)


def _fill(where: str, library: Library, modules: list[Module], model: Layer, x: Any) -> tuple[Trained, Trained]:
    """The model's arrays with what the modules hold, each in the dtype that came, and the shapes of the model's own."""
    require_layer(where, model)
    x = example(x)
    like = Trained(*jax.eval_shape(model.init, jax.random.key(0), x))
    slots = _slots(model, like, x)
    _require_counts(where, library, slots, modules)
    waiting = {kind: [m for m in modules if m.kind == kind] for kind in {m.kind for m in modules}}
    wrong: list[str] = []
    done: dict[tuple[Any, ...], tuple[PyTree, PyTree]] = {}
    for slot in slots:
        module = waiting[slot.kind].pop(0)
        done[slot.numbers] = _one(library, slot, module, wrong)
        _say_eps(where, library, slot, module)
    if wrong:
        raise ValueError(f"{where}: {checks.first_few(wrong)}")

    def put(layer: Layer, params: PyTree, state: PyTree, numbers: tuple[int, ...]) -> tuple[PyTree, PyTree]:
        inside = within(layer, params, state)
        if inside is not None:
            parts = [(part[0], *put(*part, (*numbers, place))) for place, part in enumerate(inside)]
            return put_within(layer, parts, params, state)
        if _is_nested(params):
            return {name: done[(*numbers, name)][0] for name in params}, state
        return done[numbers] if numbers in done else _zeros((params, state))

    return Trained(*put(model, *like, ())), like


def _is_nested(params: PyTree) -> bool:
    """Layers within a layer that shows no parts, by name (`separable_conv`)."""
    return isinstance(params, dict) and bool(params) and all(isinstance(value, dict) for value in params.values())


def _slots(model: Layer, like: Trained, x: Any) -> list[Slot]:
    order = orders(model, *like, x)
    slots: list[Slot] = []

    def visit(layer: Layer, params: PyTree, state: PyTree, numbers: tuple[Any, ...]) -> None:
        inside = within(layer, params, state)
        if inside is not None:
            for place, part in enumerate(inside):
                visit(*part, (*numbers, place))
            return
        if layer.rebuild is not None and not layer.parts:
            return
        own = order.get(numbers, FeatureOrder())
        if _is_nested(params):
            slots.extend(Slot((*numbers, name), layer, value, (), own) for name, value in params.items())
        elif jax.tree.leaves(params) or "mean" in _statistics(state):
            slots.append(Slot(numbers, layer, params if isinstance(params, dict) else {}, state, own))
            _require_names(slots[-1], params)

    visit(model, *like, ())
    return slots


def _zeros(shapes: PyTree) -> PyTree:
    return jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), shapes)


def _require_names(slot: Slot, params: PyTree) -> None:
    kept = slot.state if isinstance(slot.state, dict) else {}
    known = ("mean", "var", "carry")
    other = [name for name, value in kept.items() if name not in known and not isinstance(value, Penalty)]
    if other or not (isinstance(params, dict) or is_empty(params)):
        what = f"state {', '.join(other)}" if other else "parameters without names"
        raise ValueError(f"{slot.text}: its {what} stand in no other library")


def _require_counts(where: str, library: Library, slots: list[Slot], modules: list[Module]) -> None:
    for kind in dict.fromkeys([*(s.kind for s in slots), *(m.kind for m in modules)]):
        mine, theirs = [s for s in slots if s.kind == kind], [m for m in modules if m.kind == kind]
        if len(mine) != len(theirs):
            longer: list[str] = [s.text for s in mine[len(theirs) :]] or [
                f"{m.text} ({', '.join(f'{n} {checks.describe(a)}' for n, a in m.arrays.items())})"
                for m in theirs[len(mine) :]
            ]
            raise ValueError(
                f"{where}: the model has {len(mine)} {kind}, {library.title} {len(theirs)}; in order, without a "
                f"counterpart: {'; '.join(longer[: checks.SAID])}"
            )


def _one(library: Library, slot: Slot, module: Module, wrong: list[str]) -> tuple[PyTree, PyTree]:
    """Parameters and state of a layer from those of a module; what does not fit is added to `wrong`."""
    expected = {**slot.params, **_statistics(slot.state)}
    if slot.kind == RECURRENT:
        given = {name: np.asarray(array) for name, array in library.recurrent(module).items()}
        sources = {name: name for name in given}
    else:
        sources = {name: library.names.get(name, name) for name in expected}
        sources = {name: source for name, source in sources.items() if source in module.arrays}
        given = {name: library.arrange(slot, name, module.arrays[source]) for name, source in sources.items()}
        for source in set(module.arrays) - set(sources.values()) - library.ignored:
            wrong.append(
                f"{module.text}: {source} {checks.describe(module.arrays[source])} has no place in {slot.text}"
            )
    # A kernel says more than a bias.
    for name in sorted({**expected, **given}, key=lambda name: -np.ndim({**given, **expected}[name])):
        if name not in given or name not in expected or given[name].shape != expected[name].shape:
            here = checks.describe(expected[name]) if name in expected else "not there"
            there = module.arrays.get(sources.get(name, ""), given.get(name))
            came = "not there" if there is None else checks.describe(there)
            wrong.append(f"{slot.text}: {name} is {here}, in {module.text} of {library.title} {came}")
    state = _zeros(slot.state)
    if isinstance(state, dict):
        state |= {name: given[name] for name in ("mean", "var") if name in given}
    return {name: given.get(name) for name in slot.params} or (), state


def _say_eps(where: str, library: Library, slot: Slot, module: Module) -> None:
    """What a norm adds to the variance is no weight, but decides the outputs."""
    eps = slot.layer.facts.eps
    if slot.kind not in (STATISTICS, VECTOR) or eps is None:
        return
    known = library.eps(module) if module.eps is None else (module.eps,)
    if np.isclose(known, eps, rtol=1e-6, atol=0).any():
        return
    there = " or ".join(f"{one:g}" for one in known)
    said = "adds" if module.eps is not None else "adds, unless told otherwise,"
    text = f"{where}: {slot.text} adds eps={eps:g} to the variance, {module.text} of {library.title} {said} {there}"
    if module.eps is not None:
        raise ValueError(f"{text}; write eps={there} in the layer")
    checks.warn(f"{text}; write eps={there} in the layer, or give the module itself, which says what it adds")


def back(
    where: str, library: Library, modules: list[Module], trained: Trained, model: Layer, x: Any
) -> dict[Any, np.ndarray]:
    """The arrays of the modules, by their keys, with the entries of the model in their places.

    The modules hold numbers of entries, 0 for what stays 0: where they come to stand in the model says where each of
    its entries goes.
    """
    count, numbers, numbered = 1, dict[Any, np.ndarray](), []
    for module in modules:
        own = {}
        for name, array in module.arrays.items():
            own[name] = np.arange(count, count + array.size).reshape(array.shape)
            count += array.size
        numbers |= {module.keys[name]: array for name, array in own.items()}
        numbered.append(module._replace(arrays=_drop_second_bias(module, own)))
    places, _ = _fill(where, library, numbered, model, x)
    structures: list[Any] = [jax.tree.structure(places), jax.tree.structure(trained)]
    if structures[0] != structures[1]:
        raise ValueError(f"{where}: expected Trained(params, state) of this model, got another structure")
    dtype = np.result_type(*(np.asarray(leaf).dtype for leaf in jax.tree.leaves(trained) or [np.float32(0)]))
    entries = np.zeros(count, dtype)
    for place, leaf in zip(jax.tree.leaves(places), jax.tree.leaves(trained), strict=True):
        if np.shape(place) != np.shape(leaf):
            raise ValueError(f"{where}: expected {np.shape(place)}, got {checks.describe(leaf)}; give this model's")
        if np.issubdtype(np.asarray(place).dtype, np.integer):
            entries[np.asarray(place)] = np.asarray(leaf).astype(dtype)
    entries[0] = 0
    # Of a single number NumPy gives no array.
    kept = {module.keys[name] for module in modules for name in library.ignored & set(module.arrays)}
    return {key: np.asarray(entries[own]) for key, own in numbers.items() if key not in kept}


def _drop_second_bias(module: Module, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of two biases of a recurrent module that act as one, the second holds nothing."""
    for name in [name for name in arrays if name.startswith("bias_hh") and module.kind == RECURRENT]:
        recurrent = arrays[name.replace("bias", "weight")]
        gates = arrays[name].size // recurrent.shape[1]
        keeps = arrays[name].size if gates != 3 else 2 * recurrent.shape[1]
        arrays[name] = np.concatenate([np.zeros(keeps, int), arrays[name][keeps:]])
    return arrays
