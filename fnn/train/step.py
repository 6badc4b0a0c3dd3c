"""The training step: loss, gradient, update. Everything that trains in fnn runs this one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks, random_bits
from fnn.data.augmentation.protocol import require_augmentation
from fnn.layer import Layer, Padded, Penalty
from fnn.layer.arguments import output_and_state, params_and_state
from fnn.layer.parts import any_layer, count_rows
from fnn.layer.protocol import require_layer
from fnn.optim.leaves import over
from fnn.optim.loss_scale import loss_scale
from fnn.optim.transform import (
    Transform,
    apply_updates,
    as_transform,
    loss_arguments,
    require_one_set,
    require_transform,
)
from fnn.tasks.task import Task, as_task, check_pairing, mean_loss
from fnn.train.trained import Trained, TrainState, as_trained, check_trained
from fnn.typing import Array, Arrays, Augmentation, DType, Key, LossFunction, PenaltyFunction, PyTree

__all__ = ["TrainStep", "train_step"]


class Advance(NamedTuple):
    """One step: the new state, the loss, how much `counted`, over which the loss is the mean (the sum of the weights,
    or what the loss says of tokens and classes), the `entries`, the same by the weights of rows alone, over
    which metrics are means, the outputs, and the batch as it was trained on."""

    train_state: TrainState
    loss: Array
    counted: Array
    entries: Array
    outputs: PyTree
    batch: tuple[Any, ...]


class TrainStep(NamedTuple):
    """`init(key, x, start=None) -> train_state`, `update(train_state, key, batch) -> (train_state, loss)`; pure.

    `advance` is `update` that also tells what it saw: see `Advance`. With `full=True` it is told that every row counts.
    """

    init: Callable[..., TrainState]
    update: Callable[[TrainState, Key, Arrays], tuple[TrainState, Array]]
    advance: Callable[..., Advance]


LEAST = 1e-30
"""Of a gradient: a dtype whose numbers begin above it loses some that matter."""


def warn_unless_scaled(dtype: DType | None, scale: Any) -> None:
    """Say so where gradients may vanish unseen: in a dtype of a small range, with a loss that nothing scales."""
    if dtype is not None and scale is None and float(jnp.finfo(dtype).smallest_normal) > LEAST:
        least = float(jnp.finfo(dtype).smallest_subnormal)
        checks.warn(
            f"optimizer: with compute_dtype={jnp.dtype(dtype).name} gradients below {least:.0e} become 0, and nothing "
            "says so; write fnn.optim.scale_loss(optimizer), or compute_dtype=jnp.bfloat16, whose range is float32's"
        )


def compute_in(dtype: DType | None, model: Layer) -> Layer:
    """The model with parameters and inputs cast to `dtype` where it is applied, outputs to float32, its new state to
    the dtypes of the old one; complex numbers and integers stay. The gradient comes back in the parameters' own dtype.
    """
    if dtype is None:
        return model

    def apply(params: PyTree, state: PyTree, x: PyTree, *, key: Key | None = None, train: bool = False) -> Any:
        found = model.apply(_cast(params, dtype), state, _cast(x, dtype), key=key, train=train)
        outputs, new_state = output_and_state(found)
        own = jax.tree.map(lambda new, old: new.astype(jnp.result_type(old)), new_state, state)
        return _cast(outputs, jnp.float32), own

    over_rows = model.facts.over_rows
    if over_rows is None and model.rebuild is not None and any_layer(model, lambda facts: facts.over_rows is not None):
        over_rows = functools.partial(count_rows, model)
    own = over_rows and (lambda where: compute_in(dtype, over_rows(where)))
    return model._replace(apply=apply, facts=model.facts._replace(over_rows=own))


def _cast(tree: PyTree, dtype: DType) -> PyTree:
    floats = lambda leaf: jnp.issubdtype(jnp.result_type(leaf), jnp.floating)  # noqa: E731
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype) if floats(leaf) else leaf, tree)


def _penalties(penalty: PenaltyFunction | None, params: PyTree, state: PyTree) -> list[Array]:
    """What is added to the loss: what layers ask for, and the penalty on the parameters."""
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, Penalty))
    asked = [node.value for node in nodes if isinstance(node, Penalty)]
    return asked + ([] if penalty is None else [jnp.asarray(penalty(params))])


def _ascent(gradient: Array) -> Array:
    """The direction in which a real loss grows: of a complex parameter, JAX gives its conjugate."""
    return jnp.conj(gradient) if jnp.iscomplexobj(gradient) else gradient


AUGMENT = 0x61756721
"""Folded into the step's key for the augmentation: far from the small numbers by which layers split that key."""


def augment_batch(augment: Augmentation, key: Key, batch: Arrays) -> tuple[Any, ...]:
    """The batch with inputs and targets changed; its weights stay."""
    x, targets, *weights = batch
    changed = augment(random_bits.fold_in(key, AUGMENT), x, targets)
    if not isinstance(changed, tuple) or len(changed) != 2:
        raise TypeError(f"augment: expected it to return (x, targets), got {checks.describe(changed)}")
    return (*changed, *weights)


def require_model_and_optimizer(where: str, model: Any, optimizer: Any) -> None:
    """Require what is trained, and by what, to be of the right kinds."""
    require_layer(where, model)
    require_transform(where, optimizer)


def require_functions(where: str, penalty: Any, augment: Any) -> None:
    """Require what joins the loss and what changes the batches to be functions."""
    number = f"penalty=fnn.optim.l2({penalty!r})"
    checks.function(where, "penalty", penalty, "params -> number", number, "PenaltyFunction")
    require_augmentation(where, "augment", augment)


