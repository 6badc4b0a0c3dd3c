"""Recurrent layers: RNN, GRU and LSTM over (batch, time, features)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks, initializers
from fnn.kernels.elman import rnn as run_rnn
from fnn.kernels.gru import gru as run_gru
from fnn.kernels.lstm import LSTMState
from fnn.kernels.lstm import lstm as run_lstm
from fnn.kernels.sequences import check_sequence
from fnn.layer import Layer, constructor
from fnn.typing import Array, ArrayLike, Initializer, Key, PyTree

__all__ = ["Padded", "gru", "lstm", "rnn"]


class Padded(NamedTuple):
    """Sequences of different lengths in one array: `values` (batch, time, …) and `lengths` (batch,) integers.

    Recurrent layers take one wherever they take an array: padding changes no output, state or gradient. A layer with
    `return_sequences=True` passes the lengths on. Its leaves have the batch first, so that it can be trained on as `x`.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x = fnn.Padded(jnp.ones((2, 5, 3)), jnp.array([5, 2]))
        >>> layer = fnn.lstm(4, return_sequences=True)
        >>> params, state = layer.init(jax.random.key(0), x)
        >>> y, state = layer.apply(params, state, x)
        >>> y.values.shape, y.lengths.tolist()
        ((2, 5, 4), [5, 2])
    """

    values: Array
    lengths: Array


class Options(NamedTuple):
    """What all recurrent layers have in common."""

    return_sequences: bool
    reverse: bool
    stateful: bool
    unroll: int
    remat: int | None


Run = Callable[..., tuple[Array, PyTree]]
"""`run(params, values, initial_state, **options) -> (outputs, final_state)`"""


def _unpadded(x: Any) -> tuple[Any, Any]:
    return (x.values, x.lengths) if isinstance(x, Padded) else (x, None)


def _recurrent(
    name: str, options: Options, init_params: Callable[[Key, Any], PyTree], start: Callable[[Any], PyTree], run: Run
) -> Layer:
    """A layer of `run`; `start(x)` is the state before the first step, kept in the layer's state if it is stateful."""

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        values, _ = _unpadded(x)
        check_sequence(name, values, time_major=False)
        return init_params(key, values), {"carry": start(values)} if options.stateful else ()

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        values, lengths = _unpadded(x)
        check_sequence(name, values, time_major=False)
        # Truncated back-propagation: gradients do not flow into the steps of earlier calls.
        carry = jax.lax.stop_gradient(state["carry"]) if options.stateful else None
        outputs, carry = run(
            params,
            jnp.asarray(values),
            carry,
            lengths=lengths,
            return_sequences=options.return_sequences,
            reverse=options.reverse,
            unroll=options.unroll,
            remat=options.remat,
        )
        padded = options.return_sequences and lengths is not None
        return Padded(outputs, lengths) if padded else outputs, {"carry": carry} if options.stateful else state

    return Layer(init, apply)


def _weights(
    gates: int, features: int, kernel_init: Initializer | None, recurrent_init: Initializer | None
) -> Callable[[Key, Any], PyTree]:
    """`kernel` and `recurrent_kernel`; the latter orthogonal, gate by gate."""
    kernel_init = initializers.glorot_uniform() if kernel_init is None else kernel_init
    recurrent_init = initializers.orthogonal() if recurrent_init is None else recurrent_init

    def init(key: Key, x: Any) -> PyTree:
        kernel_key, recurrent_key = jax.random.split(key)
        dtype, inputs = jnp.result_type(x), x.shape[-1]
        keys = jax.random.split(recurrent_key, gates)
        recurrent = [recurrent_init(k, (features, features), dtype) for k in keys]
        kernels = [kernel_init(k, (inputs, features), dtype) for k in jax.random.split(kernel_key, gates)]
        return {"kernel": jnp.concatenate(kernels, axis=1), "recurrent_kernel": jnp.concatenate(recurrent, axis=1)}

    return init


@constructor
def lstm(
    features: int,
    *,
    return_sequences: bool = False,
    reverse: bool = False,
    stateful: bool = False,
    forget_bias: ArrayLike = 1.0,
    kernel_init: Initializer | None = None,
    recurrent_init: Initializer | None = None,
    unroll: int = 1,
    remat: int | None = None,
) -> Layer:
    r"""Long short-term memory: the output at the last step, or with `return_sequences=True` at every step.

    $i, f, o = \sigma(x_t W + h_{t-1} U + b)$, $g = \tanh(x_t W + h_{t-1} U + b)$, each with its own columns, in the
    order i, f, g, o; $c_t = f \odot c_{t-1} + i \odot g$; $h_t = o \odot \tanh c_t$.

    Parameters: `kernel` $W$ (in, 4·features), `recurrent_kernel` $U$ (features, 4·features), `bias` $b$ (4·features,).

    Args:
        features: size of $h$ and $c$.
        return_sequences: whether all outputs are returned.
        reverse: run from each sequence's own end to its beginning.
        stateful: begin each call where the last one ended, row by row (truncated back-propagation through time). The
            state then holds `carry`, at inference too; it starts from the zeros that `init` made.
        forget_bias: where the forget gate's $b$ starts.
        kernel_init: of each gate's columns of $W$, `initializers.glorot_uniform()` unless given.
        recurrent_init: of each gate's columns of $U$, `initializers.orthogonal()` unless given.
        unroll: steps per iteration of the compiled loop.
        remat: for long sequences: steps per segment, of which only the ends are kept for the gradient.

    Returns:
        A layer for (batch, time, in), or `Padded`, to (batch, features) or (batch, time, features).

    Raises:
        ValueError: for `x` of another rank, or a stateful layer and another batch size.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.serial(fnn.lstm(16), fnn.dense(10))
        >>> params, state = model.init(jax.random.key(0), jnp.ones((8, 5, 3)))
        >>> model.apply(params, state, jnp.ones((8, 5, 3)))[0].shape
        (8, 10)

    References:
        Hochreiter and Schmidhuber, Long Short-Term Memory, 1997. Jozefowicz et al., An Empirical Exploration of
        Recurrent Network Architectures, 2015, for the forget bias.
    """
    features = checks.integer("lstm", "features", features)
    weights = _weights(4, features, kernel_init, recurrent_init)

    def init(key: Key, x: Any) -> PyTree:
        bias = jnp.zeros(4 * features, jnp.result_type(x)).at[features : 2 * features].set(forget_bias)
        return weights(key, x) | {"bias": bias}

    def start(x: Any) -> PyTree:
        # Two arrays, not one twice: a buffer that stands in two places cannot be given away.
        return LSTMState(*(jnp.zeros((x.shape[0], features), jnp.result_type(x)) for _ in range(2)))

    def run(params: PyTree, x: Array, carry: PyTree, **options: Any) -> tuple[Array, PyTree]:
        return run_lstm(x, params["kernel"], params["recurrent_kernel"], params["bias"], carry, **options)

    return _recurrent("lstm", Options(return_sequences, reverse, stateful, unroll, remat), init, start, run)


