"""Every fold × seed × setting as one compiled program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax.sharding import Mesh

from fnn.layer import Layer
from fnn.optim.transform import Transform
from fnn.selection.cases import case_of, judged, planned
from fnn.selection.members import remembered, run_members
from fnn.selection.result import CrossValidation, gathered
from fnn.selection.splits import Folds
from fnn.tasks import Task, as_task
from fnn.tasks.task import modes_of
from fnn.train.stopping import EarlyStopping
from fnn.train.trainer import trainer
from fnn.typing import Array, Key, PyTree

__all__ = ["cross_validate"]


def cross_validate(
    model: Layer | Callable[..., Layer],
    optimizer: Transform | Callable[..., Transform],
    task: Task | Callable[[Any, Any], Array],
    data: tuple[Any, ...],
    *,
    key: Key,
    folds: int | Folds | Any = 5,
    seeds: int = 1,
    over: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]] | None = None,
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
        over: name -> numbers to try, every combination being one setting; or the settings themselves, dicts of
            numbers.
        epochs, batch_size, early_stopping, penalty, augment: as for `trainer`; the validation rows are the fold's.
        class_weight: "balanced" weighs the loss of class k by $n/(K n_k)$, counted over each fold's training rows.
        scaler: for instance `fnn.data.standard_scaler()`; fitted on each fold's training rows only.
        groups: (rows,), for scikit-learn splitters that keep groups together.
        together: run the members of a chunk as one batched program or one after another in it; by default batched
            unless the model convolves or, on a CPU, recurs, as `python -m benchmarks members` measures it.
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
        >>> found.scores["mse"].shape, found.best("mse")
        ((2, 4, 1), {'learning_rate': 0.3})

    References:
        Stone, Cross-validatory choice and assessment of statistical predictions, 1974.
    """
    plan = planned(
        "cross_validate", model, optimizer, task, data, key=key, folds=folds, seeds=seeds, over=over,
        batch_size=batch_size, scaler=scaler, groups=groups, class_weight=class_weight, together=together,
        penalty=penalty, augment=augment,
    )  # fmt: skip
    member = _member(task, plan.maker, plan.training | {"epochs": epochs, "early_stopping": early_stopping})
    (history, outputs), finished = run_members(
        member, plan.arguments(), plan.shared, together=plan.together, chunk=chunk, mesh=mesh, progress=progress
    )
    found = gathered(plan.settings, plan.shape, plan.split, plan.rows, history, outputs, finished)
    return found._replace(modes=modes_of(as_task(task)))


@remembered
def _member(task: Any, maker: tuple[Any, ...], training: dict[str, Any]) -> Callable[[PyTree, PyTree], PyTree]:
    """The training of one fold × setting × seed as a function of arrays."""
    task = as_task(task)

    def member(one: PyTree, shared: PyTree) -> PyTree:
        case = case_of(maker, one, shared)
        run = trainer(case.model, case.optimizer, task, **training)
        trained, history = run(case.key, case.data, case.rows, validation=case.validation)
        scores, outputs = judged(case, task, trained, shared)
        return history | scores, outputs

    return member
