"""Encoder and decoder: a sequence from a sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.kernels.recurrence.lstm import LSTMState
from fnn.kernels.recurrence.lstm import lstm as run_lstm
from fnn.layer import Facts, Layer, as_layer, constructor
from fnn.layer.protocol import IDENTITY
from fnn.layers.dense import dense
from fnn.layers.lstm import lstm
from fnn.layers.recurrent import values_and_lengths
from fnn.layers.recurrent_combinators import time_distributed
from fnn.typing import Array, ArrayLike, Key, PyTree

__all__ = ["encoder_decoder"]


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
    parts = tuple(as_layer(IDENTITY if layer is None else layer) for layer in (source, target))
    read, write = map(time_distributed, parts)
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

    def free(params: PyTree, carry: LSTMState, shown: Any, key: Key | None) -> Array:
        def step(state: tuple[LSTMState, Array], key: Key | None) -> tuple[tuple[LSTMState, Array], Array]:
            carry, shown = state
            y, carry = decode(params, shown[:, None], carry, key, False)
            y = y[:, 0]
            following = y if feedback is None else feedback(y)
            return (carry, following.astype(shown.dtype)), y

        keys = None if key is None else jax.random.split(key, steps)
        return jax.lax.scan(step, (carry, shown), keys, length=steps)[1].swapaxes(0, 1)

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        first, second = (None, None) if key is None else tuple(jax.random.split(key))
        inputs = x[0] if _is_pair(x) else x
        seen = read.apply(params["source"], (), inputs, key=first, train=train)[0]
        values, lengths = values_and_lengths(seen)
        carry = _lstm(params["encoder"], values, None, lengths=lengths, return_sequences=False)[1]
        if _is_pair(x):
            return decode(params, x[1], carry, second, train)[0], state
        y = jax.ShapeDtypeStruct((values.shape[0], outputs), values.dtype)
        shown = y if feedback is None else jax.eval_shape(feedback, y)
        return free(params, carry, jnp.full(shown.shape, start, shown.dtype), second), state

    def rebuild(new: tuple[Layer, ...]) -> Layer:
        return encoder_decoder(
            features, outputs, steps=steps, source=new[0], target=new[1], feedback=feedback, start=start
        )

    return Layer(init, apply, parts=parts, rebuild=rebuild, facts=Facts(recurs=True))


def _is_pair(x: Any) -> bool:
    return type(x) is tuple and len(x) == 2


def _lstm(params: PyTree, x: Array, carry: LSTMState | None, **options: Any) -> tuple[Array, LSTMState]:
    return run_lstm(x, params["kernel"], params["recurrent_kernel"], params["bias"], carry, **options)
