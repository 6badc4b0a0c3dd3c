"""Recurrent models: sequence classifier, forecaster, language model, encoder and decoder."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.kernels.lstm import LSTMState
from fnn.kernels.lstm import lstm as run_lstm
from fnn.layer import Layer, constructor, serial
from fnn.layers.dense import dense, embedding
from fnn.layers.dropout import dropout as dropout_layer
from fnn.layers.lstm import lstm
from fnn.layers.recurrent import unpadded
from fnn.layers.recurrent_combinators import bidirectional as both_ways
from fnn.layers.recurrent_combinators import stacked, time_distributed
from fnn.typing import Array, ArrayLike, Key, PyTree

__all__ = ["encoder_decoder", "forecaster", "generate", "language_model", "sequence_classifier"]


def _stack(
    where: str,
    features: Sequence[int],
    cell: Callable[..., Layer],
    dropout: ArrayLike | None,
    bidirectional: bool = False,
    last: bool = True,
    **options: Any,
) -> Layer:
    """Recurrent layers of these sizes; all but the last, or all, return every output."""
    if not isinstance(features, Sequence) or not features:
        raise TypeError(f"{where}: expected features to be a sequence of sizes, got {features!r}; write ({features},)")
    sequences = [True] * (len(features) - 1) + [not last]
    layers = [cell(size, return_sequences=s, **options) for size, s in zip(features, sequences, strict=True)]
    return stacked(*([both_ways(layer) for layer in layers] if bidirectional else layers), dropout=dropout)


def _with_dropout(dropout: ArrayLike | None) -> list[Layer]:
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
    body = _stack("sequence_classifier", features, cell, dropout, bidirectional)
    return serial(body, *_with_dropout(dropout), dense(classes))


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
    return serial(_stack("forecaster", features, cell, dropout), *_with_dropout(dropout), dense(outputs))


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
        features: sizes of the recurrent layers.
        embedding_features: size of the vector of each symbol.
        cell: `fnn.lstm`, `fnn.gru`, `fnn.rnn`, or another constructor of that form.
        dropout: rate dropped between the layers and before the logits; None for none.
        stateful: whether each call continues the text of the last one; the parameters are the same either way.

    Returns:
        A layer from integers (batch, time) to logits (batch, time, vocabulary).

    Raises:
        TypeError: if `features` is not a sequence.

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
    body = _stack("language_model", features, cell, dropout, last=False, stateful=stateful)
    return serial(embedding(vocabulary, embedding_features), body, *_with_dropout(dropout), dense(vocabulary))


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

    Raises:
        ValueError: for an empty prompt, a negative temperature or a model that is not stateful.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model, prompt = fnn.models.language_model(50, (32,), stateful=True), jnp.array([[1, 2, 3]])
        >>> params, _ = model.init(jax.random.key(0), prompt)
        >>> fnn.models.generate(model, params, jax.random.key(1), prompt, 20, temperature=0.8, top_k=5).shape
        (1, 20)
    """
    steps = checks.integer("generate", "steps", steps)
    checks.in_range("generate", "temperature", temperature, 0)
    prompt = jnp.asarray(prompt)
    if prompt.ndim != 2 or 0 in prompt.shape or not jnp.issubdtype(prompt.dtype, jnp.integer):
        raise ValueError(f"generate: expected a prompt of integers (batch, time), got {checks.describe(prompt)}")
    state = jax.eval_shape(model.init, key, prompt)[1]
    if not jax.tree.leaves(state):
        raise ValueError("generate: the model forgets between calls; build it with stateful=True, the parameters fit")
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)
    heat = jnp.asarray(temperature, jnp.float32)
    top_k = None if top_k is None else checks.integer("generate", "top_k", top_k)
    return _generate(model, params, state, prompt, jax.random.split(key, steps), heat, top_k)


@functools.partial(jax.jit, static_argnames=("model", "top_k"))
def _generate(
    model: Layer, params: PyTree, state: PyTree, prompt: Array, keys: Array, temperature: Array, top_k: int | None
) -> Array:
    choose = functools.partial(_choose, temperature=temperature, top_k=top_k)
    logits, state = model.apply(params, state, prompt)
    first = choose(keys[0], logits[:, -1]).astype(prompt.dtype)

    def step(carry: tuple[Array, PyTree], key: Key) -> tuple[tuple[Array, PyTree], Array]:
        symbol, state = carry
        logits, state = model.apply(params, state, symbol[:, None])
        return (choose(key, logits[:, 0]).astype(symbol.dtype), state), symbol

    (last, _), drawn = jax.lax.scan(step, (first, state), keys[1:])
    return jnp.concatenate([drawn, last[None]]).T


def _choose(key: Key, logits: Array, *, temperature: Array, top_k: int | None) -> Array:
    """One symbol per row."""
    if top_k is not None:
        least = jax.lax.top_k(logits, min(top_k, logits.shape[-1]))[0][:, -1:]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    heat = temperature.astype(logits.dtype)
    drawn = jax.random.categorical(key, logits / jnp.where(heat > 0, heat, 1))
    return jnp.where(heat > 0, drawn, jnp.argmax(logits, axis=-1))


