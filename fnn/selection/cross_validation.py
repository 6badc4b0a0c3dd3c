"""Every fold × seed × setting as one compiled program."""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fnn import checks
from fnn.layer import Layer
from fnn.layers.conv import convolves
from fnn.optim.transform import Transform
from fnn.selection import splits
from fnn.selection.members import remembered, run_members
from fnn.selection.splits import Folds
from fnn.tasks import Task, as_task
from fnn.train import rows as rows_
from fnn.train.predict import outputs_of
from fnn.train.stopping import EarlyStopping
from fnn.train.trainer import trainer
from fnn.typing import Array, Key, PyTree

__all__ = ["CrossValidation", "cross_validate"]


class CrossValidation(NamedTuple):
    """The result of `cross_validate`; prints as a table.

    - `settings`: the combinations of `over`, one dict each.
    - `scores`: name -> (settings, folds, seeds), at the end of each run, or at its best epoch with early stopping.
    - `curves`: name -> (settings, folds, seeds, epochs), NaN after a run has stopped.
    - `outputs`: the model's outputs for every row when it was not trained on, (settings, seeds, rows, …); averaged
      where a row validates several times, NaN where it never does.
    - `diverged`: (settings, folds, seeds), runs whose loss stopped being finite; their scores are NaN.
    - `finished`: (settings, folds, seeds), runs that were reached before Ctrl-C.
    """

    settings: tuple[dict[str, Any], ...]
    scores: dict[str, np.ndarray]
    curves: dict[str, np.ndarray]
    outputs: np.ndarray
    diverged: np.ndarray
    finished: np.ndarray

    def mean(self, metric: str) -> np.ndarray:
        """Mean score per setting over folds and seeds, runs that diverged or were not reached left out."""
        return _nan_mean(self._per_fold(metric), axis=1)

    def standard_error(self, metric: str) -> np.ndarray:
        """Standard error of that mean: the spread over folds of the mean over seeds, by the square root of folds."""
        folds = self._per_fold(metric)
        count = np.maximum(np.isfinite(folds).sum(axis=1), 1)
        spread = np.sqrt(_nan_mean((folds - _nan_mean(folds, axis=1)[:, None]) ** 2, axis=1))
        return spread / np.where(count > 1, np.sqrt(np.maximum(count - 1, 1)), np.nan)

    def best(self, metric: str, mode: str = "max") -> dict[str, Any]:
        """The setting with the largest (or smallest) mean score."""
        checks.one_of("best", "mode", mode, ("max", "min"))
        means = self.mean(metric)
        if not np.isfinite(means).any():
            raise ValueError(f"best: no setting has a finite {metric}; every run diverged or none was reached")
        return self.settings[int(np.nanargmax(means) if mode == "max" else np.nanargmin(means))]

    def _per_fold(self, metric: str) -> np.ndarray:
        if metric not in self.scores:
            raise ValueError(f"expected a metric among {', '.join(map(repr, self.scores))}, got {metric!r}")
        return _nan_mean(self.scores[metric], axis=2)

    def __str__(self) -> str:
        names = list(self.settings[0])
        head = [*names, *(f"{metric} (± s.e.)" for metric in self.scores), "diverged"]
        columns = [self.mean(metric) for metric in self.scores], [self.standard_error(m) for m in self.scores]
        lines = [head]
        for place, setting in enumerate(self.settings):
            scores = [f"{m[place]:.4f} ± {e[place]:.4f}" for m, e in zip(*columns, strict=True)]
            lines.append([*(f"{setting[name]:.4g}" for name in names), *scores, str(int(self.diverged[place].sum()))])
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in lines)


def _nan_mean(values: np.ndarray, axis: int) -> np.ndarray:
    kept = np.isfinite(values)
    return np.where(kept, values, 0).sum(axis) / np.where(kept.any(axis), kept.sum(axis), np.nan)


def _built(what: str, given: Any, kind: type, values: Mapping[str, Any]) -> Any:
    """A layer or transform as it is, or made by its constructor from the settings it names."""
    if isinstance(given, kind) or (hasattr(given, "init") and hasattr(given, "update")):
        return given
    if not callable(given):
        raise TypeError(f"cross_validate: expected {what} or a function that makes one, got {checks.describe(given)}")
    return given(**{name: values[name] for name in _named(given) & set(values)})


def _named(given: Any) -> set[str]:
    if isinstance(given, (Layer, Transform)) or not callable(given):
        return set()
    return set(inspect.signature(given).parameters)


def _settings(over: Mapping[str, Sequence[Any]] | None, *makers: Any) -> tuple[dict[str, Any], ...]:
    over = {} if over is None else dict(over)
    known = set().union(*map(_named, makers))
    for name, values in over.items():
        if name not in known:
            raise ValueError(
                f"cross_validate: neither model nor optimizer takes {name!r}; give a function of it, "
                f"for instance optimizer=lambda {name}: fnn.optim.adam({name})"
            )
        if np.ndim(values) != 1 or len(values) == 0 or not np.issubdtype(np.asarray(values).dtype, np.number):
            raise ValueError(f"cross_validate: expected numbers to try for {name!r}, got {values!r}")
    return tuple(dict(zip(over, chosen, strict=True)) for chosen in itertools.product(*over.values()))