def objective_of(
    model: Layer, task: Task, penalty: PenaltyFunction | None
) -> Callable[..., tuple[Array, tuple[Any, ...]]]:
    """`objective(params, state, key, batch, full, train=True) -> (value, (state, counted, entries, outputs))`."""

    def objective(
        params: PyTree, state: PyTree, key: Key | None, batch: Arrays, full: bool, train: bool = True
    ) -> tuple[Array, tuple[Any, ...]]:
        x, targets, *weights = batch
        # Rows of weight 0 are none: a batch is filled up with them.
        given = weights[0] if weights else None
        counted_model = model if given is None or full else count_rows(model, given != 0)
        outputs, state = output_and_state(counted_model.apply(params, state, x, key=key, train=train))
        value, counted, entries = mean_loss(task, outputs, targets, given)
        for term in _penalties(penalty, params, state):
            if jnp.iscomplexobj(term):
                raise TypeError(f"penalty: expected a real number, got {checks.describe(term)}; write abs(w) ** 2")
            value = value + term.astype(value.dtype)
        return value, (state, counted, entries, outputs)

    return objective


def _init_of(model: Layer, optimizer: Transform) -> Callable[..., TrainState]:
    def init(key: Key, x: Any, start: Trained | None = None) -> TrainState:
        if start is not None:
            start = as_trained("start", start)
            check_trained("start", model, start, x)
        params, state = params_and_state(model.init(key, x)) if start is None else start
        opt_state = optimizer.init(params)
        require_one_set("train_step", opt_state)
        return TrainState(params, state, opt_state)

    return init


def train_step(
    model: Layer,
    optimizer: Transform,
    loss: Task | LossFunction,
    *,
    penalty: PenaltyFunction | None = None,
    augment: Augmentation | None = None,
    compute_dtype: DType | None = None,
) -> TrainStep:
    r"""The step itself: $\theta \leftarrow \theta + u(\nabla_\theta[\sum_i w_i L_i/\sum_i w_i + R(\theta)])$.

    Args:
        model: any layer.
        optimizer: fnn's or optax's. Rules that ask for them (`fnn.optim.lbfgs`, `optax.polyak_sgd`)
            are given the loss as `value=`, the gradient as `grad=` and, as `value_fn=`, the loss of this batch, with
            its weights, key, state and penalty, as a function of the parameters. The gradient of a complex parameter
            is the conjugate of `jax.grad`'s, the direction in which the loss grows.
        loss: a task, or a function `loss(outputs, targets)` of per-example losses or of pairs `(losses, counts)`.
        penalty: $R$, params -> scalar, for instance `fnn.optim.l2(1e-4)`.
        augment: as for `trainer`. Its key comes from the step's; layers get the key they get without it.
        compute_dtype: as for `trainer`.

    Returns:
        `TrainStep(init, update)`. A batch is `(x, targets)` or `(x, targets, weights)`, one weight per example.
        Compile it with `jax.jit(step.update, donate_argnums=0)`.

    Raises:
        ValueError: if the model already ends in the activation that the task's loss contains.
        TypeError: at `init`, for `optax.lookahead`, which trains pairs of parameters; `fnn.optim.lookahead` does not.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> step = fnn.train_step(fnn.dense(1), fnn.optim.sgd(0.1), fnn.losses.mse)
        >>> x, y = jnp.ones((4, 2)), jnp.zeros((4, 1))
        >>> train_state = step.init(jax.random.key(0), x)
        >>> train_state, loss = jax.jit(step.update)(train_state, jax.random.key(1), (x, y))
        >>> loss.shape
        ()
    """
    require_model_and_optimizer("train_step", model, optimizer)
    require_functions("train_step", penalty, augment)
    checks.floating_dtype("train_step", "compute_dtype", compute_dtype)
    task = as_task(loss)
    check_pairing(model, task)
    model = compute_in(compute_dtype, model)
    optimizer, objective = as_transform(optimizer), objective_of(model, task, penalty)

    def advance(train_state: TrainState, key: Key, batch: Arrays, full: bool = False) -> Advance:
        params, state, opt_state = train_state
        if augment is not None:
            batch = augment_batch(augment, key, batch)
        scale = loss_scale(opt_state)
        warn_unless_scaled(compute_dtype, scale)

        def times_scale(params: PyTree) -> tuple[Array, tuple[Any, ...]]:
            value, seen = objective(params, state, key, batch, full)
            return value if scale is None else value * scale.astype(value.dtype), (value, *seen)

        gradients, (value, new_state, counted, entries, outputs) = jax.grad(times_scale, has_aux=True)(params)
        gradients = jax.tree.map(_ascent, gradients)
        if scale is not None:
            gradients = jax.tree.map(lambda g: g / scale.astype(g.dtype), gradients)

        def value_fn(moved: PyTree) -> Array:
            # A mask hides parameters from the rule inside it: they stay where they are.
            return objective(over(lambda new, _: new, moved, params), state, key, batch, full)[0]

        extra = loss_arguments(opt_state, value, gradients, value_fn)
        updates, opt_state = optimizer.update(gradients, opt_state, params, **extra)
        new = TrainState(apply_updates(params, updates), new_state, opt_state)
        return Advance(new, value, counted, entries.astype(jnp.float32), outputs, batch)

    def update(train_state: TrainState, key: Key, batch: Arrays) -> tuple[TrainState, Array]:
        name = "train_step.update"
        checks.instance(name, "train_state", train_state, TrainState, "what step.init or step.update returned")
        if key is not None:  # for a model that draws nothing
            checks.random_key(name, key)
        checks.parts_of_data(name, batch, "batch ", Padded)
        new = advance(train_state, key, batch)
        return new.train_state, new.loss

    return TrainStep(_init_of(model, optimizer), update, advance)
