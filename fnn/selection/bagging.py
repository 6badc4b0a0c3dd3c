"""Ensembles of networks that are trained apart: on bootstrap samples, or from different seeds."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fnn import checks, random_bits
from fnn.layer import Layer, Padded
from fnn.optim.transform import Transform
from fnn.selection import splits
from fnn.selection.ensemble import Ensemble, outputs_for, probabilities
from fnn.selection.folds import mean_by_row
from fnn.selection.members import batched_is_faster, run_members
from fnn.selection.result import metrics_of
from fnn.selection.training import Case, Member, check_training, member_from
from fnn.tasks import Task
from fnn.train import rows as rows_
from fnn.train.divergence import WHAT_HELPS, retrain
from fnn.train.inputs import Inputs
from fnn.train.loop import EVALUATION_ROWS, Carry, Recipe, evaluation_model, outcome_of
from fnn.train.options import Options
from fnn.train.outputs import outputs_of
from fnn.train.processes import on_a_mesh
from fnn.train.step import require_model_and_optimizer
from fnn.train.stopping import EarlyStopping, warn_if_never_scored, warn_if_nothing_counted
from fnn.train.trained import Trained
from fnn.typing import Arrays, Augmentation, DType, Key, LossFunction, PenaltyFunction, PyTree

__all__ = ["ensemble"]


@on_a_mesh("ensemble", everywhere=True)
def ensemble(
    model: Layer,
    optimizer: Transform,
    task: Task | LossFunction,
    data: Arrays,
    *,
    key: Key,
    members: int = 10,
    bootstrap: bool = True,
    epochs: int,
    batch_size: int | None = 32,
    penalty: PenaltyFunction | None = None,
    augment: Augmentation | None = None,
    early_stopping: EarlyStopping | None = None,
    shuffle: bool = True,
    training_metrics: bool = False,
    compute_dtype: DType | None = None,
    together: bool | None = None,
    chunk: int | None = None,
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> Ensemble:
    """Train many networks that predict together: on bootstrap samples (bagging), or on all rows from different seeds.

    Remembered as `cross_validate` is: called again it compiles nothing. After Ctrl-C the members that are finished
    predict together.

    Args:
        early_stopping: as for `trainer`, by what is known of the training rows: `fnn.early_stopping("loss")`.
        key: random key; member m trains from `split(key, members)[m]`, the samples are drawn from the key as well.
        members: number of networks.
        bootstrap: each member trains on as many rows, drawn with replacement; False: on all rows.

    Arguments that are not listed are those of `cross_validate`; `model` is a layer, `optimizer` a transform.

    Raises:
        ValueError: if every member diverged; a few are left out with a warning.
        KeyboardInterrupt: after Ctrl-C if no member is finished that did not diverge.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x = jnp.linspace(-1, 1, 20).reshape(20, 1)
        >>> bag = fnn.selection.ensemble(
        ...     fnn.dense(1), fnn.optim.sgd(0.3), fnn.tasks.regression(), (x, 3 * x[:, 0]), key=jax.random.key(0),
        ...     members=4, epochs=20, batch_size=5, progress=False)
        >>> bag.outputs(x).shape, bag.out_of_bag.shape
        ((4, 20, 1), (20, 1))

    References:
        Breiman, Bagging predictors, 1996; Lakshminarayanan et al., Simple and Scalable Predictive Uncertainty
        Estimation using Deep Ensembles, 2017.
    """
    count = checks.integer("ensemble", "members", members)
    require_model_and_optimizer("ensemble", model, optimizer)
    options = Options(epochs, batch_size, penalty, augment, early_stopping, shuffle, training_metrics, compute_dtype)
    task, options, checked, key = check_training("ensemble", task, data, key, options)
    require_arrays("ensemble", model, checked[0])
    arguments = {"key": random_bits.split(key, count)}
    bags = _bags(key, checked, count) if bootstrap else None
    if bags is not None:
        arguments |= {"train": jnp.asarray(bags.train), "valid": jnp.asarray(bags.valid)}
    together = batched_is_faster(model, checked[0]) if together is None else together
    recipe = Recipe(model, optimizer, task, options)
    (trained, history, outputs), reached = run_members(
        member_of, recipe, arguments, checked, last=epochs,
        together=together, chunk=chunk, mesh=mesh, progress=progress,
    )  # fmt: skip

    def case_of(member: int) -> Case:
        return case(recipe, jax.tree.map(lambda leaf: leaf[member], arguments), checked)

    sound = reached & ~divergence_mask("ensemble", case_of, history["diverged_at"], reached)
    trained, history, outputs = jax.tree.map(lambda leaf: leaf[sound], (trained, history, outputs))
    warn_if_nothing_counted("ensemble", history)
    warn_if_never_scored("ensemble", options.early_stopping, history)
    made = Ensemble(model, task, Trained(*jax.tree.map(jnp.asarray, trained)), history)
    if bags is None:
        return made
    return made._replace(**_out_of_bag(task, checked, outputs, bags.valid[sound]))


def member_of(recipe: Recipe) -> Member:
    """A training from a key of its own, on the rows `train` and from the parameters `start` where those are given."""

    def finish(case: Case, one: PyTree, shared: PyTree, carry: Carry) -> PyTree:
        trained, history = outcome_of(case.recipe, carry)
        held: PyTree = ()
        if "valid" in one:
            held = outputs_of(evaluation_model(recipe), trained, shared[0], one["valid"], EVALUATION_ROWS)
        return trained, history, held

    return member_from(functools.partial(case, recipe), finish)


def case(recipe: Recipe, one: PyTree, shared: PyTree, prepared: PyTree = ()) -> Case:
    return Case(recipe, one["key"], Inputs(shared, one.get("train"), None, None), one.get("start"))


def require_arrays(where: str, model: Layer, x: PyTree) -> None:
    """Outputs are averaged over members: lengths cannot be."""
    parts = jax.tree.leaves(x, is_leaf=lambda node: isinstance(node, Padded))
    if not any(isinstance(part, Padded) for part in parts):
        return
    outputs = jax.eval_shape(lambda x: model.apply(*model.init(jax.random.key(0), x), x)[0], x)
    if isinstance(outputs, Padded):
        raise TypeError(
            f"{where}: expected a model whose outputs are arrays, got fnn.Padded; end it in lambda y: y.values, and "
            "write -1 as the target of every step of padding and fnn.tasks.multiclass(…, ignore_index=-1)"
        )


def _bags(key: Key, data: rows_.Checked, members: int) -> splits.Folds:
    """The same bootstrap samples for the same key; every one has a row that counts."""
    seed = int.from_bytes(np.asarray(jax.random.key_data(key)).tobytes(), "big")
    bags = splits.bootstrap(rows_.count(data[0]), members, seed=seed)
    counted = np.ones(members, bool) if data[2] is None else np.asarray(data[2])[bags.train].any(axis=1)
    if not counted.all():
        raise ValueError(f"ensemble: {checks.no_weight(f' of the rows drawn for member {int(np.argmin(counted))}')}")
    return bags


def _out_of_bag(task: Task, data: rows_.Checked, outputs: PyTree, valid: np.ndarray) -> dict[str, Any]:
    """Estimates from the members that did not see a row, and their scores."""
    rows = rows_.count(data[0])
    each = jax.tree.map(np.asarray, probabilities(task, jax.tree.map(jnp.asarray, outputs)))
    estimate = jax.tree.map(lambda leaf: mean_by_row(leaf, valid, rows), each)
    seen = np.isin(np.arange(rows), valid)
    scores: dict[str, float] = {}
    if seen.any() if data[2] is None else np.asarray(data[2])[seen].any():
        pooled: Any = jax.tree.map(lambda leaf, own: jnp.asarray(leaf, own.dtype), estimate, each)
        if task.probabilities is not None:
            pooled = outputs_for(task, pooled, (rows, *outputs.shape[2:]))
        scores = metrics_of(task, pooled, data, seen)
    return {"out_of_bag": estimate, "out_of_bag_scores": scores, "always_in_bag": int((~seen).sum())}


def divergence_mask(
    where: str, case_of: Callable[[int], Case], diverged_at: np.ndarray, reached: np.ndarray | None = None
) -> np.ndarray:
    """Which members diverged: they are named, and do not predict with the others; of the first it is said where. Of the
    members that were not `reached` before Ctrl-C nothing is known."""
    lost = diverged_at >= 0
    if not lost.any():
        return lost
    first = int(np.argmax(lost))
    advice = f"{WHAT_HELPS}.{retrain(*case_of(first), int(diverged_at[first]))}"
    if lost.all():
        raise ValueError(f"{where}: every member diverged. {advice}")
    if reached is not None and lost[reached].all():
        raise KeyboardInterrupt(f"{where}: Ctrl-C was pressed, and every member finished until then diverged. {advice}")
    checks.warn(f"{where}: members {np.flatnonzero(lost).tolist()} diverged and are left out. {advice}")
    return lost
