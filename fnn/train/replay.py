"""A step looked at layer by layer: what every output and gradient is, and where one first leaves the finite numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.layer import Layer, Padded
from fnn.layer.watching import Call, elementary, watch
from fnn.optim.transform import Transform
from fnn.programs import compile as compiled
from fnn.tasks.targets import map_targets
from fnn.tasks.task import Task, as_task
from fnn.train import rows as rows_
from fnn.train.loop import Recipe, check_recipe, evaluation_model, step_of
from fnn.train.options import Options
from fnn.train.step import augment_batch, compute_in, objective_of
from fnn.train.trained import Trained, TrainState, as_trained
from fnn.typing import Array, Arrays, Augmentation, DType, Key, LossFunction, PenaltyFunction, PyTree


class Probe(NamedTuple):
    """A loss whose layers' outputs carry probes: zeros added to them, by which the gradient is that by the outputs.

    `loss(params, probes, observe) -> (value, [observe(call), …])`, one entry per call of a layer.
    """

    names: tuple[str, ...]
    paths: tuple[tuple[int, ...], ...]
    probes: list[list[Array]]
    loss: Callable[..., tuple[Array, list[Any]]]


def inexact(tree: PyTree) -> list[Array]:
    """The floating-point leaves, and the complex ones."""
    return list(filter(_is_inexact, jax.tree.leaves(tree)))


def _is_inexact(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def check_step(where: str, trained: Any, batch: Any) -> tuple[TrainState, tuple[Any, ...]]:
    """What a step is looked at with: its state, without the optimizer's if none is given, and its batch as arrays."""
    state = trained if isinstance(trained, TrainState) else TrainState(*as_trained(where, trained), None)
    checks.parts_of_data(where, batch, "batch ", Padded)
    x = jax.tree.map(lambda leaf: checks.cast(where, "x", leaf), rows_.rows_as_array(where, batch[0]))
    cast = functools.partial(checks.cast, where)
    rest = [map_targets(cast, batch[1]), *(cast("weights", weights) for weights in batch[2:])]
    rows = rows_.count(x)
    if rows == 0 or any(array.shape[:1] != (rows,) for array in jax.tree.leaves(rest)):
        came = ", ".join(checks.describe(array) for array in jax.tree.leaves((x, rest)))
        raise ValueError(
            f"{where}: expected one target and one weight for every row of x, and a row at least, got {came}"
        )
    return state, (x, *rest)


def probe_loss(recipe: Recipe, trained: Trained, batch: tuple[Any, ...], key: Key | None) -> Probe:
    """The objective of a step with a probe at every elementary layer; without a key the model is as at inference."""
    model, _, task, options, _ = recipe

    def run(params: PyTree, see: Callable[[Call], Any]) -> Array:
        seen = watch(model, params, trained.state, see)
        objective = objective_of(compute_in(options.compute_dtype, seen), task, options.penalty)
        return objective(params, trained.state, key, batch, key is None, key is not None)[0]

    calls: list[Call] = []

    def note(call: Call) -> Any:
        calls.append(call)
        return call.y

    jax.eval_shape(lambda params: run(params, note), trained.params)
    probes = [[jnp.zeros(leaf.shape, leaf.dtype) for leaf in inexact(call.y)] for call in calls]

    def loss(params: PyTree, probes: list[list[Array]], observe: Callable[[Call], Any]) -> tuple[Array, list[Any]]:
        seen, waiting = [], iter(probes)

        def see(call: Call) -> Any:
            seen.append(observe(_constant(call)))
            own = iter(next(waiting))
            return jax.tree.map(lambda y: y + next(own) if _is_inexact(y) else y, call.y)

        return run(params, see), seen

    return Probe(tuple(call.name for call in calls), tuple(call.path for call in calls), probes, loss)


def _constant(call: Call) -> Call:
    params, state, x, y = jax.lax.stop_gradient((call.params, call.state, call.x, call.y))
    return call._replace(params=params, state=state, x=x, y=y)


class Divergence(NamedTuple):
    """Where a step first left the finite numbers; prints as a sentence.

    - `phase`: "input", "parameters", "forward", "loss", "backward", "gradient" or "update", in this order.
    - `layer`: place and name of the layer; "" where it is none.
    - `what`: the array in question.
    - `count`, `size`: how many of its entries are not finite, and how many there are.
    - `largest`: the largest finite value, by absolute value, of what it was computed from.
    """

    phase: str
    layer: str
    what: str
    count: int  # type: ignore[assignment]
    size: int
    largest: float

    def __str__(self) -> str:
        place = f"layer {self.layer}: " if self.layer else ""
        return (
            f"{self.phase}, {place}{self.what}: {self.count} of {self.size} entries not finite; the largest value "
            f"before was {self.largest:.3g}"
        )


class _Check(NamedTuple):
    """How many entries are not finite, of how many, and the largest that is."""

    count: Array  # type: ignore[assignment]
    size: Array
    largest: Array


def _check(tree: PyTree) -> _Check:
    leaves = [leaf for leaf in inexact(tree) if leaf.size]
    bad = [(~jnp.isfinite(leaf)).sum() for leaf in leaves]
    sizes = [jnp.where(jnp.isfinite(leaf), jnp.abs(leaf), 0).max().astype(jnp.float32) for leaf in leaves]
    zero = jnp.zeros([], int)
    largest = jnp.stack([jnp.zeros([], jnp.float32), *sizes]).max()
    return _Check(jnp.stack([zero, *bad]).sum(), jnp.asarray(sum(leaf.size for leaf in leaves), int), largest)


