"""Models of whole sequences: classifier and forecaster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fnn import checks
from fnn.layer import Layer, constructor, serial
from fnn.layers.dense import dense
from fnn.layers.dropout import dropout as dropout_layer
from fnn.layers.lstm import lstm
from fnn.layers.recurrent_combinators import bidirectional as both_ways
from fnn.layers.recurrent_combinators import stacked
from fnn.typing import ArrayLike

__all__ = ["forecaster", "sequence_classifier"]


def recurrent_layers(
    where: str,
    features: Sequence[int],
    cell: Callable[..., Layer],
    dropout: ArrayLike | None,
    bidirectional: bool = False,
    last: bool = True,
    **options: Any,
) -> Layer:
    """Recurrent layers of these sizes; all but the last, or all, return every output."""
    features = checks.sequence(where, "features", features, "sizes", some=True)
    checks.instance(where, "cell", cell, Callable, "a function features -> layer", "write cell=fnn.lstm")
    sequences = [True] * (len(features) - 1) + [not last]
    layers = [cell(size, return_sequences=s, **options) for size, s in zip(features, sequences, strict=True)]
    return stacked(*([both_ways(layer) for layer in layers] if bidirectional else layers), dropout=dropout)


def final_dropout(dropout: ArrayLike | None) -> list[Layer]:
    """The dropout before the dense layer, where there is one."""
    return [] if dropout is None else [dropout_layer(dropout)]


@constructor
def sequence_classifier(
    classes: int,
    features: Sequence[int] = (64,),
    *,
    cell: Callable[..., Layer] = lstm,
    bidirectional: bool = False,
    dropout: ArrayLike | None = None,
) -> Layer:
    """One class for each sequence: recurrent layers, the last output, a dense layer of logits.

    Args:
        classes: number of classes.
        features: sizes of the recurrent layers.
        cell: `fnn.lstm`, `fnn.gru`, `fnn.rnn`, or another constructor of that form.
        bidirectional: whether each layer runs in both directions.
        dropout: rate dropped between the layers and before the logits; None for none.

    Returns:
        A layer from (batch, time, in), or `Padded`, to logits (batch, classes).

    Raises:
        TypeError: if `features` is not a sequence.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.models.sequence_classifier(10, (16, 16), cell=fnn.gru, bidirectional=True)
        >>> params, state = model.init(jax.random.key(0), jnp.ones((4, 8, 8)))
        >>> model.apply(params, state, jnp.ones((4, 8, 8)))[0].shape
        (4, 10)
    """
    classes = checks.integer("sequence_classifier", "classes", classes)
    body = recurrent_layers("sequence_classifier", features, cell, dropout, bidirectional)
    return serial(body, *final_dropout(dropout), dense(classes))


@constructor
def forecaster(
    outputs: int = 1,
    features: Sequence[int] = (64,),
    *,
    cell: Callable[..., Layer] = lstm,
    dropout: ArrayLike | None = None,
) -> Layer:
    """Values from each sequence: recurrent layers, the last output, a dense layer.

    With `fnn.tasks.regression` the outputs are the next values (of one or several horizons); with the quantile task,
    the quantiles of the next value.

    Args:
        outputs: values per sequence.
        features: sizes of the recurrent layers.
        cell: `fnn.lstm`, `fnn.gru`, `fnn.rnn`, or another constructor of that form.
        dropout: rate dropped between the layers and before the dense layer; None for none.

    Returns:
        A layer from (batch, time, in), or `Padded`, to (batch, outputs).

    Raises:
        TypeError: if `features` is not a sequence.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.models.forecaster(outputs=3)
        >>> params, state = model.init(jax.random.key(0), jnp.ones((4, 12, 1)))
        >>> model.apply(params, state, jnp.ones((4, 12, 1)))[0].shape
        (4, 3)
    """
    outputs = checks.integer("forecaster", "outputs", outputs)
    return serial(recurrent_layers("forecaster", features, cell, dropout), *final_dropout(dropout), dense(outputs))
