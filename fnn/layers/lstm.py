"""Long short-term memory and its variants."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks, random_bits
from fnn.kernels.broadcasting import of_rank
from fnn.kernels.normalization.norms import layer_norm as normalize
from fnn.kernels.recurrence.lstm import LSTMState
from fnn.kernels.recurrence.lstm import lstm as run_core
from fnn.kernels.recurrence.products import product, sigmoid
from fnn.layer import Layer, constructor
from fnn.layers.recurrent import Cell, RecurrentOptions, project_inputs, recurrent, weights
from fnn.typing import Array, ArrayLike, DType, Initializer, Key, PyTree

__all__ = ["lstm"]


@constructor
def lstm(
    features: int,
    *,
    return_sequences: bool = False,
    reverse: bool = False,
    stateful: bool = False,
    forget_bias: ArrayLike = 1.0,
    peephole: bool = False,
    coupled: bool = False,
    projection: int | None = None,
    layer_norm: bool = False,
    recurrent_dropout: ArrayLike | None = None,
    zoneout: ArrayLike | None = None,
    kernel_init: Initializer | None = None,
    recurrent_init: Initializer | None = None,
    unroll: int | None = None,
    remat: int | None = None,
) -> Layer:
    r"""Long short-term memory: the output at the last step, or with `return_sequences=True` at every step.

    $i, f, o = \sigma(x_t W + h_{t-1} U + b)$, $g = \tanh(x_t W + h_{t-1} U + b)$, each with its own columns, in the
    order i, f, g, o; $c_t = f \odot c_{t-1} + i \odot g$; $h_t = o \odot \tanh c_t$.

    Parameters: `kernel` $W$ (in, 4·features), `recurrent_kernel` $U$ (features, 4·features), `bias` $b$ (4·features,).
    The variants compose; they run by the generic scan, plain LSTM by the fast core.

    Args:
        features: size of $c$, and of $h$ unless projected.
        return_sequences: whether all outputs are returned.
        reverse: run from each sequence's own end to its beginning.
        stateful: begin each call where the last one ended, row by row (truncated back-propagation through time). The
            state then holds `carry`, at inference too; it starts from the zeros that `init` made.
        forget_bias: where the forget gate's $b$ starts.
        peephole: the gates see the cell: $+ p_i \odot c_{t-1}$, $+ p_f \odot c_{t-1}$, $+ p_o \odot c_t$ inside
            $\sigma$; parameter `peephole` (3, features).
        coupled: $f = 1 - i$; the columns are i, g, o.
        projection: $h_t = (o \odot \tanh c_t) P$ of this size; parameter `projection` (features, projection).
        layer_norm: $LN(x_t W) + LN(h_{t-1} U) + b$ and $\tanh LN(c_t)$, with learned scales (and a bias for $c$).
        recurrent_dropout: rate dropped from $h_{t-1}$ in training, the same units at all steps of a sequence.
        zoneout: rate of units whose $h$ and $c$ stay as they were, at each step in training; their mean at inference.
        kernel_init: of each gate's columns of $W$, `initializers.glorot_uniform()` unless given.
        recurrent_init: of each gate's columns of $U$, `initializers.orthogonal()` unless given.
        unroll: steps per iteration of the compiled loop; None is 1 on a CPU and up to 16 elsewhere.
        remat: for long sequences, steps per segment, of which only the ends are kept; the gradient computes it again.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.serial(fnn.lstm(16), fnn.dense(10))
        >>> params, state = model.init(jax.random.key(0), jnp.ones((8, 5, 3)))
        >>> model.apply(params, state, jnp.ones((8, 5, 3)))[0].shape
        (8, 10)

    References:
        Hochreiter and Schmidhuber, Long Short-Term Memory, 1997. Greff et al., LSTM: A Search Space Odyssey, 2017, for
        peepholes and coupled gates; Sak et al., 2014, projection; Ba et al., Layer Normalization, 2016; Gal and
        Ghahramani, 2016, recurrent dropout; Krueger et al., Zoneout, 2017.
    """
    features = checks.integer("lstm", "features", features)
    checks.in_range("lstm", "forget_bias", forget_bias)
    outputs = features if projection is None else checks.integer("lstm", "projection", projection)
    gates = 3 if coupled else 4
    draw = weights(gates, outputs, features, kernel_init, recurrent_init)

    def init(key: Key, x: Any) -> PyTree:
        dtype = jnp.result_type(x)
        bias = jnp.zeros(gates * features, dtype)
        # Coupled, the forget gate is 1 - i: its bias is that of the input gate, turned around.
        forget = (slice(0, features), -1) if coupled else (slice(features, 2 * features), 1)
        params = draw(key, x) | {"bias": bias.at[forget[0]].set(jnp.asarray(forget_bias, dtype) * forget[1])}
        if peephole:
            params["peephole"] = jnp.zeros((3, features), dtype)
        if projection is not None:
            scale = jnp.asarray(features, dtype) ** -0.5
            params["projection"] = scale * jax.random.normal(random_bits.fold_in(key, 1), (features, outputs), dtype)
        return params | _norms(gates, features, dtype) if layer_norm else params

    def core(params: PyTree, x: Array, carry: PyTree, **options: Any) -> tuple[Array, PyTree]:
        return run_core(x, params["kernel"], params["recurrent_kernel"], params["bias"], carry, **options)

    plain = not (peephole or coupled or layer_norm) and projection is None
    options = RecurrentOptions(return_sequences, reverse, stateful, recurrent_dropout, zoneout, unroll, remat)
    cell = Cell(init, (outputs, features), core if plain else None, _project, _step, LSTMState._make)
    return recurrent("lstm", cell, options)


def _norms(gates: int, features: int, dtype: DType) -> PyTree:
    """The parameters of the layer norms inside a step."""
    scales = {"input_scale": gates * features, "recurrent_scale": gates * features, "cell_scale": features}
    return {name: jnp.ones(size, dtype) for name, size in scales.items()} | {"cell_bias": jnp.zeros(features, dtype)}


def _project(params: PyTree, x: Array) -> Array:
    if "input_scale" not in params:
        return project_inputs(params, x)
    unbiased = project_inputs(params | {"bias": jnp.zeros_like(params["bias"])}, x)
    scale, bias = (params[name].astype(unbiased.dtype) for name in ("input_scale", "bias"))
    return normalize(unbiased, scale) + of_rank(bias, unbiased.ndim)


def _step(params: PyTree, projected: Array, carry: tuple[Array, ...], h: Array) -> LSTMState:
    """One step with whatever variants the parameters are for."""
    c, dtype = carry[1], projected.dtype
    wide_params = {name: value.astype(dtype) for name, value in params.items()}
    recurrent = product(h, params["recurrent_kernel"])
    if "recurrent_scale" in params:
        recurrent = normalize(recurrent, wide_params["recurrent_scale"])
    i, *forget, g, o = jnp.split(projected + recurrent, projected.shape[-1] // c.shape[-1], axis=-1)
    seen = wide_params.get("peephole", jnp.zeros((3, 1), dtype))[:, None]
    i = sigmoid(i + seen[0] * c)
    f = sigmoid(forget[0] + seen[1] * c) if forget else 1 - i
    c = f * c + i * jnp.tanh(g)
    o = sigmoid(o + seen[2] * c)
    inside = normalize(c, wide_params["cell_scale"], wide_params["cell_bias"]) if "cell_scale" in params else c
    h = o * jnp.tanh(inside)
    return LSTMState(product(h, params["projection"]) if "projection" in params else h, c)
