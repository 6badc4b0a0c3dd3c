"""Every fold × seed × setting as one compiled program."""

from __future__ import annotations

from collections.abc import Callable

from jax.sharding import Mesh

from fnn.data.scaling import Scaler
from fnn.layer import Layer
from fnn.optim.transform import Transform
from fnn.selection.folds import Folds, Splitter
from fnn.selection.members import run_members
from fnn.selection.plan import Plan, Settings, make_plan, member_of
from fnn.selection.result import CrossValidation, assemble
from fnn.tasks import Task
from fnn.train.options import Options
from fnn.train.processes import on_a_mesh
from fnn.train.stopping import EarlyStopping
from fnn.typing import Arrays, Augmentation, DType, Key, Labels, LossFunction, PenaltyFunction

__all__ = ["cross_validate"]


@on_a_mesh("cross_validate", everywhere=True)
def cross_validate(
    model: Layer | Callable[..., Layer],
    optimizer: Transform | Callable[..., Transform],
    task: Task | LossFunction,
    data: Arrays,
    *,
    key: Key,
    folds: int | Folds | Splitter = 5,
    seeds: int = 1,
    over: Settings | None = None,
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
) -> CrossValidation:
    """Train and score every fold × seed × setting in one compiled program.

    Called again with a model, an optimizer and a task that say the same, also when they were built anew, it compiles
    nothing for data of the same shapes (see `fnn.programs`): other values, rows of folds, settings and keys are
    arguments of the program. Ctrl-C is heard within a second, and keeps the runs that are finished.

    Args:
        model: a layer, or a function of settings that returns one.
        optimizer: a transform, or a function of settings that returns one (`fnn.optim.adam`).
        task: a task, or a bare loss function.
        data: `(x, targets)` or `(x, targets, weights)`.
        key: random key; seed s trains from `split(key, seeds)[s]` in every fold and setting.
        folds: a number (stratified for classes), `Folds`, in which every row must stand, or any scikit-learn splitter.
        seeds: trainings per fold and setting.
        over: name -> numbers to try, every combination being one setting; or the settings themselves, dicts of
            numbers.
        epochs, batch_size, early_stopping, penalty, augment, shuffle, training_metrics, compute_dtype: as for
            `trainer`; the validation rows are the fold's.
        class_weight: "balanced" weighs the loss of class k by $n/(K n_k)$, counted over each fold's training rows.
        scaler: for instance `fnn.data.standard_scaler()`; fitted on each fold's training rows only.
        groups: (rows,), none of which is both trained on and validated on: a number of folds is then
            `group_k_fold`'s, folds and splitters that part a group are an error.
        together: run the members of a chunk as one batched program or one after another in it; by default batched
            unless the model convolves or, on a CPU, recurs or has more than 131,072 parameters, as measured
            (`python -m benchmarks members`).
        chunk: members held at once; by default as many as fit into a quarter of the memory.
        mesh: devices to split the members over, with axes of either kind; by default all of them.
        progress: show a bar over the members (needs tqdm); by default if tqdm is installed.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x = jnp.linspace(-1, 1, 20).reshape(20, 1)
        >>> found = fnn.selection.cross_validate(
        ...     fnn.dense(1), fnn.optim.sgd, fnn.tasks.regression(), (x, 3 * x[:, 0]), key=jax.random.key(0),
        ...     folds=4, over={"learning_rate": [0.01, 0.3]}, epochs=20, batch_size=5, progress=False)
        >>> found.scores["mse"].shape, found.best("mse")
        ((2, 4, 1), {'learning_rate': 0.3})

    References:
        Stone, Cross-validatory choice and assessment of statistical predictions, 1974.
    """
    plan = make_plan(
        "cross_validate", model, optimizer, task, data, key=key, folds=folds, seeds=seeds, over=over, scaler=scaler,
        groups=groups, class_weight=class_weight, together=together,
        options=Options(epochs, batch_size, penalty, augment, early_stopping, shuffle, training_metrics, compute_dtype),
    )  # fmt: skip
    return run_plan(plan, chunk=chunk, mesh=mesh, progress=progress)


def run_plan(plan: Plan, *, chunk: int | None, mesh: Mesh | None, progress: bool | None) -> CrossValidation:
    """Every member of a plan, trained to its end."""
    (history, outputs), finished = run_members(
        member_of, plan.makers, plan.arguments(), plan.shared, last=plan.makers.options.epochs,
        together=plan.together, chunk=chunk, mesh=mesh, progress=progress,
    )  # fmt: skip
    return assemble(plan, history, outputs, finished)
