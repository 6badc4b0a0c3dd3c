"""Ensembles of one training: the networks at the ends of its cycles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, programs, random_bits
from fnn.layer import Layer
from fnn.layer.arguments import params_and_state
from fnn.layer.protocol import require_layer
from fnn.optim.learning_rate import require_constructor
from fnn.optim.transform import Transform
from fnn.schedules import cosine_decay_schedule
from fnn.selection.bagging import case, divergence_mask, member_of, require_arrays
from fnn.selection.ensemble import Ensemble
from fnn.selection.members import run_members
from fnn.selection.training import Case, check_training
from fnn.tasks import Task
from fnn.train import rows as rows_
from fnn.train.console import interruption
from fnn.train.epochs import sizes
from fnn.train.loop import Recipe
from fnn.train.options import Options
from fnn.train.sharding import on_automatic_axes
from fnn.train.trained import Trained, shapes_of
from fnn.typing import Arrays, Augmentation, DType, Key, LossFunction, PenaltyFunction, PyTree

__all__ = ["snapshots"]


@on_automatic_axes
def snapshots(
    model: Layer,
    optimizer: Callable[..., Transform],
    task: Task | LossFunction,
    data: Arrays,
    *,
    key: Key,
    learning_rate: float,
    members: int = 5,
    epochs: int,
    batch_size: int | None = 32,
    penalty: PenaltyFunction | None = None,
    augment: Augmentation | None = None,
    shuffle: bool = True,
    training_metrics: bool = False,
    compute_dtype: DType | None = None,
) -> Ensemble:
    """One training with cosine restarts; the network at the end of each cycle is a member.

    Called again it compiles nothing; after Ctrl-C the cycles that are finished predict together.

    Args:
        optimizer: makes a transform from a learning rate, for instance `fnn.optim.adam`; begun anew in each cycle.
        key: random key.
        learning_rate: at the start of each cycle; it falls to 0 along a cosine.
        members: number of cycles.
        epochs: epochs of one cycle.

    Arguments that are not listed are those of `cross_validate`; `model` is a layer.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x = jnp.linspace(-1, 1, 20).reshape(20, 1)
        >>> found = fnn.selection.snapshots(
        ...     fnn.dense(1), fnn.optim.sgd, fnn.tasks.regression(), (x, 3 * x[:, 0]), key=jax.random.key(0),
        ...     learning_rate=0.1, members=3, epochs=5, batch_size=5)
        >>> found.outputs(x).shape
        (3, 20, 1)

    References:
        Huang et al., Snapshot Ensembles: Train 1, get M for free, 2017.
    """
    require_layer("snapshots", model)
    require_constructor("snapshots", optimizer)
    count = checks.integer("snapshots", "members", members)
    checks.in_range("snapshots", "learning_rate", learning_rate, 0, open="low")
    options = Options(epochs, batch_size, penalty, augment, None, shuffle, training_metrics, compute_dtype)
    task, options, checked, key = check_training("snapshots", task, data, key, options)
    require_arrays("snapshots", model, checked[0])
    steps = epochs * sizes(batch_size, rows_.count(checked[0]))[1]
    rule = optimizer(cosine_decay_schedule(learning_rate, steps))
    recipe = Recipe(model, rule, task, options)
    first, *keys = random_bits.split(key, count + 1)
    start = programs.compile(_initial, model)(first, checked[0])
    trained, history = _cycles(recipe, checked, keys, start)

    def case_of(member: int) -> Case:
        begun = jax.tree.map(lambda leaf: leaf[member - 1], trained) if member else start
        return case(recipe, {"key": keys[member], "start": begun}, checked)

    sound = ~divergence_mask("snapshots", case_of, history["diverged_at"])
    history = {name: values[sound] for name, values in history.items()}
    return Ensemble(model, task, jax.tree.map(lambda leaf: jnp.asarray(leaf[sound]), trained), history)


def _cycles(recipe: Recipe, data: rows_.Checked, keys: Sequence[Key], start: Trained) -> tuple[Trained, dict[str, Any]]:
    """What every cycle ended in that came to its end: there the next one begins."""
    found: list[tuple[Trained, dict[str, Any]]] = []
    with interruption() as asked:
        for key in keys:
            one = {"key": key, "start": start}
            try:
                (trained, history, _), _ = run_members(
                    member_of, recipe, jax.tree.map(lambda leaf: leaf[None], one), data,
                    last=recipe.options.epochs, together=False, progress=False,
                )  # fmt: skip
            except KeyboardInterrupt:
                if not found:
                    raise
                break
            found.append((trained, history))
            start = jax.tree.map(lambda leaf: leaf[0], trained)
            if asked():
                break
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def _initial(model: Layer, key: Key, x: PyTree) -> Trained:
    return Trained(*params_and_state(model.init(key, shapes_of(x, 1))))
