"""What happens in the layers of a model on a batch: outputs, dead units, saturation, gradients, the size of steps."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from fnn.diagnostics.advice import advice_on
from fnn.diagnostics.layer_table import table
from fnn.kernels.mesh_axes import auto_axes, split_of
from fnn.layer import Layer, Padded
from fnn.layer.padded import values_and_lengths
from fnn.layer.watching import Call, elementary
from fnn.optim.transform import Transform, identity
from fnn.optim.wrappers import global_norm
from fnn.programs import compile as compiled
from fnn.tasks import Task, as_task
from fnn.tasks.task import real_steps
from fnn.train.loop import Recipe
from fnn.train.options import Options
from fnn.train.replay import check_step, inexact, params_after, probe_loss
from fnn.train.step import require_functions, require_model_and_optimizer
from fnn.train.trained import Trained, TrainState
from fnn.typing import Array, Arrays, DType, Key, LossFunction, PenaltyFunction, PyTree

__all__ = ["Diagnosis", "diagnose"]

FLAT = 0.02
"""A slope below this is saturation: of sigmoid where |x| > 3.9, of tanh where |x| > 2.6."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` saw: one entry per layer in each array; prints as a table and what to try.

    - `layers`: the names, in the order in which the layers compute.
    - `mean`, `spread`: of the outputs; the spread is their standard deviation.
    - `zeros`: the share of outputs that are exactly 0.
    - `saturated`: of an elementwise activation, the share of outputs where its slope is below 0.02 and that are not 0.
    - `dead`: of an elementwise activation, the share of units whose slope is 0 for all rows: nothing before learns.
    - `gradient`: norm of the loss's gradient by the outputs.
    - `weight`, `weight_gradient`: norms of the parameters and of the loss's gradient by them.
    - `update`: norm of the optimizer's step relative to that of the parameters; about 1e-3 is usual.

    NaN stands where a layer has no such thing. The padding of `fnn.Padded` outputs is none of them.
    """

    layers: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    mean: Array
    spread: Array
    zeros: Array
    saturated: Array
    dead: Array
    gradient: Array
    weight: Array
    weight_gradient: Array
    update: Array

    @property
    def advice(self) -> list[str]:
        """What is wrong, layer by layer, and what to try; empty if nothing is."""
        return advice_on(self.layers, {name: np.asarray(getattr(self, name)) for name in _COLUMNS})

    def __str__(self) -> str:
        if np.ndim(self.mean) != 1:
            runs = "×".join(map(str, np.shape(self.mean)[:-1]))
            return (
                f"{len(self.layers)} layers of {runs} runs; print one of them: jax.tree.map(lambda leaf: leaf[0], seen)"
            )
        columns = {name: np.asarray(getattr(self, name)) for name in _COLUMNS}
        body = [
            (name, *(_text(column, columns[column][place]) for column in _COLUMNS))
            for place, name in enumerate(self.layers)
        ]
        return "\n".join([table([("layer", *(_HEAD.get(c, c) for c in _COLUMNS))], body, left=1), *self.advice])


_COLUMNS = tuple(field.name for field in dataclasses.fields(Diagnosis) if field.name != "layers")
_HEAD = {"weight_gradient": "its gradient", "update": "step/weight"}
_SHARES = ("zeros", "saturated", "dead")
_OF_OUTPUTS = ("mean", "spread", *_SHARES)


def _text(column: str, value: float) -> str:
    if np.isnan(value):
        return ""
    return f"{value:.0%}" if column in _SHARES else f"{value:.2g}"


def diagnose(
    model: Layer,
    task: Task | LossFunction,
    trained: Trained | TrainState,
    batch: Arrays,
    *,
    key: Key | None = None,
    optimizer: Transform | None = None,
    penalty: PenaltyFunction | None = None,
    compute_dtype: DType | None = None,
) -> Diagnosis:
    """Look into every layer while it computes a batch: is a unit dead, an activation saturated, a gradient vanishing?

    A pure function of arrays: call it in a callback, every n steps of a loop of your own, inside `jit`, or under `vmap`
    over many runs. It costs about two training steps, one more with an optimizer, and the memory of one gradient for
    every output.

    Args:
        model: any layer; what it hides is seen as one.
        task: what the run trains for.
        trained: parameters and state, or a `TrainState`, which brings the optimizer's state along.
        batch: `(x, targets)` or `(x, targets, weights)`, encoded as for `train_step`.
        key: with it the model computes as in training; None as at inference.
        optimizer: also measure the step that it would take; needs the key.
        penalty, compute_dtype: as of the run.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x = jnp.linspace(-1, 1, 8).reshape(8, 1)
        >>> model = fnn.serial(fnn.dense(3), fnn.relu, fnn.dense(1))
        >>> params, state = model.init(jax.random.key(0), x)
        >>> params[0]["bias"] = jnp.array([0.0, -9.0, 0.0])
        >>> seen = fnn.diagnostics.diagnose(model, fnn.losses.mse, fnn.Trained(params, state), (x, x))
        >>> seen.layers[1], round(float(seen.dead[1]), 2), seen.advice[0][:31]
        ('1, relu', 0.33, '1, relu: 33% of units are dead,')
    """
    rule = identity() if optimizer is None else optimizer
    require_model_and_optimizer("diagnose", model, rule)
    require_functions("diagnose", penalty, None)
    if optimizer is not None and key is None:
        raise TypeError("diagnose: a step of the optimizer is one in training; give a key, key=jax.random.key(0)")
    state, batch = check_step("diagnose", trained, batch)
    recipe = Recipe(model, rule, as_task(task), Options(1, penalty=penalty, compute_dtype=compute_dtype))
    return compiled(_diagnose, (recipe, optimizer is not None))(state, batch, key)


def _diagnose(
    given: tuple[Recipe, bool], train_state: TrainState, batch: tuple[Any, ...], key: Key | None
) -> Diagnosis:
    recipe, has_optimizer = given
    trained = Trained(train_state.params, train_state.state)
    probed = probe_loss(recipe, trained, batch, key)

    def loss(params: PyTree, probes: Any) -> tuple[Array, list[dict[str, Array]]]:
        return probed.loss(params, probes, _outputs)

    (_, seen), (by_params, by_outputs) = jax.value_and_grad(loss, (0, 1), has_aux=True)(trained.params, probed.probes)

    def norms(tree: PyTree) -> Array:
        by_path = {path: _norm(own) for path, _layer, own in elementary(recipe.model, tree, trained.state)}
        return jnp.stack([by_path[path] for path in probed.paths])

    weight = norms(trained.params)
    update = jnp.full_like(weight, jnp.nan)
    if has_optimizer and key is not None:
        change = jax.tree.map(jnp.subtract, params_after(recipe, train_state, batch, key), trained.params)
        update = norms(change) / jnp.where(weight > 0, weight, jnp.nan)
    outputs = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seen)
    gradient = jnp.stack([_norm(each) for each in by_outputs])
    return Diagnosis(
        probed.names, **outputs, gradient=gradient, weight=weight, weight_gradient=norms(by_params),
        update=update,
    )  # fmt: skip


def _norm(tree: PyTree) -> Array:
    leaves = inexact(tree)
    return global_norm(leaves).astype(jnp.float32) if leaves else jnp.full([], jnp.nan, jnp.float32)


def _outputs(call: Call) -> dict[str, Array]:
    nothing = jnp.full([], jnp.nan, jnp.float32)
    leaves = [jnp.abs(leaf) if jnp.iscomplexobj(leaf) else leaf for leaf in inexact(call.y) if leaf.size]
    if not leaves:
        return dict.fromkeys(_OF_OUTPUTS, nothing)
    flat = jnp.concatenate([leaf.ravel().astype(jnp.float32) for leaf in leaves])
    real = None
    if isinstance(call.y, Padded):
        real = jnp.broadcast_to(real_steps(call.y, call.y.values.ndim), call.y.values.shape)
    kept = None if real is None else real.ravel()
    mean, spread, zeros = flat.mean(where=kept), flat.std(where=kept), (flat == 0).mean(where=kept)
    return dict(zip(_OF_OUTPUTS, (mean, spread, zeros, *_slopes(call, real, nothing)), strict=True))


def _slopes(call: Call, real: Array | None, nothing: Array) -> tuple[Array, Array]:
    """Shares of saturated outputs and of dead units, if the layer is an elementwise activation; else NaN.

    What it is, its own derivative says: pulled back through an elementwise function, ones give the slopes, and other
    numbers give these numbers times the slopes.
    """
    x, y, layer = values_and_lengths(call.x)[0], values_and_lengths(call.y)[0], call.layer
    alike = [hasattr(leaf, "shape") and jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.size for leaf in (x, y)]
    if not all(alike) or x.shape != y.shape or x.ndim < 2 or layer.facts.random or jax.tree.leaves(call.params):
        return nothing, nothing
    x = x if real is None else jnp.where(real, x, 0)  # whatever stands in the padding
    pull = jax.vjp(lambda v: layer.apply(call.params, call.state, v, **call.options)[0], x)[1]
    slope = pull(jnp.ones_like(y))[0].astype(jnp.float32)
    draw = lambda y: jax.random.uniform(jax.random.key(0), y.shape, jnp.float32, 1, 2).astype(y.dtype)  # noqa: E731
    numbers = auto_axes(draw, PartitionSpec(*split_of(y)))(y)
    expected = slope * numbers.astype(jnp.float32)
    tolerance = 8 * float(jnp.finfo(y.dtype).eps) * jnp.abs(expected)
    elementwise = (jnp.abs(pull(numbers)[0].astype(jnp.float32) - expected) <= tolerance).all()
    saturated = ((jnp.abs(slope) < FLAT) & (y != 0)).mean(where=real)
    dead = (slope == 0).all(axis=tuple(range(x.ndim - 1)), where=real).mean()
    seen = elementwise if real is None else elementwise & real.any()
    return jnp.where(elementwise, saturated, nothing), jnp.where(seen, dead, nothing)
