"""What is trained: every fold × seed × setting, checked on the host, and one of them as arrays inside the program."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.layer import Layer
from fnn.optim.transform import Transform
from fnn.selection import splits
from fnn.selection.folds import Folds, check_disjoint
from fnn.selection.members import batched_is_faster
from fnn.tasks import Task, as_task
from fnn.train import rows as rows_
from fnn.train.predict import outputs_of, scores_from
from fnn.train.trained import Trained
from fnn.typing import Array, Key, PyTree

EVALUATION_ROWS = 1024
"""Rows per batch where a member is scored."""


class Plan(NamedTuple):
    """What is to be trained, checked: settings × folds × seeds, and the arrays all members read."""

    settings: tuple[dict[str, Any], ...]
    split: Folds
    shared: dict[str, Any]
    maker: tuple[Any, ...]
    training: dict[str, Any]
    together: bool

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


class Case(NamedTuple):
    """What one member trains, on what, from which key."""

    model: Layer
    optimizer: Transform
    key: Key
    data: tuple[Any, ...]
    rows: Array
    validation: Any
    validation_rows: Array


def planned(
    where: str,
    model: Any,
    optimizer: Any,
    task: Any,
    data: tuple[Any, ...],
    *,
    key: Key,
    folds: Any = 5,
    seeds: int = 1,
    over: Any = None,
    batch_size: int | None = 32,
    scaler: Any = None,
    groups: Any = None,
    class_weight: str | None = None,
    together: bool | None = None,
    **training: Any,
) -> Plan:
    """Everything that is given, checked on the host."""
    settings = _settings(over, model, optimizer)
    checked = rows_.checked_data(where, data, as_task(task))
    rows_.checked_classes(where, checked[1])
    split = folds_of(folds, checked, groups)
    rows_.checked_batch_size(where, batch_size, split.train.shape[1])
    _warn_of_missing_classes(split, checked[1])
    keys = jax.random.split(rows_.checked_key(where, key), checks.integer(where, "seeds", seeds))
    shared = {"data": checked, "folds": jax.device_put(tuple(split)), "keys": keys}
    if together is None:
        probe = _built("a layer", model, Layer, {name: jnp.asarray(v, float) for name, v in settings[0].items()})
        together = batched_is_faster(probe)
    maker = (model, optimizer, scaler, _classes(class_weight, checked[1]))
    return Plan(settings, split, shared, maker, {"batch_size": batch_size} | training, together)


def grid(where: str, over: Mapping[str, Sequence[Any]]) -> tuple[dict[str, Any], ...]:
    """Every combination of the values."""
    for name, values in over.items():
        if np.ndim(values) != 1 or len(values) == 0 or not np.issubdtype(np.asarray(values).dtype, np.number):
            raise ValueError(f"{where}: expected numbers to try for {name!r}, got {values!r}")
    return tuple(dict(zip(over, chosen, strict=True)) for chosen in itertools.product(*over.values()))


def _settings(
    over: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]] | None, *makers: Any
) -> tuple[dict[str, Any], ...]:
    if over is None or isinstance(over, Mapping):
        settings = grid("cross_validate", over or {})
    else:
        settings = tuple(map(dict, over))
        if not settings or any(set(one) != set(settings[0]) for one in settings):
            raise ValueError(f"cross_validate: expected settings that all have the same names, got {over!r}")
    known = set().union(*map(_named, makers))
    for name in settings[0]:
        if name not in known:
            raise ValueError(
                f"cross_validate: neither model nor optimizer takes {name!r}; give a function of it, "
                f"for instance optimizer=lambda {name}: fnn.optim.adam({name})"
            )
    return settings


def _named(given: Any) -> set[str]:
    if isinstance(given, (Layer, Transform)) or not callable(given):
        return set()
    return set(inspect.signature(given).parameters)


def folds_of(folds: Any, data: tuple[Any, Array, Any], groups: Any) -> Folds:
    x, targets, _ = data
    if isinstance(folds, Folds):
        top = max(int(folds.train.max()), int(folds.valid.max()))
        if top >= rows_.count(x):
            raise ValueError(f"cross_validate: the folds name row {top} of {rows_.count(x)} rows")
        unused = np.setdiff1d(np.arange(rows_.count(x)), np.concatenate([folds.train.ravel(), folds.valid.ravel()]))
        if len(unused):
            raise ValueError(
                f"cross_validate: {len(unused)} of {rows_.count(x)} rows stand in no fold, row {unused[0]} first; "
                "make the folds for this data set, or leave these rows out of it"
            )
        check_disjoint("cross_validate", folds)
        return folds
    if hasattr(folds, "split"):
        return splits.using(folds, np.zeros((rows_.count(x), 1)), np.asarray(targets), groups)
    if targets.ndim == 1 and jnp.issubdtype(targets.dtype, jnp.integer):
        return splits.stratified_k_fold(np.asarray(targets), folds, seed=0)
    return splits.k_fold(rows_.count(x), folds, seed=0)


def _warn_of_missing_classes(split: Folds, targets: Array) -> None:
    """A class that a fold never trains on cannot be learned there."""
    if targets.ndim != 1 or not jnp.issubdtype(targets.dtype, jnp.integer):
        return
    host = np.asarray(targets)
    every = set(host.tolist())
    missing = {
        fold: sorted(every - set(host[train[train >= 0]].tolist()))
        for fold, train in enumerate(split.train)
        if set(host[train[train >= 0]].tolist()) != every
    }
    if missing:
        fold, classes = next(iter(missing.items()))
        checks.warn(
            f"cross_validate: fold {fold} has no training row of class {classes} (so in {len(missing)} folds); "
            "write fnn.selection.stratified_k_fold",
            UserWarning,
        )


def _classes(class_weight: str | None, targets: Array) -> int | None:
    """Number of classes to balance, None for none."""
    if class_weight is None:
        return None
    checks.one_of("cross_validate", "class_weight", class_weight, ("balanced",))
    if targets.ndim != 1 or not jnp.issubdtype(targets.dtype, jnp.integer):
        raise ValueError(
            f"cross_validate: class_weight needs class numbers (rows,) as targets, got {checks.describe(targets)}"
        )
    return int(targets.max()) + 1


def case_of(maker: tuple[Any, ...], one: PyTree, shared: PyTree) -> Case:
    """The network, optimizer and data of one fold × setting × seed, from the numbers in `one`."""
    model, optimizer, scaler, classes = maker
    (x, targets, weights), (train, valid) = shared["data"], (table[one["fold"]] for table in shared["folds"])
    if scaler is not None:
        # Empty slots weigh nothing; a row drawn twice by a bootstrap counts twice.
        statistics = scaler.fit(x[jnp.maximum(train, 0)], weights=(train >= 0).astype(jnp.float32))
        x = scaler.transform(statistics, x)
    given, validation = (x, targets) if weights is None else (x, targets, weights), valid
    if classes is not None:
        own = jnp.ones(targets.shape, jnp.float32) if weights is None else weights
        # Scores count every validation row as the caller weighed it.
        held = rows_.take((x, targets, own), jnp.maximum(valid, 0))
        validation = (*held[:2], jnp.where(valid >= 0, held[2], 0))
        given = (x, targets, own * _balanced(targets, train, classes))
    layer = _built("a layer", model, Layer, one["values"])
    transform = _built("an optimizer", optimizer, Transform, one["values"])
    return Case(layer, transform, shared["keys"][one["seed"]], given, train, validation, valid)


def _built(what: str, given: Any, kind: type, values: Mapping[str, Any]) -> Any:
    """A layer or transform as it is, or made by its constructor from the settings it names."""
    if isinstance(given, kind) or (hasattr(given, "init") and hasattr(given, "update")):
        return given
    if not callable(given):
        raise TypeError(f"cross_validate: expected {what} or a function that makes one, got {checks.describe(given)}")
    return given(**{name: values[name] for name in _named(given) & set(values)})


def _balanced(targets: Array, train: Array, classes: int) -> Array:
    """A weight per row: $n / (K n_k)$ for class k, counted over the fold's training rows."""
    # Counted as integers: float32 would stand still at 2²⁴.
    real = (train >= 0).astype(jnp.int32)
    counts = jnp.zeros(classes, jnp.int32).at[targets[jnp.maximum(train, 0)]].add(real)
    present, every = (count.sum().astype(jnp.float32) for count in (counts > 0, real))
    return (every / (present * jnp.maximum(counts, 1).astype(jnp.float32)))[targets]


def judged(case: Case, task: Task, trained: Trained, shared: PyTree) -> tuple[dict[str, Array], Array]:
    """Scores on the rows a network was trained on, as the caller weighed them; its outputs for those it was not."""
    data, trained_on = (*case.data[:2], shared["data"][2]), case.rows.shape[0]
    # All rows in one go: each further forward pass is compiled again.
    rows = jnp.concatenate([case.rows, case.validation_rows])
    outputs = outputs_of(case.model, trained, case.data[0], rows, EVALUATION_ROWS)
    scores = scores_from(task, outputs[:trained_on], data, case.rows)
    return {f"training_{name}": score for name, score in scores.items()}, outputs[trained_on:]