def _folds(folds: Any, data: tuple[Any, Array, Any], groups: Any) -> Folds:
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
        return folds
    if hasattr(folds, "split"):
        return splits.using(folds, np.zeros((rows_.count(x), 1)), np.asarray(targets), groups)
    if targets.ndim == 1 and jnp.issubdtype(targets.dtype, jnp.integer):
        return splits.stratified_k_fold(np.asarray(targets), folds, seed=0)
    return splits.k_fold(rows_.count(x), folds, seed=0)


@remembered
def _member(
    model: Any, optimizer: Any, task: Any, scaler: Any, classes: int | None, training: dict[str, Any]
) -> Callable[[PyTree, PyTree], PyTree]:
    """The training of one fold × setting × seed as a function of arrays."""
    task = as_task(task)

    def member(one: PyTree, shared: PyTree) -> PyTree:
        (x, targets, weights), (train, valid) = shared["data"], (table[one["fold"]] for table in shared["folds"])
        if scaler is not None:
            # Empty slots weigh nothing; a row drawn twice by a bootstrap counts twice.
            statistics = scaler.fit(x[jnp.maximum(train, 0)], weights=(train >= 0).astype(jnp.float32))
            x = scaler.transform(statistics, x)
        layer = _built("a layer", model, Layer, one["values"])
        transform = _built("an optimizer", optimizer, Transform, one["values"])
        run = trainer(layer, transform, task, **training)
        given, validation = (x, targets) if weights is None else (x, targets, weights), valid
        if classes is not None:
            own = jnp.ones(targets.shape, jnp.float32) if weights is None else weights
            # Scores count every validation row as the caller weighed it.
            held = rows_.take((x, targets, own), jnp.maximum(valid, 0))
            validation = (*held[:2], jnp.where(valid >= 0, held[2], 0))
            given = (x, targets, own * _balanced(targets, train, classes))
        trained, history = run(shared["keys"][one["seed"]], given, train, validation=validation)
        return history, outputs_of(layer, trained, x, valid, 1024)

    return member


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


def _balanced(targets: Array, train: Array, classes: int) -> Array:
    """A weight per row: $n / (K n_k)$ for class k, counted over the fold's training rows."""
    real = (train >= 0).astype(jnp.float32)
    counts = jnp.zeros(classes, jnp.float32).at[targets[jnp.maximum(train, 0)]].add(real)
    present = (counts > 0).sum().astype(jnp.float32)
    return (real.sum() / (present * jnp.maximum(counts, 1)))[targets]


