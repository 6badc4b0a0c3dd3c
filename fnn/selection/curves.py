"""Score against the size of the training set, as one compiled program."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh

from fnn import checks
from fnn.data.scaling import Scaler
from fnn.layer import Layer
from fnn.optim.transform import Transform
from fnn.selection.cross_validation import run_plan
from fnn.selection.folds import Folds, Splitter
from fnn.selection.plan import make_plan
from fnn.tasks import Task
from fnn.train.options import Options
from fnn.train.processes import on_a_mesh
from fnn.train.stopping import EarlyStopping
from fnn.typing import Arrays, Augmentation, DType, Key, Labels, LossFunction, PenaltyFunction

__all__ = ["LearningCurve", "learning_curve"]


class LearningCurve(NamedTuple):
    """The result of `learning_curve`: `sizes` (sizes,); `scores` on validation rows and `training_scores` on those that
    trained, both name -> (sizes, folds, seeds)."""

    sizes: np.ndarray
    scores: dict[str, np.ndarray]
    training_scores: dict[str, np.ndarray]


@on_a_mesh("learning_curve", everywhere=True)
def learning_curve(
    model: Layer | Callable[..., Layer],
    optimizer: Transform | Callable[..., Transform],
    task: Task | LossFunction,
    data: Arrays,
    *,
    key: Key,
    folds: int | Folds | Splitter = 5,
    sizes: Sequence[float] = (0.1, 0.325, 0.55, 0.775, 1.0),
    seed: int | None = 0,
    seeds: int = 1,
    epochs: int,
    batch_size: int | None = 32,
    scaler: Scaler | None = None,
    groups: Labels | None = None,
    early_stopping: EarlyStopping | None = None,
    penalty: PenaltyFunction | None = None,
    augment: Augmentation | None = None,
    shuffle: bool = True,
    training_metrics: bool = False,
    compute_dtype: DType | None = None,
    class_weight: str | None = None,
    together: bool | None = None,
    chunk: int | None = None,
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> LearningCurve:
    """Scores of networks trained on more and more rows: every size × fold × seed in one program.

    The smaller training sets are parts of the larger ones; all sizes are scored on the fold's same validation rows.
    Remembered as `cross_validate` is: called again it compiles nothing. Draw it with `fnn.plot.score_by_size`.

    Args:
        sizes: numbers of rows, or shares of the first fold's training rows in (0, 1]; equal ones count once.
        seed: shuffles each fold's training rows first; None takes them in their order, as scikit-learn does.

    Arguments that are not listed are those of `cross_validate`.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x = jnp.linspace(-1, 1, 20).reshape(20, 1)
        >>> found = fnn.selection.learning_curve(
        ...     fnn.dense(1), fnn.optim.sgd(0.3), fnn.tasks.regression(), (x, 3 * x[:, 0]), key=jax.random.key(0),
        ...     folds=4, sizes=[0.2, 1.0], epochs=5, batch_size=3, progress=False)
        >>> found.sizes.tolist(), found.scores["mse"].shape
        ([3, 15], (2, 4, 1))
    """
    plan = make_plan(
        "learning_curve", model, optimizer, task, data, key=key, folds=folds, seeds=seeds, over=None, scaler=scaler,
        groups=groups, grow=functools.partial(_grow, sizes, seed), class_weight=class_weight, together=together,
        options=Options(epochs, batch_size, penalty, augment, early_stopping, shuffle, training_metrics, compute_dtype),
    )  # fmt: skip
    found = run_plan(plan, chunk=chunk, mesh=mesh, progress=progress)
    train = plan.split.train.reshape(plan.parts, -1, plan.split.train.shape[-1])
    shape = (*train.shape[:2], -1)
    both = found.scores, found.training_scores
    scores = ({name: part[0].reshape(shape) for name, part in scores.items()} for scores in both)
    return LearningCurve((train[:, 0] >= 0).sum(axis=-1), *scores)


def _grow(sizes: Sequence[float], seed: int | None, split: Folds) -> Folds:
    """Of every fold so many rows to train on, for one size after another."""
    lines = [line[line >= 0] for line in split.train]
    counts = _counts(sizes, len(lines[0]))
    if seed is not None:
        rng = checks.generator("learning_curve", seed)
        lines = [rng.permutation(line) for line in lines]
    train = np.full((len(counts), *split.train.shape), -1, np.int32)
    for part, count in zip(train, counts, strict=True):
        for row, line in zip(part, lines, strict=True):
            row[: min(count, len(line))] = line[:count]
    return Folds(train.reshape(-1, train.shape[-1]), np.tile(split.valid, (len(counts), 1)))


def _counts(sizes: Sequence[float], most: int) -> np.ndarray:
    """Whole numbers of rows, increasing, each once."""
    given = np.asarray(sizes)
    if given.ndim != 1 or not len(given) or not np.issubdtype(given.dtype, np.number):
        raise ValueError(
            f"learning_curve: expected sizes as numbers of rows, or shares of them, got {checks.describe(sizes)}"
        )
    shares = np.issubdtype(given.dtype, np.floating)
    if not (given.min() > 0 and given.max() <= (1 if shares else most)):
        bounds = "shares in (0, 1]" if shares else f"numbers of rows from 1 to {most}"
        raise ValueError(f"learning_curve: expected sizes to be {bounds}, got {given.min()} to {given.max()}")
    return np.unique(np.clip((given * most).astype(int), 1, most) if shares else given.astype(int))