@constructor
def encoder_decoder(
    features: int,
    outputs: int,
    *,
    steps: int,
    source: Layer | Callable[[Any], Any] | None = None,
    target: Layer | Callable[[Any], Any] | None = None,
    feedback: Callable[[Array], Array] | None = None,
    start: ArrayLike = 0,
) -> Layer:
    """A sequence from a sequence: an LSTM reads the source, another begins in its final state and writes the target.

    On a pair (source, target) the target is what stood before each step (teacher forcing, for training): its first
    step is `start`, then the wanted sequence without its last step. On a source alone the decoder is fed its own
    outputs, `steps` times.

    Parameters: `source`, `target` of those layers, `encoder` and `decoder` as `fnn.lstm`, `output` as `fnn.dense`.

    Args:
        features: size of both LSTMs.
        outputs: values, or logits, per step.
        steps: length of the sequence written without a target.
        source: layer for each step of the source, for instance `fnn.embedding(…)`; None takes it as it is.
        target: layer for each step of the target; None takes it as it is.
        feedback: outputs (batch, outputs) -> the next step's target; None is the outputs themselves. For symbols,
            `lambda y: jnp.argmax(y, -1)`.
        start: the target's value before the first step.

    Returns:
        A layer from a source, or (source, target), to (batch, steps, outputs). The source may be `Padded`.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model, source = fnn.models.encoder_decoder(16, outputs=1, steps=3), jnp.ones((4, 10, 2))
        >>> params, state = model.init(jax.random.key(0), (source, jnp.ones((4, 3, 1))))
        >>> model.apply(params, state, source)[0].shape
        (4, 3, 1)

    References:
        Sutskever, Vinyals and Le, Sequence to Sequence Learning with Neural Networks, 2014.
    """
    steps = checks.integer("encoder_decoder", "steps", steps)
    read, write = (time_distributed(_as_is if layer is None else layer) for layer in (source, target))
    cell, output = lstm(features), dense(outputs)

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        if not _is_pair(x):
            raise ValueError("encoder_decoder: expected the pair (source, target) at init, to know the target's shape")
        keys = iter(jax.random.split(key, 5))
        params: dict[str, PyTree] = {}
        for name, layer, inputs, body in (("source", read, x[0], "encoder"), ("target", write, x[1], "decoder")):
            params[name], kept = layer.init(next(keys), inputs)
            if jax.tree.leaves(kept):
                raise ValueError(f"encoder_decoder: expected a {name} layer without state, got {layer.name}")
            seen = jax.eval_shape(lambda p, v, layer=layer: layer.apply(p, (), v)[0], params[name], inputs)
            params[body] = cell.init(next(keys), seen)[0]
        hidden = jax.ShapeDtypeStruct((1, features), params["encoder"]["kernel"].dtype)
        return params | {"output": output.init(next(keys), hidden)[0]}, ()

    def decode(params: PyTree, target: Any, carry: LSTMState, key: Key | None, train: bool) -> tuple[Array, LSTMState]:
        values = write.apply(params["target"], (), target, key=key, train=train)[0]
        hidden, carry = _lstm(params["decoder"], values, carry)
        return output.apply(params["output"], (), hidden)[0], carry

    def free(params: PyTree, carry: LSTMState, shown: Any) -> Array:
        def step(state: tuple[LSTMState, Array], _: None) -> tuple[tuple[LSTMState, Array], Array]:
            carry, shown = state
            y, carry = decode(params, shown[:, None], carry, None, False)
            y = y[:, 0]
            following = y if feedback is None else feedback(y)
            return (carry, following.astype(shown.dtype)), y

        return jax.lax.scan(step, (carry, shown), None, length=steps)[1].swapaxes(0, 1)

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        first, second = (None, None) if key is None else tuple(jax.random.split(key))
        inputs = x[0] if _is_pair(x) else x
        seen = read.apply(params["source"], (), inputs, key=first, train=train)[0]
        values, lengths = unpadded(seen)
        carry = _lstm(params["encoder"], values, None, lengths=lengths, return_sequences=False)[1]
        if _is_pair(x):
            return decode(params, x[1], carry, second, train)[0], state
        y = jax.ShapeDtypeStruct((values.shape[0], outputs), values.dtype)
        shown = y if feedback is None else jax.eval_shape(feedback, y)
        return free(params, carry, jnp.full(shown.shape, start, shown.dtype)), state

    return Layer(init, apply)


def _as_is(x: Any) -> Any:
    return x


def _is_pair(x: Any) -> bool:
    return type(x) is tuple and len(x) == 2


def _lstm(params: PyTree, x: Array, carry: LSTMState | None, **options: Any) -> tuple[Array, LSTMState]:
    return run_lstm(x, params["kernel"], params["recurrent_kernel"], params["bias"], carry, **options)