def cross_validate(
    model: Layer | Callable[..., Layer],
    optimizer: Transform | Callable[..., Transform],
    task: Task | Callable[[Any, Any], Array],
    data: tuple[Any, ...],
    *,
    key: Key,
    folds: int | Folds | Any = 5,
    seeds: int = 1,
    over: Mapping[str, Sequence[Any]] | None = None,
    epochs: int,
    batch_size: int | None = 32,
    scaler: Any = None,
    groups: Any = None,
    early_stopping: EarlyStopping | None = None,
    penalty: Callable[[PyTree], Any] | None = None,
    augment: Callable[[Key, Any, Any], tuple[Any, Any]] | None = None,
    class_weight: str | None = None,
    together: bool | None = None,
    chunk: int | None = None,
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> CrossValidation:
    """Train and score every fold × seed × setting in one compiled program.

    Called again with the same model, optimizer and task (the same objects) and data of the same shapes, it compiles
    nothing: other values, rows of folds, rates and keys are arguments of the program.

    Args:
        model: a layer, or a function of settings that returns one.
        optimizer: a transform, or a function of settings that returns one (`fnn.optim.adam`).
        task: a task, or a bare loss function.
        data: `(x, targets)` or `(x, targets, weights)`.
        key: random key; seed s trains from `split(key, seeds)[s]` in every fold and setting.
        folds: a number (stratified for classes), `Folds`, or any scikit-learn splitter; every row must stand in one
            of them.
        seeds: trainings per fold and setting.
        over: name -> numbers to try; every combination is one setting.
        epochs, batch_size, early_stopping, penalty, augment: as for `trainer`; the validation rows are the fold's.
        class_weight: "balanced" weighs the loss of class k by $n/(K n_k)$, counted over each fold's training rows.
        scaler: for instance `fnn.data.standard_scaler()`; fitted on each fold's training rows only.
        groups: (rows,), for scikit-learn splitters that keep groups together.
        together: run the members of a chunk as one batched program or one after another in it; by default batched
            unless the model convolves, because a batched convolution is a grouped one.
        chunk: members per call; by default as many as fit into a quarter of the memory.
        mesh: devices to split the members over; by default all of them.
        progress: show a bar over the chunks; by default if there is more than one.

    Returns:
        A `CrossValidation`: scores, curves, out-of-fold outputs, a table.

    Raises:
        ValueError: for more folds than rows, a setting nobody takes, data that cannot be trained on.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x = jnp.linspace(-1, 1, 20).reshape(20, 1)
        >>> found = fnn.selection.cross_validate(
        ...     fnn.dense(1), fnn.optim.sgd, fnn.tasks.regression(), (x, 3 * x[:, 0]), key=jax.random.key(0),
        ...     folds=4, over={"learning_rate": [0.01, 0.3]}, epochs=20, batch_size=5, progress=False)
        >>> found.scores["mse"].shape, found.best("mse", "min")
        ((2, 4, 1), {'learning_rate': 0.3})

    References:
        Stone, Cross-validatory choice and assessment of statistical predictions, 1974.
    """
    given_task, task = task, as_task(task)
    settings = _settings(over, model, optimizer)
    checked = rows_.checked_data("cross_validate", data, task)
    rows_.checked_classes("cross_validate", checked[1])
    split = _folds(folds, checked, groups)
    rows_.checked_batch_size("cross_validate", batch_size, split.train.shape[1])
    _warn_of_missing_classes(split, checked[1])
    keys = jax.random.split(rows_.checked_key("cross_validate", key), checks.integer("cross_validate", "seeds", seeds))

    shape = (len(settings), len(split.train), seeds)
    setting, fold, seed = (jnp.asarray(part.ravel()) for part in np.indices(shape))
    values = {name: jnp.asarray([s[name] for s in settings], float)[setting] for name in settings[0]}
    if together is None:
        probe = _built("a layer", model, Layer, {name: column[0] for name, column in values.items()})
        together = not convolves(probe)
    shared = {"data": checked, "folds": tuple(map(jnp.asarray, split)), "keys": keys}
    arguments = {"fold": fold, "seed": seed, "values": values}
    classes = _classes(class_weight, checked[1])
    training = dict(
        epochs=epochs, batch_size=batch_size, penalty=penalty, early_stopping=early_stopping, augment=augment
    )
    member = _member(model, optimizer, given_task, scaler, classes, training)
    (history, outputs), finished = run_members(
        member, arguments, shared, together=together, chunk=chunk, mesh=mesh, progress=progress
    )
    return _gathered(settings, shape, split, rows_.count(checked[0]), history, outputs, finished)


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
        warnings.warn(
            f"cross_validate: fold {fold} has no training row of class {classes} (so in {len(missing)} folds); "
            "write fnn.selection.stratified_k_fold",
            UserWarning,
            stacklevel=3,
        )


def _name_diverged(settings: tuple[dict[str, Any], ...], diverged: np.ndarray) -> None:
    if diverged.any():
        setting, fold, seed = np.argwhere(diverged)[0]
        warnings.warn(
            f"cross_validate: {diverged.sum()} of {diverged.size} runs diverged and count as NaN, first the one of "
            f"{settings[setting] or 'the only setting'}, fold {fold}, seed {seed}; see .diverged",
            RuntimeWarning,
            stacklevel=4,
        )


def _gathered(
    settings: tuple[dict[str, Any], ...],
    shape: tuple[int, int, int],
    split: Folds,
    rows: int,
    history: dict[str, np.ndarray],
    outputs: np.ndarray,
    finished: np.ndarray,
) -> CrossValidation:
    """Members back in their places, outputs in the order of the rows."""
    curves = {name: values.reshape(*shape, -1) for name, values in history.items() if values.ndim == 2}
    last = history.get("best_epoch", history["epochs"] - 1).reshape(shape)
    diverged = history["diverged_at"].reshape(shape) >= 0
    at = np.maximum(last, 0)[..., None]
    scores = {
        name.removeprefix("validation_"): np.where(diverged, np.nan, np.take_along_axis(values, at, axis=3)[..., 0])
        for name, values in curves.items()
        if name.startswith("validation_")
    }
    _name_diverged(settings, diverged)
    outputs = outputs.reshape(*shape, *outputs.shape[1:])
    outputs = np.where(diverged.reshape(*shape, *[1] * (outputs.ndim - 3)), np.nan, outputs)
    total = np.zeros((shape[0], shape[2], rows, *outputs.shape[4:]))
    times = np.zeros(rows)
    for fold, valid in enumerate(split.valid):
        kept = valid >= 0
        total[:, :, valid[kept]] += outputs[:, fold][:, :, kept]
        times[valid[kept]] += 1
    times = np.where(times == 0, np.nan, times).reshape(rows, *[1] * (total.ndim - 3))
    return CrossValidation(settings, scores, curves, total / times, diverged, finished.reshape(shape))
