"""Long short-term memory."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.export import register_namedtuple_serialization

from fnn.kernels.recurrence.cell import How, Kind, run_cell
from fnn.kernels.recurrence.core import Carry, Core, enter_by_product
from fnn.kernels.recurrence.products import product, product_of_transpose
from fnn.typing import Array, ArrayLike, PyTree

__all__ = ["LSTMState", "lstm"]


class LSTMState(NamedTuple):
    """What an LSTM carries from step to step: the output `h` and the cell `c`, each (batch, features).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> state = fnn.kernels.LSTMState(h=jnp.zeros((2, 4)), c=jnp.zeros((2, 4)))
        >>> x, kernel, recurrent_kernel = jnp.ones((2, 5, 3)), jnp.ones((3, 16)), jnp.zeros((4, 16))
        >>> outputs, state = fnn.kernels.lstm(x, kernel, recurrent_kernel, initial_state=state)
    """

    h: Array
    c: Array


register_namedtuple_serialization(LSTMState, serialized_name="fnn.LSTMState")


def _gates(shared: Array) -> tuple[Array, ...]:
    r"""i, f, g, o from the tanh of all of them: $\sigma(z) = (1 + \tanh(z/2))/2$."""
    i, f, g, o = jnp.split(shared, 4, axis=-1)
    return 0.5 * i + 0.5, 0.5 * f + 0.5, g, 0.5 * o + 0.5


def _step(recurrent: PyTree, projected: Array, carry: Carry) -> tuple[Carry, PyTree]:
    h, c = carry
    halves = np.repeat(np.array([[0.5, 0.5, 1.0, 0.5]], h.dtype), h.shape[-1], axis=1)
    # One pass of tanh over all gates; without the barrier it is repeated wherever a gate is used.
    shared = lax.optimization_barrier(jnp.tanh(halves * (projected + product(h, recurrent[0]))))
    i, f, g, o = _gates(shared)
    c = f * c + i * g
    return (o * jnp.tanh(c), c), shared


def _tangent(recurrent: PyTree, saved: PyTree, before: Carry, after: Carry, entering: PyTree, carry: Carry) -> Carry:
    (i, f, g, o), c, tanh_c = _gates(saved), before[1], jnp.tanh(after[1])
    dh, dc = carry
    di, df, dg, do = jnp.split(entering + product_of_transpose(dh, recurrent[0]), 4, axis=-1)
    dc = f * dc + c * f * (1 - f) * df + g * i * (1 - i) * di + i * (1 - g * g) * dg
    return tanh_c * o * (1 - o) * do + o * (1 - tanh_c * tanh_c) * dc, dc


_KIND = Kind("lstm", Core(_step, enter_by_product, _tangent), gates=4, state=LSTMState._fields)


def lstm(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None = None,
    initial_state: LSTMState | None = None,
    *,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    return_sequences: bool = True,
    reverse: bool = False,
    time_major: bool = False,
    unroll: int | None = None,
    remat: int | None = None,
) -> tuple[Array, LSTMState]:
    """The LSTM of the layer `fnn.lstm`, which has the formula, with given weights: the outputs of all steps.

    Args:
        x: (batch, time, features).
        kernel, recurrent_kernel: $W$ (features, 4·hidden) and $U$ (hidden, 4·hidden).
        bias: $b$ (4·hidden,); None is 0.
        initial_state: $(h_0, c_0)$, each (batch, hidden); None is 0.
        lengths: (batch,) integers from 0 to time: how many steps of each sequence count. At the others the state stays
            as it is, the output is 0 and no gradient arises, whatever stands there.
        mask: (batch, time) bool instead of `lengths`: the steps that count.
        return_sequences: whether to return $h_t$ for all steps, or for the last that counts.
        reverse: run from the last step to the first (from each sequence's own end); outputs stay in their places.
        time_major: `x`, `mask` and the outputs have time first.
        unroll, remat: as for `fnn.lstm`.

    Returns:
        The outputs, (batch, time, hidden) or (batch, hidden), and the final `LSTMState`. A sequence of length 0 ends
        in its initial state.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> x, kernel, recurrent_kernel = jnp.ones((2, 5, 3)), jnp.ones((3, 16)), jnp.zeros((4, 16))
        >>> outputs, state = fnn.kernels.lstm(x, kernel, recurrent_kernel, lengths=jnp.array([5, 2]))
        >>> outputs.shape, state.c.shape, float(outputs[1, 2:].sum())
        ((2, 5, 4), (2, 4), 0.0)
    """
    how = How(lengths, mask, return_sequences, reverse, time_major, unroll, remat)
    outputs, final = run_cell(_KIND, x, kernel, recurrent_kernel, bias, initial_state, how)
    return outputs, LSTMState(*final)
