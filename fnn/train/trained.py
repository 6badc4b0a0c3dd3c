"""What a trained model consists of, and whether what was given is this model's."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.layer import Layer
from fnn.layer.arguments import output_and_state
from fnn.layer.naming import owner_of
from fnn.optim.transform import eval_params
from fnn.typing import PyTree

__all__ = ["TrainState", "Trained"]


class Trained(NamedTuple):
    """What a trained model consists of: `params` and `state`, two pytrees.

    Example:
        >>> import fnn
        >>> fnn.Trained(params=(), state=())
        Trained(params=(), state=())
    """

    params: PyTree
    state: PyTree


class TrainState(NamedTuple):
    """Everything that changes while a model trains: `params`, `state` and `opt_state`.

    Example:
        >>> import fnn
        >>> fnn.TrainState(params=(), state=(), opt_state=()).trained
        Trained(params=(), state=())
    """

    params: PyTree
    state: PyTree
    opt_state: PyTree

    @property
    def trained(self) -> Trained:
        """What to predict with: the parameters that the optimizer evaluates with, `fnn.optim.eval_params`."""
        return Trained(eval_params(self.opt_state, self.params), self.state)


def as_trained(where: str, given: Any) -> Trained:
    """Parameters and state, of a `TrainState` those to evaluate with."""
    if isinstance(given, TrainState):
        return given.trained
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise TypeError(f"{where}: expected Trained(params, state), got {checks.describe(given)}")
    checks.leaves(where, given)
    return Trained(*given)


def apply_trained(model: Layer, trained: Trained, x: PyTree) -> PyTree:
    """What the model gives at inference."""
    return output_and_state(model.apply(trained.params, trained.state, x))[0]


def check_trained(where: str, model: Layer, given: Trained, x: PyTree) -> None:
    """Require parameters and state of the structure, shapes and kinds of number that this model has for `x`.

    Only shapes and dtypes are looked at, so inside `jit` it costs nothing once compiled. A size that follows the batch
    (of a stateful recurrent layer) is not compared, nor the precision: float32 parameters compute in bfloat16. The
    error names the first layer that differs, and both shapes.
    """
    try:
        like, other = (jax.eval_shape(model.init, jax.random.key(0), shapes_of(x, rows)) for rows in (2, 3))
    except Exception:  # it begins with other inputs than these, as `encoder_decoder`: there is nothing to compare with
        return
    for place, what in enumerate(("params", "state")):
        expected, varying, came = (
            dict(jax.tree.leaves_with_path(tree)) for tree in (like[place], other[place], given[place])
        )
        paths = (*expected, *(path for path in came if path not in expected))
        complaints = {path: _complaint(expected.get(path), varying.get(path), came.get(path)) for path in paths}
        if wrong := [path for path in paths if complaints[path]]:
            # Of the first layer that differs the leaf that says most: a kernel rather than a bias.
            beside = [path for path in wrong if path[:-1] == wrong[0][:-1]]
            path = max(beside, key=lambda path: jnp.ndim(expected.get(path, 0)))
            batch = f"; {checks.ONE_EXAMPLE}" if _is_one_example(model, given, x) else ""
            text = f"{where}: {owner_of(model, path, place).text(what)} {complaints[path]} for x {checks.describe(x)}"
            other = ", or fnn.transfer(key, model, x, trained).start of another's" if where == "start" else ""
            raise ValueError(f"{text}; give what this model's init, fit or trainer returned for such x{other}{batch}")
        structures: list[Any] = [jax.tree.structure(tree) for tree in (like[place], given[place])]
        if structures[0] != structures[1]:
            raise ValueError(f"{where}: expected {what} of the structure {structures[0]}, got {structures[1]}")


def _is_one_example(model: Layer, given: Trained, x: PyTree) -> bool:
    """Whether parameters and state are those for `x` with a batch axis before its own."""
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *jnp.shape(leaf)), jnp.result_type(leaf)), x)
    try:
        like = Trained(*jax.eval_shape(model.init, jax.random.key(0), batch))
    except Exception:  # of other inputs than it begins with
        return False
    return bool(jax.tree.map(jnp.shape, like) == jax.tree.map(jnp.shape, given))


def shapes_of(x: PyTree, rows: int) -> PyTree:
    """Inputs of so many rows, without numbers."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((rows, *jnp.shape(leaf)[1:]), jnp.result_type(leaf)), x)


def _complaint(expected: Any, varying: Any, came: Any) -> str | None:
    if expected is None:
        return f"is not this model's: expected none, got {checks.describe(came)}"
    if came is None:
        return f"is missing: expected {checks.describe(expected)}, got none"
    shape = jnp.shape(came)
    fits = fits_shape(shape, expected.shape, varying.shape)
    dtype = getattr(came, "dtype", None) or jnp.result_type(came)
    if fits and _kind(dtype) == _kind(expected.dtype):
        return None
    return f"is {checks.describe(expected)}, got {checks.describe(jax.ShapeDtypeStruct(shape, dtype))}"


def fits_shape(shape: tuple[int, ...], expected: tuple[int, ...], varying: tuple[int, ...]) -> bool:
    """Whether it is the expected one, but for sizes that follow the batch: those in which the `varying` one differs."""
    sizes = zip(shape, expected, varying, strict=False)
    return len(shape) == len(expected) and all(n == size or size != other for n, size, other in sizes)


def _kind(dtype: Any) -> Any:
    kinds = (jnp.floating, jnp.complexfloating, jnp.integer)
    return next((kind for kind in kinds if jnp.issubdtype(dtype, kind)), dtype)
