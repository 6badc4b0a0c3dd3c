"""What is trained: every fold × seed × setting, checked on the host, and one of them as arrays inside the program."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, random_bits
from fnn.data.scaling import Scaler
from fnn.layer import Layer
from fnn.layer.protocol import require_no_module
from fnn.optim.transform import Transform
from fnn.selection.folds import Folds, Splitter
from fnn.selection.given_folds import check_what_counts, folds_of
from fnn.selection.members import batched_is_faster
from fnn.selection.training import Case, Member, check_training, member_from
from fnn.tasks import Task
from fnn.tasks.targets import are_class_numbers
from fnn.train import rows as rows_
from fnn.train.divergence import retrain
from fnn.train.inputs import Inputs
from fnn.train.loop import EVALUATION_ROWS, Carry, Recipe, evaluation_model, outcome_of
from fnn.train.options import Options
from fnn.train.outputs import outputs_of, scores_from
from fnn.typing import Array, Arrays, Key, Labels, LossFunction, PyTree

Settings: TypeAlias = Mapping[str, Sequence[float]] | Sequence[Mapping[str, float]]
"""Name -> numbers to try, or the settings themselves."""


class Makers(NamedTuple):
    """What decides the program of a member: a recipe whose model and optimizer may be functions of a setting."""

    model: Layer | Callable[..., Layer]
    optimizer: Transform | Callable[..., Transform]
    task: Task
    options: Options
    scaler: Scaler | None
    classes: int | None


class Plan(NamedTuple):
    """What is to be trained, checked: settings × folds × seeds, and the arrays all members read.

    The folds are in `parts`, each with every row in it: the sizes of a learning curve. `where` is who asks.
    """

    where: str
    settings: tuple[dict[str, float], ...]
    split: Folds
    shared: dict[str, Any]
    makers: Makers
    together: bool
    parts: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.settings), len(self.split.train), len(self.shared["keys"])

    @property
    def rows(self) -> int:
        return rows_.count(self.shared["data"][0])

    def arguments(self) -> dict[str, Any]:
        """One row per member, in the order of `shape`; on the host, where taking rows compiles nothing."""
        setting, fold, seed = np.indices(self.shape, np.int32).reshape(3, -1)
        dtype = jnp.result_type(float)
        columns = {name: np.asarray([s[name] for s in self.settings], dtype) for name in self.settings[0]}
        return {"fold": fold, "seed": seed, "values": {name: column[setting] for name, column in columns.items()}}


def make_plan(
    where: str,
    model: Layer | Callable[..., Layer],
    optimizer: Transform | Callable[..., Transform],
    task: Task | LossFunction,
    data: Arrays,
    *,
    key: Key,
    folds: int | Folds | Splitter,
    seeds: int,
    over: Settings | None,
    scaler: Scaler | None,
    groups: Labels | None,
    class_weight: str | None,
    together: bool | None,
    options: Options,
    grow: Callable[[Folds], Folds] | None = None,
) -> Plan:
    """Everything that is given, checked on the host; `where` is what the errors speak for.

    `grow` makes of the folds some of each, part after part, where they are not trained on as they are.
    """
    require_no_module(where, model, "a layer, or what makes one of settings")
    checks.instance(where, "scaler", scaler, Scaler | None, "a scaler", "write fnn.data.standard_scaler()")
    task, options, checked, key = check_training(where, task, data, key, options)
    settings = _settings(where, over, model, optimizer)
    base = folds_of(where, folds, checked, groups)
    split = base if grow is None else grow(base)
    parts = len(split.train) // len(base.train)
    check_what_counts(where, split, checked, parts, scaled=scaler is not None)
    keys = random_bits.split(key, checks.integer(where, "seeds", seeds))
    shared = {"data": checked, "folds": jax.device_put(tuple(split)), "keys": keys}
    for one in reversed(settings):  # each of them: inside the program a number cannot be looked at
        for name, value in one.items():
            checks.in_range(where, name, value, -np.inf, np.inf)
        values = {name: jnp.asarray(value, float) for name, value in one.items()}
        layer = _build(where, "a layer", model, Layer, values)
        _build(where, "an optimizer", optimizer, Transform, values)
    together = batched_is_faster(layer, checked[0]) if together is None else together
    makers = Makers(model, optimizer, task, options, scaler, _classes(where, class_weight, checked[1]))
    return Plan(where, settings, split, shared, makers, together, parts)


def grid(where: str, over: Mapping[str, Sequence[float]]) -> tuple[dict[str, float], ...]:
    """Every combination of the values."""
    for name, values in over.items():
        if np.ndim(values) != 1 or len(values) == 0 or not np.issubdtype(np.asarray(values).dtype, np.number):
            raise ValueError(f"{where}: expected numbers to try for {name!r}, got {values!r}")
    return tuple(dict(zip(over, chosen, strict=True)) for chosen in itertools.product(*over.values()))


def _settings(where: str, over: Settings | None, *makers: Any) -> tuple[dict[str, float], ...]:
    if over is None or isinstance(over, Mapping):
        settings = grid(where, over or {})
    else:
        settings = tuple(map(dict, over))
        if not settings or any(set(one) != set(settings[0]) for one in settings):
            raise ValueError(f"{where}: expected settings that all have the same names, got {over!r}")
    known = set().union(*map(_arguments_of, makers))
    for name in settings[0]:
        if name not in known:
            raise ValueError(
                f"{where}: neither model nor optimizer takes {name!r}; give a function of it, "
                f"for instance optimizer=lambda {name}: fnn.optim.adam({name})"
            )
    return settings


def _arguments_of(given: Any) -> set[str]:
    if isinstance(given, (Layer, Transform)) or not callable(given):
        return set()
    return set(inspect.signature(given).parameters)


def _classes(where: str, class_weight: str | None, targets: Array) -> int | None:
    """Number of classes to balance, None for none."""
    if class_weight is None:
        return None
    checks.one_of(where, "class_weight", class_weight, ("balanced",))
    if not are_class_numbers(targets):
        raise ValueError(
            f"{where}: class_weight needs class numbers (rows,) as targets, got {checks.describe(targets)}"
        )
    return int(targets.max()) + 1


def member_of(makers: Makers) -> Member:
    """The training of one fold × setting × seed: its history and scores, and the outputs of its validation rows."""
    return member_from(functools.partial(_case, makers), _score, functools.partial(_scale, makers))


def resumable_member_of(makers: Makers) -> Member:
    """`member_of`, which gives back what it carried too, and goes on from `one["carry"]` where that is given."""
    member = member_of(makers)
    return member._replace(finish=lambda one, shared, running: (running.carry, member.finish(one, shared, running)))


def describe_divergence(plan: Plan, place: tuple[int, int, int], number: int) -> str:
    """In which layer the member of this setting, fold and seed diverged at its step `number`: a sentence."""
    one = jax.tree.map(lambda column: column[np.ravel_multi_index(place, plan.shape)], plan.arguments())
    recipe, key, inputs, _ = _case(plan.makers, one, plan.shared, _scale(plan.makers, one, plan.shared))
    return retrain(recipe, key, inputs, None, number)


def _scale(makers: Makers, one: PyTree, shared: PyTree) -> Any:
    """The inputs in the scale of the fold's training rows; None where they are taken as they are."""
    if makers.scaler is None:
        return None
    (x, _, weights), train = shared["data"], shared["folds"][0][one["fold"]]
    rows = jnp.maximum(train, 0)
    # Empty slots weigh nothing; a row drawn twice by a bootstrap counts twice, one of weight 0 not at all.
    counts = train >= 0 if weights is None else jnp.where(train >= 0, weights[rows], 0)
    statistics = makers.scaler.fit(jax.tree.map(lambda leaf: leaf[rows], x), weights=counts.astype(jnp.float32))
    return makers.scaler.transform(statistics, x)


