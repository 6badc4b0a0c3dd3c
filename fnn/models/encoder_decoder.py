"""Encoder and decoder: a sequence from a sequence."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks, random_bits
from fnn.kernels.recurrence.lstm import LSTMState
from fnn.kernels.recurrence.lstm import lstm as run_lstm
from fnn.layer import Facts, Layer, as_layer, constructor
from fnn.layer.padded import values_and_lengths
from fnn.layer.protocol import IDENTITY, LayerLike
from fnn.layers.dense import dense
from fnn.layers.lstm import lstm
from fnn.layers.recurrent_combinators import time_distributed
from fnn.typing import Array, ArrayLike, Key, PyTree

__all__ = ["encoder_decoder"]


@constructor
def encoder_decoder(
    features: int,
    outputs: int,
    *,
    steps: int,
    source: LayerLike | None = None,
    target: LayerLike | None = None,
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
    given = (("features", features), ("outputs", outputs), ("steps", steps))
    features, outputs, steps = (checks.integer("encoder_decoder", *one) for one in given)
    _check_feedback(feedback, start)
    parts = tuple(as_layer(IDENTITY if layer is None else layer) for layer in (source, target))
    read, write = map(time_distributed, parts)
    cell, output = lstm(features), dense(outputs)

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        if not _is_pair(x):
            raise ValueError("encoder_decoder: expected the pair (source, target) at init, to know the target's shape")
        keys = random_bits.split(key, 5)
        source, encoder = _init_side("source", read, cell, keys[:2], x[0])
        target, decoder = _init_side("target", write, cell, keys[2:4], x[1])
        last = output.init(keys[4], jax.ShapeDtypeStruct((1, features), encoder["kernel"].dtype))[0]
        return {"source": source, "encoder": encoder, "target": target, "decoder": decoder, "output": last}, ()

    def decode(params: PyTree, target: Any, carry: LSTMState, key: Key | None, train: bool) -> tuple[Array, LSTMState]:
        values = write.apply(params["target"], (), target, key=key, train=train)[0]
        hidden, carry = _lstm(params["decoder"], values, carry)
        return output.apply(params["output"], (), hidden)[0], carry

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        first, second = (None, None) if key is None else tuple(random_bits.split(key))
        inputs = x[0] if _is_pair(x) else x
        seen = read.apply(params["source"], (), inputs, key=first, train=train)[0]
        values, lengths = values_and_lengths(seen)
        carry = _lstm(params["encoder"], values, None, lengths=lengths, return_sequences=False)[1]
        if _is_pair(x):
            return decode(params, x[1], carry, second, train)[0], state
        y = jax.ShapeDtypeStruct((values.shape[0], outputs), values.dtype)
        shown = y if feedback is None else jax.eval_shape(feedback, y)
        state_before = carry, jnp.full(shown.shape, start, shown.dtype)
        return _write_freely(functools.partial(decode, params), feedback, state_before, steps, second), state

    def rebuild(new: tuple[Layer, ...]) -> Layer:
        how: dict[str, Any] = {"steps": steps, "feedback": feedback, "start": start}
        return encoder_decoder(features, outputs, source=new[0], target=new[1], **how)

    return Layer(init, apply, parts=parts, rebuild=rebuild, facts=Facts(recurs=True))


def _check_feedback(feedback: Any, start: ArrayLike) -> None:
    checks.function(
        "encoder_decoder", "feedback", feedback, "outputs -> target", "feedback=lambda y: jnp.argmax(y, -1)"
    )
    checks.in_range("encoder_decoder", "start", start)


def _init_side(name: str, layer: Layer, cell: Layer, keys: Key, x: Any) -> tuple[PyTree, PyTree]:
    """The parameters of the layer that reads each step of the source or target, and of the LSTM behind it."""
    params, kept = layer.init(keys[0], x)
    if jax.tree.leaves(kept):
        raise ValueError(f"encoder_decoder: expected a {name} layer without state, got {layer.name}")
    seen = jax.eval_shape(lambda p, v: layer.apply(p, (), v)[0], params, x)
    return params, cell.init(keys[1], seen)[0]


def _write_freely(
    decode: Callable[..., tuple[Array, LSTMState]],
    feedback: Callable[[Array], Array] | None,
    begin: tuple[LSTMState, Array],
    steps: int,
    key: Key | None,
) -> Array:
    """The decoder fed its own outputs."""

    def step(state: tuple[LSTMState, Array], key: Key | None) -> tuple[tuple[LSTMState, Array], Array]:
        carry, shown = state
        y, carry = decode(shown[:, None], carry, key, False)
        y = y[:, 0]
        following = y if feedback is None else feedback(y)
        return (carry, following.astype(shown.dtype)), y

    keys = None if key is None else random_bits.split(key, steps)
    return jax.lax.scan(step, begin, keys, length=steps)[1].swapaxes(0, 1)


def _is_pair(x: Any) -> bool:
    return type(x) is tuple and len(x) == 2


def _lstm(params: PyTree, x: Array, carry: LSTMState | None, **options: Any) -> tuple[Array, LSTMState]:
    return run_lstm(x, params["kernel"], params["recurrent_kernel"], params["bias"], carry, **options)
