"""Gated recurrent unit."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from fnn import checks
from fnn.kernels.recurrence.gru import gru as run_core
from fnn.kernels.recurrence.products import product, sigmoid
from fnn.layer import Layer, constructor
from fnn.layers.recurrent import Cell, RecurrentOptions, project_inputs, recurrent, weights
from fnn.typing import Array, ArrayLike, Initializer, Key, PyTree

__all__ = ["gru"]


@constructor
def gru(
    features: int,
    *,
    reset: str = "after",
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
    r"""Gated recurrent unit: the output at the last step, or with `return_sequences=True` at every step.

    $r, z = \sigma(x_t W + h_{t-1} U + b)$; $n = \tanh(x_t W_n + b_n + r \odot (h_{t-1} U_n + b'))$, or with
    `reset="before"` $n = \tanh(x_t W_n + b_n + (r \odot h_{t-1}) U_n)$; $h_t = (1 - z) \odot n + z \odot h_{t-1}$.

    Parameters: `kernel` $W$ (in, 3·features), `recurrent_kernel` $U$ (features, 3·features), `bias` $b$ (3·features,),
    gates in the order r, z, n; and with `reset="after"` `recurrent_bias` $b'$ (features,).

    Args:
        features: size of $h$.
        reset: "after" the recurrent product (Cho 2014, version 2; torch, flax) or "before" it (version 1).

    Arguments that are not listed are those of `lstm`.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer = fnn.gru(4)
        >>> params, state = layer.init(jax.random.key(0), jnp.ones((8, 5, 3)))
        >>> layer.apply(params, state, jnp.ones((8, 5, 3)))[0].shape
        (8, 4)

    References:
        Cho et al., Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation, 2014.
    """
    features = checks.integer("gru", "features", features)
    checks.one_of("gru", "reset", reset, ("after", "before"))
    draw = weights(3, features, features, kernel_init, recurrent_init)

    def init(key: Key, x: Any) -> PyTree:
        dtype = jnp.result_type(x)
        extra = {"recurrent_bias": jnp.zeros(features, dtype)} if reset == "after" else {}
        return draw(key, x) | {"bias": jnp.zeros(3 * features, dtype)} | extra

    def core(params: PyTree, x: Array, carry: PyTree, **options: Any) -> tuple[Array, PyTree]:
        given = (params["kernel"], params["recurrent_kernel"], params["bias"], params.get("recurrent_bias"))
        outputs, final = run_core(x, *given, carry[0], reset=reset, **options)
        return outputs, (final,)

    options = RecurrentOptions(return_sequences, reverse, stateful, recurrent_dropout, zoneout, unroll, remat)
    return recurrent("gru", Cell(init, (features,), core, project_inputs, _step), options)


def _step(params: PyTree, projected: Array, carry: tuple[Array, ...], h: Array) -> tuple[Array]:
    columns = [2 * (projected.shape[-1] // 3)]
    x_rz, x_n = jnp.split(projected, columns, axis=-1)
    kernel_rz, kernel_n = jnp.split(params["recurrent_kernel"], columns, axis=-1)
    r, z = jnp.split(sigmoid(x_rz + product(h, kernel_rz)), 2, axis=-1)
    if "recurrent_bias" in params:
        n = jnp.tanh(x_n + r * (product(h, kernel_n) + params["recurrent_bias"].astype(h.dtype)[None]))
    else:
        n = jnp.tanh(x_n + product(r * h, kernel_n))
    return ((1 - z) * n + z * carry[0],)