def explain_divergence(
    model: Layer,
    optimizer: Transform,
    task: Task | LossFunction,
    trained: Trained | TrainState,
    batch: Arrays,
    *,
    key: Key,
    penalty: PenaltyFunction | None = None,
    augment: Augmentation | None = None,
    compute_dtype: DType | None = None,
) -> Divergence | None:
    """Replay one step layer by layer and say which number first ceased to be finite.

    It follows the step's own order: the inputs, the parameters, the outputs layer by layer, the loss, its gradient by
    the outputs from the last layer to the first and by the parameters of each, the parameters after the update. A run
    that diverged keeps the parameters before the step that did; with them, the step's batch and its key the step is
    the same.

    Args:
        model, optimizer, task, penalty, augment, compute_dtype: as of the run.
        trained: parameters and state before the step; of a `TrainState` the optimizer's state too, which is fresh
            otherwise.
        batch: `(x, targets)` or `(x, targets, weights)`, encoded as for `train_step`.
        key: the step's.

    Returns:
        A `Divergence`, or None if all is finite.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.serial(fnn.dense(2), jnp.exp, fnn.dense(1))
        >>> x = jnp.array([[1.0], [2.0]])
        >>> params, state = model.init(jax.random.key(0), x)
        >>> params[0]["kernel"] = jnp.array([[1.0, 50.0]])
        >>> print(fnn.diagnostics.explain_divergence(
        ...     model, fnn.optim.sgd(0.1), fnn.losses.mse, (params, state), (x, x), key=jax.random.key(1)))
        forward, layer 1, exp: output: 1 of 4 entries not finite; the largest value before was 100
    """
    options = Options(1, penalty=penalty, augment=augment, compute_dtype=compute_dtype)
    recipe = check_recipe("explain_divergence", Recipe(model, optimizer, as_task(task), options))
    state, batch = check_step("explain_divergence", trained, batch)
    seen = jax.device_get(compiled(_replay, recipe)(state, batch, key))
    probed = probe_loss(recipe, Trained(state.params, state.state), batch, key)
    for phase, layer, what, check, before in _in_order(model, state.state, probed, seen):
        if check.count:
            return Divergence(phase, layer, what, int(check.count), int(check.size), float(before))
    return None


def _in_order(model: Layer, state: PyTree, probed: Probe, checks: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Phase, layer, array, its check and the largest value before it, in the order in which a step computes them."""
    parameters, gradients, updates = (
        {path: _by_leaf(own) for path, _, own in elementary(model, checks[phase], state)}
        for phase in ("parameters", "gradient", "update")
    )
    calls = list(zip(probed.names, probed.paths, checks["forward"], checks["backward"], strict=True))
    yield "input", "", "the batch", checks["input"], checks["input"].largest
    for name, path, *_ in calls:
        for leaf, check in parameters[path].items():
            yield "parameters", name, leaf, check, check.largest
    last = checks["input"].largest
    for name, _, (given, output), _ in calls:
        yield "forward", name, "output", output, given.largest
        last = output.largest
    yield "loss", "", "the loss, penalties included", checks["loss"], last
    last = checks["loss"].largest
    for name, path, (given, _), by_output in reversed(calls):
        yield "backward", name, "gradient by its output", by_output, last
        last = by_output.largest
        for leaf, check in gradients[path].items():
            yield "gradient", name, f"gradient by {leaf}", check, max(last, given.largest)
    for name, path, *_ in calls:
        for leaf, check in updates[path].items():
            yield "update", name, f"{leaf} after the step", check, gradients[path][leaf].largest


def _by_leaf(own: PyTree) -> dict[str, _Check]:
    leaves = jax.tree.leaves_with_path(own, is_leaf=lambda node: isinstance(node, _Check))
    return {jax.tree_util.keystr(path, simple=True, separator="/") or "parameters": check for path, check in leaves}


def params_after(recipe: Recipe, train_state: TrainState, batch: tuple[Any, ...], key: Key) -> PyTree:
    """The parameters after a step, the first one where nothing is known of the optimizer's state."""
    step = step_of(recipe)
    if train_state.opt_state is None:
        trained = Trained(train_state.params, train_state.state)
        train_state = train_state._replace(opt_state=step.init(key, batch[0], trained).opt_state)
    return step.update(train_state, key, batch)[0].params


def _replay(recipe: Recipe, train_state: TrainState, batch: tuple[Any, ...], key: Key) -> dict[str, Any]:
    """The checks of everything that a step computes, in its order."""
    options = recipe.options
    trained = Trained(train_state.params, train_state.state)
    seen = batch if options.augment is None else augment_batch(options.augment, key, batch)
    probed = probe_loss(recipe, trained, seen, key)

    def loss(params: PyTree, probes: Any) -> tuple[Array, list[_Check]]:
        return probed.loss(params, probes, lambda call: (_check((call.x, call.params)), _check(call.y)))

    (value, forward), (by_params, by_outputs) = jax.value_and_grad(loss, (0, 1), has_aux=True)(
        trained.params, probed.probes
    )
    # What the dtype may do to gradients, the run itself has said.
    silent = recipe._replace(model=evaluation_model(recipe), options=options._replace(compute_dtype=None))
    return {
        "input": _check(seen),
        "parameters": jax.tree.map(_check, trained.params),
        "forward": forward,
        "loss": _check(value),
        "backward": [_check(each) for each in by_outputs],
        "gradient": jax.tree.map(_check, by_params),
        "update": jax.tree.map(_check, params_after(silent, train_state, batch, key)),
    }
