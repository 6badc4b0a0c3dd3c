"""What each library offers for a whole sequence of one recurrent kind: `make(features, hidden, x) -> (params, run)`.

`run(params, x)` gives all outputs (batch, time, hidden) of x (batch, time, features), zeros as initial state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

KINDS = ("rnn", "gru", "lstm")
Make = Callable[[str, int, Any], tuple[Any, Callable[[Any, Any], Any]]]
"""(kind, hidden, x) -> (params, run)"""


def fnn(kind: str, hidden: int, x: Any) -> tuple[Any, Callable[[Any, Any], Any]]:
    import jax

    import fnn

    layer = {"rnn": fnn.rnn, "gru": fnn.gru, "lstm": fnn.lstm}[kind](hidden, return_sequences=True)
    params, state = layer.init(jax.random.key(0), x)
    return params, lambda params, x: layer.apply(params, state, x)[0]


def linen(kind: str, hidden: int, x: Any) -> tuple[Any, Callable[[Any, Any], Any]]:
    import jax
    from flax import linen as nn

    model = nn.RNN({"rnn": nn.SimpleCell, "gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}[kind](hidden, dtype=x.dtype))
    return model.init(jax.random.key(0), x), model.apply


def nnx(kind: str, hidden: int, x: Any) -> tuple[Any, Callable[[Any, Any], Any]]:
    from flax import nnx

    rngs = nnx.Rngs(0)
    cell = {"rnn": nnx.SimpleCell, "gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell}[kind]
    static, params, rest = nnx.split(nnx.RNN(cell(x.shape[-1], hidden, rngs=rngs), rngs=rngs), nnx.Param, ...)
    return params, lambda params, x: nnx.merge(static, params, rest, copy=True)(x)


def haiku(kind: str, hidden: int, x: Any) -> tuple[Any, Callable[[Any, Any], Any]]:
    import haiku as hk
    import jax

    def network(x: Any) -> Any:
        core = {"rnn": hk.VanillaRNN, "gru": hk.GRU, "lstm": hk.LSTM}[kind](hidden)
        return hk.dynamic_unroll(core, x, core.initial_state(len(x)), time_major=False)[0]

    transformed = hk.without_apply_rng(hk.transform(network))
    return transformed.init(jax.random.key(0), x), transformed.apply


def equinox(kind: str, hidden: int, x: Any) -> tuple[Any, Callable[[Any, Any], Any]] | None:
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    if kind == "rnn":
        return None  # equinox has no such cell
    cell = {"gru": eqx.nn.GRUCell, "lstm": eqx.nn.LSTMCell}[kind](x.shape[-1], hidden, key=jax.random.key(0))
    params, static = eqx.partition(cell, eqx.is_array)
    zeros = jnp.zeros(hidden)

    def run(params: Any, x: Any) -> Any:
        cell = eqx.combine(params, static)

        def step(carry: Any, row: Any) -> tuple[Any, Any]:
            carry = cell(row, carry)
            return carry, carry[0] if kind == "lstm" else carry

        start = (zeros, zeros) if kind == "lstm" else zeros
        return jax.vmap(lambda one: jax.lax.scan(step, start, one)[1])(x)

    return params, run


def keras(kind: str, hidden: int, x: Any) -> tuple[Any, Callable[[Any, Any], Any]]:
    import os

    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    made = {"rnn": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[kind]
    model = keras.Sequential([made(hidden, return_sequences=True)])
    model.build((None, *x.shape[1:]))
    rest = [variable.value for variable in model.non_trainable_variables]
    params = [variable.value for variable in model.trainable_variables]
    return params, lambda params, x: model.stateless_call(params, rest, x)[0]
