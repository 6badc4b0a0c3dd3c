"""The simple recurrent network of Elman."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from fnn import checks
from fnn.kernels.recurrence.cell import How, Kind, run_cell
from fnn.kernels.recurrence.core import Carry, Core, enter_by_product
from fnn.kernels.recurrence.products import product, product_of_transpose
from fnn.typing import Array, ArrayLike, PyTree

__all__ = ["rnn"]


def _core(activation: Callable[[Array], Array], chain: Callable[[Array, Array], Array]) -> Core:
    """The cell of an activation, and `chain(h, dz)`, the tangent behind it."""

    def step(recurrent: PyTree, projected: Array, carry: Carry) -> tuple[Carry, PyTree]:
        return (activation(projected + product(carry[0], recurrent[0])),), ()

    def tangent(recurrent: PyTree, saved: PyTree, before: Carry, after: Carry, entering: PyTree, carry: Carry) -> Carry:
        return (chain(after[0], entering + product_of_transpose(carry[0], recurrent[0])),)

    return Core(step, enter_by_product, tangent)


_CORES = {
    "tanh": _core(jnp.tanh, lambda h, dz: (1 - h * h) * dz),
    "relu": _core(lambda z: jnp.maximum(z, 0), lambda h, dz: jnp.where(h > 0, dz, 0)),
}


def rnn(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None = None,
    initial_state: Array | None = None,
    *,
    activation: str = "tanh",
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    return_sequences: bool = True,
    reverse: bool = False,
    time_major: bool = False,
    unroll: int | None = None,
    remat: int | None = None,
) -> tuple[Array, Array]:
    """Elman's network of the layer `fnn.rnn`, which has the formula, with given weights: the outputs of all steps.

    Args:
        kernel, recurrent_kernel: $W$ (features, hidden) and $U$ (hidden, hidden).
        bias, initial_state: $b$ (hidden,) and $h_0$ (batch, hidden); None is 0.
        activation: as for `fnn.rnn`.

    Arguments that are not listed are those of `lstm`; it returns such outputs, and the final state (batch, hidden).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> outputs, state = fnn.kernels.rnn(jnp.ones((2, 3, 1)), jnp.ones((1, 1)), jnp.ones((1, 1)), activation="relu")
        >>> outputs[0, :, 0].tolist()
        [1.0, 2.0, 3.0]
    """
    checks.one_of("rnn", "activation", activation, _CORES)
    how = How(lengths, mask, return_sequences, reverse, time_major, unroll, remat)
    kind = Kind("rnn", _CORES[activation], gates=1)
    outputs, (final,) = run_cell(kind, x, kernel, recurrent_kernel, bias, initial_state, how)
    return outputs, final
