"""The simple recurrent network of Elman."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from fnn import checks
from fnn.kernels.recurrence.elman import rnn as run_core
from fnn.kernels.recurrence.products import product
from fnn.layer import Layer, constructor
from fnn.layers.recurrent import Cell, RecurrentOptions, project_inputs, recurrent, weights
from fnn.typing import Array, ArrayLike, Initializer, Key, PyTree

__all__ = ["rnn"]


@constructor
def rnn(
    features: int,
    *,
    activation: str = "tanh",
    return_sequences: bool = False,
    reverse: bool = False,
    stateful: bool = False,
    recurrent_dropout: ArrayLike | None = None,
    zoneout: ArrayLike | None = None,
    kernel_init: Initializer | None = None,
    recurrent_init: Initializer | None = None,
    unroll: int | None = None,
    remat: int | None = None,
) -> Layer:
    r"""Elman's recurrent network: $h_t = a(x_t W + h_{t-1} U + b)$, at the last step or at every step.

    Parameters: `kernel` $W$ (in, features), `recurrent_kernel` $U$ (features, features), `bias` $b$ (features,).

    Args:
        features: size of $h$.
        activation: $a$, "tanh" or "relu".

    Arguments that are not listed are those of `lstm`.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer = fnn.rnn(4, return_sequences=True)
        >>> params, state = layer.init(jax.random.key(0), jnp.ones((8, 5, 3)))
        >>> layer.apply(params, state, jnp.ones((8, 5, 3)))[0].shape
        (8, 5, 4)

    References:
        Elman, Finding Structure in Time, 1990.
    """
    features = checks.integer("rnn", "features", features)
    checks.one_of("rnn", "activation", activation, ("tanh", "relu"))
    draw = weights(1, features, features, kernel_init, recurrent_init)

    def init(key: Key, x: Any) -> PyTree:
        return draw(key, x) | {"bias": jnp.zeros(features, jnp.result_type(x))}

    def core(params: PyTree, x: Array, carry: PyTree, **options: Any) -> tuple[Array, PyTree]:
        given = (params["kernel"], params["recurrent_kernel"], params["bias"])
        outputs, final = run_core(x, *given, carry[0], activation=activation, **options)
        return outputs, (final,)

    def step(params: PyTree, projected: Array, carry: tuple[Array, ...], h: Array) -> tuple[Array]:
        z = projected + product(h, params["recurrent_kernel"])
        return (jnp.tanh(z) if activation == "tanh" else jnp.maximum(z, 0),)

    options = RecurrentOptions(return_sequences, reverse, stateful, recurrent_dropout, zoneout, unroll, remat)
    return recurrent("rnn", Cell(init, (features,), core, project_inputs, step), options)
