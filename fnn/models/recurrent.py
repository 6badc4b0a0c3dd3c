"""Models of sequences: classifier, forecaster, the language model and sampling from it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, random_bits
from fnn.layer import Layer, constructor, serial
from fnn.layer.protocol import require_layer
from fnn.layers.dense import dense, embedding
from fnn.layers.dropout import dropout as dropout_layer
from fnn.layers.lstm import lstm
from fnn.layers.recurrent_combinators import bidirectional as both_ways
from fnn.layers.recurrent_combinators import stacked
from fnn.precision import widen
from fnn.typing import Array, ArrayLike, Key, PyTree

__all__ = ["forecaster", "generate", "language_model", "sequence_classifier"]


def _recurrent_layers(
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


def _final_dropout(dropout: ArrayLike | None) -> list[Layer]:
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
        dropout: rate dropped between the layers and before the last one; None for none.

    Returns:
        A layer from (batch, time, in), or `Padded`, to logits (batch, classes).

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.models.sequence_classifier(10, (16, 16), cell=fnn.gru, bidirectional=True)
        >>> params, state = model.init(jax.random.key(0), jnp.ones((4, 8, 8)))
        >>> model.apply(params, state, jnp.ones((4, 8, 8)))[0].shape
        (4, 10)
    """
    classes = checks.integer("sequence_classifier", "classes", classes)
    body = _recurrent_layers("sequence_classifier", features, cell, dropout, bidirectional)
    return serial(body, *_final_dropout(dropout), dense(classes))


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

    Arguments that are not listed are those of `sequence_classifier`.

    Returns:
        A layer from (batch, time, in), or `Padded`, to (batch, outputs).

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.models.forecaster(outputs=3)
        >>> params, state = model.init(jax.random.key(0), jnp.ones((4, 12, 1)))
        >>> model.apply(params, state, jnp.ones((4, 12, 1)))[0].shape
        (4, 3)
    """
    outputs = checks.integer("forecaster", "outputs", outputs)
    return serial(_recurrent_layers("forecaster", features, cell, dropout), *_final_dropout(dropout), dense(outputs))


@constructor
def language_model(
    vocabulary: int,
    features: Sequence[int] = (256,),
    *,
    embedding_features: int = 64,
    cell: Callable[..., Layer] = lstm,
    dropout: ArrayLike | None = None,
    stateful: bool = False,
) -> Layer:
    r"""The next symbol at every step: $P(s_{t+1} \mid s_1 … s_t) = softmax(y_t)$.

    An embedding, recurrent layers, a dense layer of logits. Train it on windows of text with
    `fnn.losses.softmax_cross_entropy`, targets one step ahead; `fnn.models.generate` samples from it.

    Args:
        vocabulary: number of symbols; they are integers from 0.
        embedding_features: size of the vector of each symbol.
        stateful: whether each call continues the text of the last one; the parameters are the same either way.

    Arguments that are not listed are those of `sequence_classifier`.

    Returns:
        A layer from integers (batch, time) to logits (batch, time, vocabulary).

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.models.language_model(50, (32,))
        >>> params, state = model.init(jax.random.key(0), jnp.zeros((2, 10), jnp.int32))
        >>> model.apply(params, state, jnp.zeros((2, 10), jnp.int32))[0].shape
        (2, 10, 50)

    References:
        Mikolov et al., Recurrent Neural Network Based Language Model, 2010. Graves, Generating Sequences With Recurrent
        Neural Networks, 2013.
    """
    vocabulary = checks.integer("language_model", "vocabulary", vocabulary)
    embedding_features = checks.integer("language_model", "embedding_features", embedding_features)
    body = _recurrent_layers("language_model", features, cell, dropout, last=False, stateful=stateful)
    return serial(embedding(vocabulary, embedding_features), body, *_final_dropout(dropout), dense(vocabulary))


def generate(
    model: Layer,
    params: PyTree,
    key: Key,
    prompt: Array,
    steps: int,
    *,
    temperature: ArrayLike = 1.0,
    top_k: int | None = None,
) -> Array:
    r"""Continue a text: $s_{t+1} \sim softmax(y_t / T)$, each symbol fed back as the next input.

    Args:
        model: a language model built with `stateful=True`; its parameters may come from one built without.
        params: its parameters.
        key: random key; the same key gives the same text.
        prompt: integers (batch, time), at least one step.
        steps: how many symbols to add.
        temperature: $T$; 0 takes the most probable symbol. It may be traced.
        top_k: draw among the k most probable symbols only.

    Returns:
        Integers (batch, steps), the continuation without the prompt.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model, prompt = fnn.models.language_model(50, (32,), stateful=True), jnp.array([[1, 2, 3]])
        >>> params, _ = model.init(jax.random.key(0), prompt)
        >>> fnn.models.generate(model, params, jax.random.key(1), prompt, 20, temperature=0.8, top_k=5).shape
        (1, 20)
    """
    require_layer("generate", model)
    key = checks.random_key("generate", key)
    steps = checks.integer("generate", "steps", steps)
    checks.in_range("generate", "temperature", temperature, 0, math.inf)
    prompt = checks.cast("generate", "prompt", prompt)
    if prompt.ndim != 2 or 0 in prompt.shape or not jnp.issubdtype(prompt.dtype, jnp.integer):
        raise ValueError(f"generate: expected a prompt of integers (batch, time), got {checks.describe(prompt)}")
    state = jax.eval_shape(model.init, key, prompt)[1]
    if not jax.tree.leaves(state):
        raise ValueError("generate: the model forgets between calls; build it with stateful=True, the parameters fit")
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)
    heat = jnp.asarray(temperature, jnp.float32)
    top_k = None if top_k is None else checks.integer("generate", "top_k", top_k)
    text, lost = _generate(model, params, state, prompt, random_bits.split(key, steps), heat, top_k)
    if checks.is_concrete(lost) and lost.is_fully_addressable and (rows := np.flatnonzero(lost)).size:
        raise ValueError(
            f"generate: the logits after row {rows[0]} of the prompt are NaN; expected symbols of the vocabulary and "
            "parameters without NaN"
        )
    return text


@functools.partial(jax.jit, static_argnames=("model", "top_k"))
def _generate(
    model: Layer, params: PyTree, state: PyTree, prompt: Array, keys: Array, temperature: Array, top_k: int | None
) -> tuple[Array, Array]:
    """The continuation, and whether there is none for a row: of NaN any symbol would be the most probable one."""
    choose = functools.partial(_choose, temperature=temperature, top_k=top_k)
    logits, state = model.apply(params, state, prompt)
    dtype = prompt.dtype if logits.shape[-1] - 1 <= jnp.iinfo(prompt.dtype).max else jnp.dtype(jnp.int32)
    lost = jnp.isnan(logits[:, -1]).any(-1)
    first = choose(keys[0], logits[:, -1]).astype(dtype)

    def step(carry: tuple[Array, PyTree], key: Key) -> tuple[tuple[Array, PyTree], Array]:
        symbol, state = carry
        logits, state = model.apply(params, state, symbol[:, None])
        return (choose(key, logits[:, 0]).astype(symbol.dtype), state), symbol

    (last, _), drawn = jax.lax.scan(step, (first, state), keys[1:])
    return jnp.concatenate([drawn, last[None]]).T, lost


def _choose(key: Key, logits: Array, *, temperature: Array, top_k: int | None) -> Array:
    """One symbol per row."""
    logits = widen(logits)  # noise drawn in 16 bits has ties, which the first symbols win
    if top_k is not None:
        least = jax.lax.top_k(logits, min(top_k, logits.shape[-1]))[0][:, -1:]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    heat = temperature.astype(logits.dtype)
    drawn = jax.random.categorical(key, logits / jnp.where(heat > 0, heat, 1))
    return jnp.where(heat > 0, drawn, jnp.argmax(logits, axis=-1))