def _case(makers: Makers, one: PyTree, shared: PyTree, scaled: Any) -> Case:
    """The network, optimizer and data of one fold × setting × seed, from the numbers in `one`."""
    (x, targets, weights), (train, valid) = shared["data"], (table[one["fold"]] for table in shared["folds"])
    x = x if scaled is None else scaled
    own = weights
    if makers.classes is not None:
        # Scores count every validation row as the caller weighed it.
        plain = jnp.ones(targets.shape, jnp.float32) if weights is None else weights
        own = plain * _class_weights(targets, train, makers.classes)
    layer = _build("cross_validate", "a layer", makers.model, Layer, one["values"])
    transform = _build("cross_validate", "an optimizer", makers.optimizer, Transform, one["values"])
    inputs = Inputs((x, targets, own), train, (x, targets, weights), valid)
    recipe = Recipe(layer, transform, makers.task, makers.options)
    return Case(recipe, shared["keys"][one["seed"]], inputs, one.get("carry"))


def _build(where: str, what: str, given: Any, kind: type, values: Mapping[str, Any]) -> Any:
    """A layer or transform as it is, or made by its constructor from the settings it names."""
    if _is_built(given, kind):
        return given
    if not callable(given):
        raise TypeError(f"{where}: expected {what} or a function that makes one, got {checks.describe(given)}")
    try:
        made = given(**(taken := {name: values[name] for name in _arguments_of(given) & set(values)}))
    except (TypeError, ValueError) as error:
        if taken:
            error.add_note(
                f"{where}: the values of {', '.join(map(repr, sorted(taken)))} are arguments of one program for "
                "all settings; a number that decides a shape, such as a width, needs a call of its own per value"
            )
        raise
    if not _is_built(made, kind):
        raise TypeError(f"{where}: expected a function that makes {what}, got one of {checks.describe(made)}")
    return made


def _is_built(given: Any, kind: type) -> bool:
    return isinstance(given, kind) or (kind is Transform and hasattr(given, "init") and hasattr(given, "update"))


def _class_weights(targets: Array, train: Array, classes: int) -> Array:
    """A weight per row: $n / (K n_k)$ for class k, counted over the fold's training rows."""
    # Counted as integers: float32 would stand still at 2²⁴.
    labels = targets[jnp.maximum(train, 0)]
    real = ((train >= 0) & (labels >= 0)).astype(jnp.int32)
    counts = jnp.zeros(classes, jnp.int32).at[labels].add(real)
    present, every = (count.sum().astype(jnp.float32) for count in (counts > 0, real))
    return (every / (present * jnp.maximum(counts, 1).astype(jnp.float32)))[targets]


def _score(case: Case, one: PyTree, shared: PyTree, carry: Carry) -> tuple[dict[str, Array], Array]:
    """History, scores on the rows a network was trained on as the caller weighed them, outputs for those it was not."""
    trained, history = outcome_of(case.recipe, carry)
    data, trained_on, held = case.inputs.validation, case.inputs.training_rows(), case.inputs.validation_rows
    assert data is not None
    assert held is not None
    # All rows in one go: each further forward pass is compiled again.
    outputs = outputs_of(
        evaluation_model(case.recipe), trained, data[0], jnp.concatenate([trained_on, held]), EVALUATION_ROWS
    )
    slots = case.inputs.slots
    scores = scores_from(case.recipe.task, jax.tree.map(lambda leaf: leaf[:slots], outputs), data, trained_on)
    history |= {f"training_{name}": score for name, score in scores.items()}
    return history, jax.tree.map(lambda leaf: leaf[slots:], outputs)