@constructor
def gru(
    features: int,
    *,
    reset: str = "after",
    return_sequences: bool = False,
    reverse: bool = False,
    stateful: bool = False,
    kernel_init: Initializer | None = None,
    recurrent_init: Initializer | None = None,
    unroll: int = 1,
    remat: int | None = None,
) -> Layer:
    r"""Gated recurrent unit: the output at the last step, or with `return_sequences=True` at every step.

    $r, z = \sigma(x_t W + h_{t-1} U + b)$; $n = \tanh(x_t W_n + b_n + r \odot (h_{t-1} U_n + b'))$, or with
    `reset="before"` $n = \tanh(x_t W_n + b_n + (r \odot h_{t-1}) U_n)$; $h_t = (1 - z) \odot n + z \odot h_{t-1}$.

    Parameters: `kernel` $W$ (in, 3·features), `recurrent_kernel` $U$ (features, 3·features), `bias` $b$ (3·features,),
    gates in the order r, z, n; and with `reset="after"` `recurrent_bias` $b'$ (features,).

    Args:
        features: size of $h$.
        reset: "after" or "before" the recurrent product.
        return_sequences, reverse, stateful, kernel_init, recurrent_init, unroll, remat: as for `fnn.lstm`.

    Returns:
        A layer for (batch, time, in), or `Padded`, to (batch, features) or (batch, time, features).

    Raises:
        ValueError: for `x` of another rank, or a stateful layer and another batch size.

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
    weights = _weights(3, features, kernel_init, recurrent_init)

    def init(key: Key, x: Any) -> PyTree:
        dtype = jnp.result_type(x)
        extra = {"recurrent_bias": jnp.zeros(features, dtype)} if reset == "after" else {}
        return weights(key, x) | {"bias": jnp.zeros(3 * features, dtype)} | extra

    def run(params: PyTree, x: Array, carry: PyTree, **options: Any) -> tuple[Array, PyTree]:
        given = (params["kernel"], params["recurrent_kernel"], params["bias"], params.get("recurrent_bias"))
        return run_gru(x, *given, carry, reset=reset, **options)

    return _recurrent("gru", Options(return_sequences, reverse, stateful, unroll, remat), init, _start(features), run)


@constructor
def rnn(
    features: int,
    *,
    activation: str = "tanh",
    return_sequences: bool = False,
    reverse: bool = False,
    stateful: bool = False,
    kernel_init: Initializer | None = None,
    recurrent_init: Initializer | None = None,
    unroll: int = 1,
    remat: int | None = None,
) -> Layer:
    r"""Elman's recurrent network: $h_t = a(x_t W + h_{t-1} U + b)$, at the last step or at every step.

    Parameters: `kernel` $W$ (in, features), `recurrent_kernel` $U$ (features, features), `bias` $b$ (features,).

    Args:
        features: size of $h$.
        activation: $a$, "tanh" or "relu".
        return_sequences, reverse, stateful, kernel_init, recurrent_init, unroll, remat: as for `fnn.lstm`.

    Returns:
        A layer for (batch, time, in), or `Padded`, to (batch, features) or (batch, time, features).

    Raises:
        ValueError: for `x` of another rank, or a stateful layer and another batch size.

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
    weights = _weights(1, features, kernel_init, recurrent_init)

    def init(key: Key, x: Any) -> PyTree:
        return weights(key, x) | {"bias": jnp.zeros(features, jnp.result_type(x))}

    def run(params: PyTree, x: Array, carry: PyTree, **options: Any) -> tuple[Array, PyTree]:
        given = (params["kernel"], params["recurrent_kernel"], params["bias"])
        return run_rnn(x, *given, carry, activation=activation, **options)

    return _recurrent("rnn", Options(return_sequences, reverse, stateful, unroll, remat), init, _start(features), run)


def _start(features: int) -> Callable[[Any], Array]:
    return lambda x: jnp.zeros((x.shape[0], features), jnp.result_type(x))
