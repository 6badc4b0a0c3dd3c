"""Sequences of different lengths, and the layers that compute every step of them alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.export import register_namedtuple_serialization

from fnn import checks
from fnn.kernels.recurrence.sequences import Layout, valid_steps
from fnn.layer.arguments import MISSING, output_and_state, require_apply, require_init
from fnn.typing import Array, Key, PyTree

if TYPE_CHECKING:
    from fnn.layer.protocol import Layer

__all__ = ["Padded"]


class Padded(NamedTuple):
    """Sequences of different lengths in one array: `values` (batch, time, …) and `lengths` (batch,) integers.

    Recurrent layers take one wherever they take an array: padding changes no output, state or gradient. A layer with
    `return_sequences=True` passes the lengths on, and so do layers that compute every step alone: `dense`, `embedding`,
    dropout, norms over the last axis, activations; `fnn.time_distributed` makes one of any other. Its leaves have the
    batch first, so that it can be trained on as `x`.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> words = fnn.Padded(jnp.array([[3, 1, 4], [1, 0, 0]]), jnp.array([3, 1]))
        >>> model = fnn.serial(fnn.embedding(5, 8), fnn.lstm(4, return_sequences=True), fnn.dense(2))
        >>> params, state = model.init(jax.random.key(0), words)
        >>> y, state = model.apply(params, state, words)
        >>> y.values.shape, y.lengths.tolist()
        ((2, 3, 2), [3, 1])
    """

    values: Array
    lengths: Array

    def __add__(self, other: Any) -> Any:
        """Refuse it: of tuples it would be another tuple; so is `sum`, which begins with 0, and a product."""
        raise TypeError("fnn.Padded: expected arithmetic of arrays; write x._replace(values=…x.values…)")

    __radd__ = __mul__ = __rmul__ = __add__  # type: ignore[misc]


register_namedtuple_serialization(Padded, serialized_name="fnn.Padded")


def values_and_lengths(x: Any) -> tuple[Any, Any]:
    """Values and lengths; None where all sequences are as long as the time axis."""
    return (x.values, x.lengths) if isinstance(x, Padded) else (x, None)


def with_lengths_of(x: Any, values: Any) -> Any:
    """`values` with the lengths of `x`."""
    return Padded(values, x.lengths) if isinstance(x, Padded) else values


def zero_padding(where: str, values: Array, lengths: Any) -> Array:
    """Values, 0 in the padding: NaN there, times a gradient of 0, would be NaN in the gradient of a kernel."""
    valid = valid_steps(where, Layout(values.shape[0], values.shape[1]), lengths, None)
    return values if valid is None else jnp.where(lax.expand_dims(valid, range(2, values.ndim)), values, 0)


def step_by_step(name: str, layer: Layer) -> Layer:
    """The layer, that takes `Padded` too, with 0 in the padding, and passes the lengths on."""

    def init(key: Key, x: Any = MISSING, /) -> tuple[PyTree, PyTree]:
        if x is MISSING:
            require_init(key, x)
        if isinstance(x, Padded):
            _require_features(name, x.values)
        return layer.init(key, values_and_lengths(x)[0])

    def apply(
        params: PyTree, state: PyTree, x: Any = MISSING, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        require_apply(x)
        if not isinstance(x, Padded):
            return layer.apply(params, state, x, key=key, train=train)
        _require_features(name, x.values)
        values = zero_padding(name, checks.cast(name, "x", x.values), x.lengths)
        y, state = output_and_state(layer.apply(params, state, values, key=key, train=train))
        return Padded(y, x.lengths), state

    return layer._replace(init=init, apply=apply)


def _require_features(name: str, values: Any) -> None:
    """Of (batch, time) numbers the last axis is time, which would be taken for the features; integers are places."""
    if len(values.shape) < 2 + jnp.issubdtype(values.dtype, jnp.inexact):
        raise ValueError(
            f"{name}: expected fnn.Padded values of (batch, time, features), got {checks.describe(values)}; "
            "write fnn.Padded(values[..., None], lengths) for one feature"
        )
