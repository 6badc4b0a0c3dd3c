"""The protocol of tasks, and what pairs one with a model."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from fnn import checks, losses
from fnn.layer import Layer, Padded
from fnn.layer.protocol import identity
from fnn.losses.reduction import note_uncounted, quotient, weigh
from fnn.metrics.protocol import Mode, mode_of
from fnn.precision import widen
from fnn.tasks.targets import as_they_are
from fnn.typing import Array, ArrayLike

__all__ = ["Task", "as_task", "check_pairing"]


Builder = TypeVar("Builder", bound=Callable[..., Any])
Metric = Callable[..., Array]


@checks.refuse_pickling(f"build the task {checks.BY_THE_SAME_CALL}, as fnn.tasks.multiclass(10)")
class Task(NamedTuple):
    """What a model is trained for.

    - `loss(outputs, targets)` -> one loss per example, shape (batch,); or a pair `(losses, counts)`, both (batch, …),
      of which the mean is $\\sum$ losses $/\\sum$ counts, where some entries do not count or classes are weighed.
    - `decode(outputs)` -> predictions in the terms of the raw targets: classes, values.
    - `encode(raw targets)` -> targets, with a clear error on wrong ones.
    - `metrics`: name -> `metric(outputs, targets, *, weights=None)` -> scalar; its attribute `mode`, set by
      `@fnn.metrics.metric("min")` or `("max")`, says which values are better.
    - `probabilities(outputs)`: of every class, where the task has classes.
    - `name`: the call that built it.
    - `takes`: what the outputs are to the loss, "logits", "probabilities" or "log_probabilities", if it matters.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> task = fnn.tasks.multiclass(3)
        >>> logits = jnp.array([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        >>> task.decode(logits).tolist(), float(task.metrics["accuracy"](logits, jnp.array([0, 1])))
        ([0, 2], 0.5)
    """

    loss: Callable[[Array, Array], Any]
    decode: Callable[[Array], Any]
    encode: Callable[[ArrayLike], Array]
    metrics: Mapping[str, Metric]
    probabilities: Callable[[Array], Array] | None = None
    name: str = "task"
    takes: str | None = None

    def __repr__(self) -> str:
        return self.name

    def __hash__(self) -> int:
        return hash((self.loss, self.name))


def builds_a_task(build: Builder) -> Builder:
    """Decorate a function that returns a `Task`: given in the place of one, it is asked to be called."""
    build.builds_a_task = True  # type: ignore[attr-defined]
    return build


def as_task(loss: Task | Callable[[Array, Array], Array]) -> Task:
    """The task itself, or a bare loss function as a task without decoding and metrics.

    Args:
        loss: a `Task`, or `loss(outputs, targets)` returning per-example losses (further axes are averaged) or a pair
            `(losses, counts)`. A loss of `fnn.losses`, bare or by `functools.partial`, is asked for the pair, so that
            what `ignore_index` leaves out, and the padding of `fnn.Padded` outputs, do not count. fnn's losses state
            whether they take logits or probabilities; yours may, `loss.takes = "logits"`.

    Raises:
        TypeError: if it is neither.

    Example:
        >>> import fnn
        >>> fnn.tasks.as_task(fnn.losses.squared_error)
        squared_error
    """
    if isinstance(loss, Task):
        return loss
    if not callable(loss) or getattr(checks.bare(loss), "builds_a_task", False):
        raise TypeError(f"expected a task or a loss function, got {_instead_of_a_task(loss)}")
    function: Any = loss
    chosen: set[str] = set()
    while isinstance(function, functools.partial):
        chosen, function = chosen | set(function.keywords), function.func
    counted: Any = Counted(loss) if _says_what_counts(function) and "reduction" not in chosen else loss
    name = getattr(function, "__name__", "loss")
    return Task(counted, identity, as_they_are, {}, None, name, getattr(function, "takes", None))


def _instead_of_a_task(given: Any) -> str:
    """What came, and what to write."""
    if callable(given):
        return f"{checks.name_of(maker := checks.bare(given))}; call it, fnn.tasks.{maker.__name__}(…)"
    if isinstance(given, str):
        return f"{given!r}; write fnn.losses.{given} or a task such as fnn.tasks.multiclass(10)"
    if hasattr(given, "shape"):
        return f"{checks.describe(given)}, a value of a loss; give the function itself, such as fnn.losses.mse"
    return f"{given!r}; write a task such as fnn.tasks.multiclass(10)"


def check_pairing(model: Layer, task: Task) -> None:
    """Refuse a model that ends in something else than the task's loss takes.

    Args:
        model: a layer.
        task: a `Task`.

    Raises:
        ValueError: naming the layer and what to write.

    Example:
        >>> import fnn
        >>> model = fnn.serial(fnn.dense(3), fnn.softmax)
        >>> fnn.tasks.check_pairing(model, fnn.tasks.multiclass(3))
        Traceback (most recent call last):
        ValueError: the model ends in softmax, but multiclass(3) takes logits and applies it in its loss; ...
    """
    end = model.facts.ends_in or ""
    gives = "log_probabilities" if end.startswith("log_") else "probabilities"
    if not end or task.takes in (None, gives):
        return
    if task.takes == "logits":
        raise ValueError(
            f"the model ends in {end}, but {task.name} takes logits and applies it in its loss; "
            "remove the last layer (for probabilities afterwards: task.probabilities(outputs))"
        )
    other = end.removeprefix("log_") if task.takes == "probabilities" else f"log_{end}"
    raise ValueError(
        f"the model ends in {end}, but {task.name} takes {task.takes.replace('_', ' ')}; end it in fnn.{other}"
    )


class Counted(NamedTuple):
    """A loss of `fnn.losses` that says how much of each example counts: equal for equal losses."""

    function: Callable[..., Any]

    def __call__(self, outputs: Any, targets: Any) -> tuple[Array, Array]:
        if not isinstance(outputs, Padded):
            return self.function(outputs, targets, reduction="pair")
        return self.function(outputs.values, targets, where=real_steps(outputs, 2), reduction="pair")


def real_steps(outputs: Padded, ndim: int) -> Array:
    """Which steps are no padding, (batch, time, 1 …)."""
    real = jnp.arange(outputs.values.shape[1], dtype=jnp.int32)[None] < outputs.lengths.astype(jnp.int32)[:, None]
    return real.reshape(*real.shape, *[1] * (ndim - 2))


def _says_what_counts(function: Any) -> bool:
    """Whether it is a loss of `fnn.losses` that is asked for one value per example."""
    if not any(function is getattr(losses, name) for name in losses.__all__):
        return False
    reduction = inspect.signature(function).parameters.get("reduction")
    return reduction is not None and reduction.default == "none"


def loss_of(name: str, loss: Callable[..., Any], outputs: Any, targets: Any) -> Any:
    """What the loss returns; a warning where it leaves out entries and does not say which."""
    with note_uncounted() as noted:
        found = loss(outputs, targets)
    if not isinstance(found, tuple) and found.shape in noted:
        checks.warn(
            f"{name}: not all entries of the loss count alike (where, ignore_index, class_weights), but it "
            'returns no counts, so what does not count is averaged as 0; write reduction="pair" in it, or give '
            "functools.partial(loss, …) instead of a function around it",
            UserWarning,
        )
    return found


def sums_and_counts(task: Task, outputs: Any, targets: Any) -> tuple[Array, Array, Array]:
    """Of each example the sum of its losses, how much they count and how many of them do, whatever axes the loss leaves
    behind the first."""
    found = loss_of(task.name, task.loss, outputs, targets)
    values, counts = found if isinstance(found, tuple) else (found, None)
    batch = jax.tree.leaves(outputs)[0].shape[0]
    require_examples(task.name, values.shape, batch)
    _refuse_broadcast(task, jnp.shape(targets) if jax.tree_util.all_leaves([targets]) else (), values.shape, outputs)
    if jnp.iscomplexobj(values):
        raise TypeError(f"{task.name}: expected real losses, got {checks.describe(values)}; write abs(error) ** 2")
    values = widen(_flat(values))
    if counts is None:
        return values.mean(axis=1), (one := jnp.ones(batch, values.dtype)), one
    checks.same_shape(task.name, "the values of the loss", found[0], "its counts", counts)
    counts = _flat(counts).astype(values.dtype)
    return values.sum(axis=1), counts.sum(axis=1), (counts != 0).astype(values.dtype).sum(axis=1)


def require_examples(name: str, shape: tuple[int, ...], batch: int) -> None:
    """Require a loss for every example."""
    if shape[:1] != (batch,):
        raise ValueError(
            f"{name}: expected the loss to return one value per example, shape ({batch}, …), got {shape}; "
            'write reduction="none"'
        )


def _refuse_broadcast(task: Task, targets: tuple[int, ...], values: tuple[int, ...], outputs: Any) -> None:
    """A loss of (n, 1) against (n,) has n² values, every example against every other."""
    given = getattr(outputs, "shape", targets)
    try:
        crossed = jnp.broadcast_shapes(given, targets)
    except ValueError:
        return
    if values == crossed and math.prod(values) not in (math.prod(given), math.prod(targets)):
        raise ValueError(
            f"{task.name}: the loss of outputs {given} and targets {targets} has shape {values}: every example against "
            f"every other; {checks.reshape('targets', given)}"
        )


def mean_loss(task: Task, outputs: Any, targets: Any, weights: Array | None = None) -> tuple[Array, Array, Array]:
    """The mean loss over what counts, $\\sum_i w_i s_i / \\sum_i w_i c_i$, how much it is, $\\sum_i w_i c_i$, and the
    same by the weights of rows alone, without those of classes: $\\sum_i w_i n_i$ of $n_i$ entries that count."""
    if weights is not None:
        targets = _finite_targets(targets, weights)
    sums, counts, entries = sums_and_counts(task, outputs, targets)
    if weights is not None:
        weights = weights.astype(sums.dtype)
        sums, counts, entries = (weigh(part, weights) for part in (sums, counts, entries))
    return quotient(sums, counts), counts.sum(), entries.sum()


def _finite_targets(targets: Any, weights: Array) -> Any:
    """Targets with 0 for what is not finite in rows of weight 0: by the slope of a loss at NaN, 0 times it is NaN."""

    def replace(leaf: Any) -> Any:
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) or jnp.shape(leaf)[:1] != weights.shape:
            return leaf
        nothing = jnp.expand_dims(weights == 0, range(1, jnp.ndim(leaf)))
        return jnp.where(nothing & ~jnp.isfinite(leaf), 0, leaf)

    return jax.tree.map(replace, targets)


def after(decode: Callable[[Array], Any], measure: Metric) -> Metric:
    """The metric of decoded outputs, with its name and its direction."""

    @functools.wraps(measure)
    def measure_decoded(outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
        return measure(decode(outputs), targets, weights=weights)

    return measure_decoded


def modes_of(task: Task) -> dict[str, Mode]:
    """Score -> "min" or "max", what is better, for the loss and every metric that states it."""
    stated = {name: mode_of(measure) for name, measure in task.metrics.items()}
    loss: dict[str, Mode] = {"loss": "min"}
    return loss | {name: mode for name, mode in stated.items() if mode is not None}


def require_mode(where: str, score: str, modes: Mapping[str, Mode]) -> Mode:
    """The direction of a score, or a message for a metric that states none."""
    if score not in modes:
        raise ValueError(
            f'{where}: the metric {score!r} does not state whether small or large values are better; write mode="min" '
            'or mode="max", or put @fnn.metrics.metric("min") or ("max") above its definition'
        )
    return modes[score]


def mean_rest(per_element: Array) -> Array:
    return _flat(per_element).mean(axis=-1)


def _flat(values: Array) -> Array:
    """(batch, others), of no rows too, where -1 says nothing."""
    return values.reshape(values.shape[0], math.prod(values.shape[1:]))
