"""Raw targets as arrays, with a clear error on wrong ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.losses.labels import full_width
from fnn.typing import Array


def require_width(name: str, argument: str, x: Any, width: int) -> None:
    """Require "outputs" or "targets" with so many columns."""
    if x.ndim < 2 or x.shape[-1] != width:
        repair = f"end the model in dense({width})" if argument == "outputs" else ""
        raise checks.wrong_shape(name, argument, f"(batch, {width}) or (batch, …, {width})", x.shape, repair)


def require_class_weights(name: str, weights: Any, classes: int) -> None:
    """Require one number per class, or None."""
    if weights is None:
        return
    if isinstance(weights, dict):
        repair = f"write class_weights={[weights.get(k, 1.0) for k in range(classes)]}"
    elif isinstance(weights, str):
        repair = 'write len(y) / (classes * numpy.bincount(y)); cross_validate takes class_weight="balanced"'
    elif np.shape(weights) != (classes,):
        repair = f"got shape {np.shape(weights)}"
    else:
        checks.in_range(name, "class_weights", checks.as_numbers(name, "class_weights", weights), 0)
        return
    came = repr(weights) if isinstance(weights, dict | str) else type(weights).__name__
    raise ValueError(f"{name}: expected class_weights, one number for each of {classes} classes, got {came}; {repair}")


def are_several(targets: Any) -> bool:
    """Whether they are arrays by name, in a dict or a named tuple; a tuple and a list are rows, as NumPy reads them."""
    return isinstance(targets, dict) or (isinstance(targets, tuple) and hasattr(targets, "_fields"))


def map_targets(function: Callable[[str, Any], Any], targets: Any) -> Any:
    """`function(name, array)` of the targets, or of each of several."""
    if not are_several(targets):
        return function("targets", targets)
    each = lambda path, leaf: function(f"targets{jax.tree_util.keystr(path)}", leaf)  # noqa: E731
    return jax.tree.map_with_path(each, targets, is_leaf=lambda node: isinstance(node, list))


def are_class_numbers(targets: Any) -> bool:
    """Whether they are one integer for each row."""
    return getattr(targets, "ndim", None) == 1 and jnp.issubdtype(targets.dtype, jnp.integer)


CODES = "write labels, targets = numpy.unique(targets, return_inverse=True)"


def numbers(name: str, targets: Any) -> Any:
    """Targets in the dtype they came in, all of them finite, or a message for what cannot be one."""
    if are_several(targets):
        raise TypeError(
            f"{name}: expected one array of targets, got {checks.describe(targets)}; several are for a loss function "
            "in the task's place, loss(outputs, targets)"
        )
    targets = checks.as_numbers(name, "targets", targets, CODES)
    host = checks.to_host(targets)
    if isinstance(host, np.ndarray) and jnp.issubdtype(host.dtype, jnp.floating) and not np.isfinite(host).all():
        raise ValueError(
            f"{name}: targets contain NaN or infinity, first at row {int(np.argwhere(~np.isfinite(host))[0, 0])}"
        )
    return targets


def classes_of(name: str, targets: Any, classes: int, hint: str, ignore_index: int | None = None) -> Array:
    """One class per row, or one at every step or pixel of it, of which some may not count: the hint says how."""
    targets = numbers(name, targets)
    if not targets.ndim:
        raise checks.wrong_shape(name, "targets", "(batch,) or (batch, …)", ())
    targets = targets[:, 0] if targets.ndim == 2 and targets.shape[-1] == 1 else targets
    return whole_numbers(name, targets, classes, hint * (targets.ndim > 1), ignore_index)


ARGMAX = "write targets.argmax(axis=-1) for one-hot rows"


def like_outputs(name: str, outputs: Array, targets: Array, classes: int) -> Array:
    """The targets, one for each row of scores, or as many: shares of every class, as mixing makes them."""
    require_width(name, "outputs", outputs, classes)
    batch = outputs.shape[:-1]
    if jnp.issubdtype(targets.dtype, jnp.floating):
        if targets.shape == outputs.shape:
            return targets
        if targets.shape == batch:
            came = f"{checks.describe(targets)}; write targets.astype(int)"
            raise TypeError(f"{name}: expected targets to be integers, or shares of every class, got {came}")
    elif targets.shape == batch or (targets.shape == batch[:1] and math.prod(batch[1:]) == 1):
        return full_width(targets).reshape(batch)
    if targets.shape == outputs.shape:
        repair = ARGMAX
    elif targets.shape == (*batch, 1):
        repair = "write targets[..., 0]"
    else:
        repair = misfit(targets.ndim, len(batch))
    raise checks.wrong_shape(name, "targets", batch, targets.shape, repair)


def misfit(ndim: int, expected: int) -> str:
    """What to write where the targets have more or fewer axes than the outputs want."""
    if ndim > expected:
        return (
            "a row has one row of outputs; for outputs at every step write return_sequences=True in the last layer "
            "before dense"
        )
    some = "one row of outputs comes of flatten(), of global_avg_pool() or of the last step"
    return some if ndim < expected else ""


def whole_numbers(name: str, targets: Any, classes: int, hint: str = "", ignore_index: int | None = None) -> Array:
    """Integer classes in [0, classes) of any shape; float arrays that hold whole numbers are accepted."""
    host = checks.to_host(targets)
    if isinstance(host, np.ndarray) and not _are_classes(host, classes):
        # In the dtype they came in: as int32, 2**32 + 5 would be class 5.
        wrong = (host != np.round(host)) | (host < 0) | (host >= classes) if host.dtype != bool else host > classes
        if ignore_index is not None:
            wrong &= host != ignore_index
        if wrong.any():
            place = tuple(np.argwhere(wrong)[0])
            left_out = hint and host[place] == np.round(host[place])
            repair = hint.format(int(host[place])) if left_out else CODES
            raise checks.no_class(name, "classes", classes, host[place], checks.place_of(targets, place), repair)
    # Without the dtype, JAX compiles a program of its own for every shape that comes.
    return jnp.asarray(targets if isinstance(targets, jax.Array) else host.astype(np.int32), jnp.int32)


def _are_classes(host: np.ndarray, classes: int) -> bool:
    """Whether these integers all are, looked at without an array of answers: a stream asks for every batch."""
    return host.dtype.kind in "iu" and host.size > 0 and host.min() >= 0 and bool(host.max() < classes)


def values_of(name: str, targets: Any, width: int) -> Array:
    """So many values per row, or at every step of it; where it is one, it needs no axis."""
    array = numbers(name, targets)
    if array.ndim == 1 and width == 1:
        array = array[:, None]
    if array.ndim < 2 or width != 1:
        require_width(name, "targets", array, width)
    floating = jnp.issubdtype(array.dtype, jnp.floating)
    return checks.cast(name, "targets", array, array.dtype if floating else float, distinct=True)


def as_they_are(targets: Any) -> Any:
    """Targets of a loss that says itself what it takes: NaN may stand for a missing one."""
    return map_targets(lambda name, array: checks.cast("the loss", name, array, distinct=True), targets)
