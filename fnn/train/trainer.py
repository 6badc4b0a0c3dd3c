"""A whole training run as one pure, compiled function of arrays."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from fnn import checks, programs, random_bits
from fnn.layer import Layer
from fnn.optim.transform import Transform
from fnn.tasks import Task, as_task
from fnn.train import stopping
from fnn.train.divergence import explain, warn_of_divergence
from fnn.train.epochs import sizes, take_steps_of_epoch
from fnn.train.inputs import Inputs, check_run
from fnn.train.loop import Carry, Keys, Recipe, begin, check_recipe, end_epoch, outcome_of
from fnn.train.options import Options
from fnn.train.processes import on_a_mesh, require_same_run
from fnn.train.sharding import automatic, lay_on, replicate
from fnn.train.stopping import EarlyStopping
from fnn.train.trained import Trained, TrainState, as_trained
from fnn.typing import Array, Arrays, Augmentation, DType, Key, LossFunction, PenaltyFunction, Rows, Validation

__all__ = ["trainer"]


def trainer(
    model: Layer,
    optimizer: Transform,
    task: Task | LossFunction,
    *,
    epochs: int,
    batch_size: int | None = 32,
    penalty: PenaltyFunction | None = None,
    augment: Augmentation | None = None,
    early_stopping: EarlyStopping | None = None,
    shuffle: bool = True,
    training_metrics: bool = True,
    compute_dtype: DType | None = None,
    mesh: Mesh | None = None,
) -> Callable[..., tuple[Trained, dict[str, Array]]]:
    """Configure a whole training run: `run(key, data, rows=None, *, validation=None, start=None)`.

    The run is one compiled program, the same one for every `trainer` that is configured alike, also when everything was
    built anew (see `fnn.programs`): initialization, shuffling, every step of every epoch, validation and early
    stopping. It is a pure function, so `jax.vmap` over keys, rows or learning rates trains many models at once.

    Args:
        model: any layer.
        optimizer: fnn's or optax's.
        task: a task, or a bare loss function.
        epochs: passes over the data.
        batch_size: examples per step, at most as many as there are; None for all at once. A last partial batch is
            filled up with rows that do not count, so no row is dropped and nothing is compiled twice.
        penalty: params -> scalar, added to the loss.
        augment: `augment(key, x, targets) -> (x, targets)`, a random change of every training batch, for instance
            `fnn.data.random_flip()`; validation sees the data as they are.
        early_stopping: a rule made by `fnn.early_stopping`; the best parameters are returned. The run then
            contains a while loop, which JAX cannot differentiate in reverse.
        shuffle: a new order each epoch.
        training_metrics: in the history also "learning_rate", that of an epoch's last step, where the optimizer has
            one, and the task's metrics of the training batches, "accuracy" beside "validation_accuracy": means over the
            epoch of what each step saw, in training mode and with parameters that move, as the training loss is. Exact
            for means over rows; for another metric (R²) the mean of the batches' values, batches on which it is not
            defined left out. They cost the metric, no further forward pass.
        compute_dtype: `jnp.bfloat16` or `jnp.float16`: inputs and parameters are cast to it for the forward and
            backward pass; parameters, optimizer and running statistics stay as they are, outputs, losses and sums,
            also those of norms and softmax, are float32. float16 wants `fnn.optim.scale_loss` around the optimizer, and
            a warning says so where it is missing.
        mesh: devices to split every batch over: `fnn.devices.data_mesh()`, or `jax.make_mesh((n,), ("data",))` with
            explicit axes or automatic ones; the numbers are those of one device.

    Returns:
        `run(key, data, rows, validation=, start=) -> (trained, history)`. `data` is `(x, targets)` or
        `(x, targets, weights)`; `rows` are the row numbers to train on (negative: an empty slot); `start` is a
        `Trained` to go on from. `validation` is another data tuple, row numbers of `data`, or a fraction of the rows
        such as 0.2, drawn by the key and of every class its share. Validation rows are not trained on: given as both
        they are an error, and where they are traced they are left out of the training rows.
        `history` has one entry per epoch of "loss", the training metrics and "validation_…" (NaN after the run has
        stopped, and where no row counts), the number of "epochs" run, "diverged_at", the first step whose loss was not
        finite, or -1, and "skipped", the number of steps that the optimizer left out (`apply_if_finite`), which are no
        divergence. The parameters before a divergence are kept, and a warning says in which layer it began; under
        `jit` or `vmap` nothing can be said: `history["diverged_at"]` tells, and the same run alone says where.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x = jnp.linspace(-1, 1, 20).reshape(20, 1)
        >>> run = fnn.trainer(fnn.dense(1), fnn.optim.sgd(0.3), fnn.tasks.regression(), epochs=50, batch_size=10)
        >>> trained, history = run(jax.random.key(0), (x, 3 * x[:, 0]))
        >>> history["loss"].shape, bool(history["loss"][-1] < 1e-3)
        ((50,), True)
    """
    theirs, mesh = mesh, automatic(mesh)
    options = Options(epochs, batch_size, penalty, augment, early_stopping, shuffle, training_metrics, compute_dtype)
    recipe = check_recipe("trainer", Recipe(model, optimizer, as_task(task), options, mesh))
    # A run of what cannot be compared, or is traced, has a program of its own.
    own = jax.jit(functools.partial(_whole_run, recipe))

    @on_a_mesh("trainer", mesh, ends=True)
    def run(
        key: Key, data: Arrays, rows: Rows | None = None, *, validation: Validation | None = None,
        start: Trained | None = None,
    ) -> tuple[Trained, dict[str, Array]]:  # fmt: skip
        key = checks.random_key("trainer", key)
        inputs = check_run("trainer", recipe.task, data, rows, validation, key)
        start = None if start is None else as_trained("start", start)
        require_same_run("trainer", recipe, inputs, key, start)
        compiled = programs.compile(_whole_run, recipe, otherwise=own)
        keys = random_bits.split_mapped(key, len(Keys._fields))
        (trained, history), last = compiled(*replicate(mesh, (keys, inputs, start)))
        trained, history = lay_on(theirs, (trained, history))
        if checks.is_concrete(history["diverged_at"]) and history["diverged_at"].ndim == 0:
            step = int(history["diverged_at"])
            if step >= 0:
                said = explain("trainer", recipe, key, inputs, last, step)
                warn_of_divergence("trainer", *divmod(step, sizes(batch_size, inputs.slots)[1]), said)
            elif all(map(checks.is_concrete, history.values())):  # losses are traced where a run is differentiated
                stopping.warn_if_nothing_counted("trainer", history)
                stopping.warn_if_never_scored("trainer", recipe.options.early_stopping, history)
        return trained, history

    return run


def _whole_run(
    recipe: Recipe, keys_of_run: Key, inputs: Inputs, start: Trained | None
) -> tuple[tuple[Trained, dict[str, Array]], TrainState]:
    """What the run gives back, and where it stood at its end."""
    keys, options = Keys(*keys_of_run), recipe.options
    steps = sizes(options.batch_size, inputs.slots)[1]

    def epoch(carry: Carry, number: Array) -> Carry:
        carry = take_steps_of_epoch(recipe, carry, keys, inputs, number, None, 0, steps)
        return end_epoch(recipe, carry, inputs, number)[0]

    fresh = begin(recipe, keys, inputs, start)
    carry = random_bits.depend_on(keys.train, fresh)
    if options.early_stopping is None:
        # Every run counts the same epochs, so that all write to one place of the history.
        carry = carry._replace(epochs=fresh.epochs, over=fresh.over)
        carry = jax.lax.scan(lambda carry, number: (epoch(carry, number), None), carry, jnp.arange(options.epochs))[0]
    else:
        carry = jax.lax.while_loop(lambda c: (c.epochs < options.epochs) & ~c.over, lambda c: epoch(c, c.epochs), carry)
    return outcome_of(recipe, carry), carry.train_state
