"""Recurrent layers together: both directions, several on top of each other, and any layer at every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.kernels.recurrence.sequences import reverse_sequences
from fnn.layer import Facts, Layer, as_layer, concatenate, parallel, serial
from fnn.layer.arguments import output_and_state
from fnn.layer.combinators import MERGE, Merge
from fnn.layer.padded import values_and_lengths, with_lengths_of, zero_padding
from fnn.layer.parts import any_layer, count_rows
from fnn.layer.protocol import LayerLike
from fnn.layers.dropout import dropout as dropout_layer
from fnn.layers.dropout import variational_dropout
from fnn.typing import ArrayLike, Key, PyTree

__all__ = ["bidirectional", "stacked", "time_distributed"]


def bidirectional(forward: Layer, backward: Layer | None = None, *, merge: Merge = concatenate) -> Layer:
    r"""A recurrent layer run in both directions: $y_t = [\overrightarrow{h}_t, \overleftarrow{h}_t]$.

    The backward direction starts at each sequence's own end, and its outputs stand at the steps they belong to. Where
    the layers return only their last output, both ends are merged. With `concatenate` there are 2·features.

    Parameters: a tuple, those of `forward` and those of `backward`.

    Args:
        forward: a recurrent layer.
        backward: another, which sees each sequence reversed; None is a layer like `forward` with parameters of its own.
        merge: pair of outputs -> output; `fnn.concatenate` joins the features, `sum` adds.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer = fnn.bidirectional(fnn.gru(4, return_sequences=True))
        >>> params, state = layer.init(jax.random.key(0), jnp.ones((8, 5, 3)))
        >>> layer.apply(params, state, jnp.ones((8, 5, 3)))[0].shape
        (8, 5, 8)

    References:
        Schuster and Paliwal, Bidirectional Recurrent Neural Networks, 1997.
    """
    checks.instance("bidirectional", "merge", merge, Callable, MERGE, "write fnn.concatenate")
    forward = as_layer(forward)
    backward = forward if backward is None else as_layer(backward)

    def merge_values(pair: tuple[Any, ...]) -> Any:
        return with_lengths_of(pair[0], merge(tuple(values_and_lengths(y)[0] for y in pair)))

    both = parallel(forward, _backwards(backward), merge=merge_values)
    return both._replace(
        name=f"bidirectional({forward.name})",
        parts=(forward, backward),
        rebuild=lambda new: bidirectional(*new, merge=merge),
    )


def _backwards(layer: Layer) -> Layer:
    """The layer on reversed sequences, its outputs put back in order."""

    def reverse(x: Any) -> Any:
        values, lengths = values_and_lengths(x)
        return with_lengths_of(x, reverse_sequences(values, lengths))

    def apply(params: PyTree, state: PyTree, x: Any, /, **options: Any) -> tuple[Any, PyTree]:
        y, state = output_and_state(layer.apply(params, state, reverse(x), **options))
        return (reverse(y) if jnp.ndim(values_and_lengths(y)[0]) == 3 else y), state

    return layer._replace(apply=apply)


def stacked(*layers: Layer, dropout: ArrayLike | None = None, variational: bool = False) -> Layer:
    """`serial` of recurrent layers, with dropout between them.

    Args:
        *layers: each but the last with `return_sequences=True`.
        dropout: rate dropped in training from the outputs of each layer but the last; None for none.
        variational: whether one draw serves all steps of a sequence.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer = fnn.stacked(fnn.lstm(8, return_sequences=True), fnn.lstm(4), dropout=0.2)
        >>> params, state = layer.init(jax.random.key(0), jnp.ones((8, 5, 3)))
        >>> layer.apply(params, state, jnp.ones((8, 5, 3)))[0].shape
        (8, 4)

    References:
        Zaremba et al., Recurrent Neural Network Regularization, 2014. Gal and Ghahramani, 2016, variational dropout.
    """
    checks.at_least_one("stacked", "layer", len(layers))
    checks.flags("stacked", variational=variational)
    between = [] if dropout is None else [_on_values((variational_dropout if variational else dropout_layer)(dropout))]
    parts: list[Layer] = [as_layer(layers[0])]
    for layer in layers[1:]:
        parts += [*between, as_layer(layer)]
    return serial(*parts)._replace(name=f"stacked({len(layers)} layers)")


def _on_values(layer: Layer) -> Layer:
    """The layer on the values of padded sequences, lengths passed on."""

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        return layer.init(key, values_and_lengths(x)[0])

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        found = layer.apply(params, state, values_and_lengths(x)[0], key=key, train=train)
        values, state = output_and_state(found)
        return with_lengths_of(x, values), state

    return layer._replace(init=init, apply=apply)


def time_distributed(layer: LayerLike) -> Layer:
    """One layer at every time step of (batch, time, …): the time axis joins the batch, and comes back.

    Of `Padded` sequences the layer sees 0 in the padding, and statistics over the batch (batch norm) count it.

    Args:
        layer: a layer for (batch, …), or a bare function.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer = fnn.time_distributed(fnn.serial(fnn.flatten(), fnn.dense(2)))
        >>> params, state = layer.init(jax.random.key(0), jnp.ones((8, 5, 4, 4)))
        >>> layer.apply(params, state, jnp.ones((8, 5, 4, 4)))[0].shape
        (8, 5, 2)
    """
    layer = as_layer(layer)

    def fold(x: Any) -> Any:
        checks.least_rank("time_distributed", "x", x, 2, "(batch, time, ...)")
        shape = (x.shape[0] * x.shape[1], *x.shape[2:])
        return jax.ShapeDtypeStruct(shape, x.dtype) if isinstance(x, jax.ShapeDtypeStruct) else jnp.reshape(x, shape)

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        return layer.init(key, fold(values_and_lengths(x)[0]))

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        values, lengths = values_and_lengths(x)
        if lengths is not None:
            values = zero_padding("time_distributed", jnp.asarray(values), lengths)
        y, state = output_and_state(layer.apply(params, state, fold(values), key=key, train=train))
        return with_lengths_of(x, jax.tree.map(lambda a: a.reshape(*values.shape[:2], *a.shape[1:]), y)), state

    def over_rows(where: Any) -> Layer:
        def apply_over_rows(params: PyTree, state: PyTree, x: Any, /, **options: Any) -> tuple[Any, PyTree]:
            steps = values_and_lengths(x)[0].shape[1]
            return time_distributed(count_rows(layer, jnp.repeat(where, steps))).apply(params, state, x, **options)

        return whole._replace(apply=apply_over_rows)

    facts = Facts(ends_in=layer.facts.ends_in, linear=layer.facts.linear, places=(((), ()),))
    name = f"time_distributed({layer.name})"
    whole = Layer(init, apply, name, (layer,), lambda new: time_distributed(new[0]), facts)
    counts = any_layer(layer, lambda inner: inner.over_rows is not None)
    return whole._replace(facts=facts._replace(over_rows=over_rows)) if counts else whole
