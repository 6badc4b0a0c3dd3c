"""Gated recurrent unit."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from fnn import checks
from fnn.kernels.broadcasting import of_rank
from fnn.kernels.recurrence.cell import How, Kind, run_cell
from fnn.kernels.recurrence.core import Carry, Core
from fnn.kernels.recurrence.products import product, product_of_tangent, product_of_transpose, sigmoid
from fnn.typing import Array, ArrayLike, DType, PyTree

__all__ = ["gru"]


def _split(gates: Array) -> tuple[Array, Array]:
    """The columns of r and z, and those of n."""
    r_z, n = jnp.split(gates, [2 * (gates.shape[-1] // 3)], axis=-1)
    return r_z, n


def _step_after(recurrent: PyTree, projected: Array, carry: Carry) -> tuple[Carry, PyTree]:
    (h,), (kernel, bias) = carry, recurrent
    x_rz, x_n = _split(projected)
    h_rz, h_n = _split(product(h, kernel) + bias.astype(h.dtype)[None])
    r_z = lax.optimization_barrier(sigmoid(x_rz + h_rz))
    r, z = jnp.split(r_z, 2, axis=-1)
    n = jnp.tanh(x_n + r * h_n)
    return (n + z * (h - n),), (r_z, n, h_n)


def _enter_after(projected: Array, recurrent: PyTree, saved: PyTree, before: Carry) -> PyTree:
    kernel, bias = recurrent
    entering = product_of_tangent(before[0], kernel)
    return projected, entering + of_rank(bias, entering.ndim)


def _tangent_after(
    recurrent: PyTree, saved: PyTree, before: Carry, after: Carry, entering: PyTree, carry: Carry
) -> Carry:
    (r_z, n, h_n), (h,), (dh,) = saved, before, carry
    r, z = jnp.split(r_z, 2, axis=-1)
    dx_rz, dx_n = _split(entering[0])
    dh_rz, dh_n = _split(entering[1] + product_of_transpose(dh, recurrent[0]))
    dr, dz = jnp.split(r_z * (1 - r_z) * (dx_rz + dh_rz), 2, axis=-1)
    dn = (1 - n * n) * (dx_n + r * dh_n + h_n * dr)
    return ((1 - z) * dn + z * dh + (h - n) * dz,)


def _step_before(recurrent: PyTree, projected: Array, carry: Carry) -> tuple[Carry, PyTree]:
    (h,), (kernel_rz, kernel_n) = carry, recurrent
    x_rz, x_n = _split(projected)
    r_z = lax.optimization_barrier(sigmoid(x_rz + product(h, kernel_rz)))
    r, z = jnp.split(r_z, 2, axis=-1)
    n = jnp.tanh(x_n + product(r * h, kernel_n))
    return (n + z * (h - n),), (r_z, n)


def _enter_before(projected: Array, recurrent: PyTree, saved: PyTree, before: Carry) -> PyTree:
    (kernel_rz, kernel_n), (r_z, _), (h,) = recurrent, saved, before
    x_rz, x_n = _split(projected)
    r = jnp.split(r_z, 2, axis=-1)[0]
    return x_rz + product_of_tangent(h, kernel_rz), x_n + product_of_tangent(r * h, kernel_n)


def _tangent_before(
    recurrent: PyTree, saved: PyTree, before: Carry, after: Carry, entering: PyTree, carry: Carry
) -> Carry:
    (kernel_rz, kernel_n), (r_z, n), (h,), (dh,) = recurrent, saved, before, carry
    r, z = jnp.split(r_z, 2, axis=-1)
    dr, dz = jnp.split(r_z * (1 - r_z) * (entering[0] + product_of_transpose(dh, kernel_rz)), 2, axis=-1)
    dn = (1 - n * n) * (entering[1] + product_of_transpose(r * dh + h * dr, kernel_n))
    return ((1 - z) * dn + z * dh + (h - n) * dz,)


_AFTER = Core(_step_after, _enter_after, _tangent_after)
_BEFORE = Core(_step_before, _enter_before, _tangent_before)


def gru(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None = None,
    recurrent_bias: Array | None = None,
    initial_state: Array | None = None,
    *,
    reset: str = "after",
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    return_sequences: bool = True,
    reverse: bool = False,
    time_major: bool = False,
    unroll: int | None = None,
    remat: int | None = None,
) -> tuple[Array, Array]:
    """The GRU of the layer `fnn.gru`, which has the formula, with given weights: the outputs of all steps.

    Args:
        kernel, recurrent_kernel: $W$ (features, 3·hidden) and $U$ (hidden, 3·hidden).
        bias, recurrent_bias: $b$ (3·hidden,) and $b'$ (hidden,), for `reset="after"`; None is 0.
        initial_state: $h_0$ (batch, hidden); None is 0.
        reset: as for `fnn.gru`.

    Arguments that are not listed are those of `lstm`; it returns such outputs, and the final state (batch, hidden).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> outputs, state = fnn.kernels.gru(jnp.ones((2, 5, 3)), jnp.ones((3, 12)), jnp.zeros((4, 12)))
        >>> outputs.shape, bool((outputs[:, -1] == state).all())
        ((2, 5, 4), True)
    """
    checks.one_of("gru", "reset", reset, ("after", "before"))
    recurrent = _recurrent(recurrent_kernel, recurrent_bias, (kernel if bias is None else bias).dtype, reset)
    kind = Kind("gru", _AFTER if reset == "after" else _BEFORE, gates=3)
    how = How(lengths, mask, return_sequences, reverse, time_major, unroll, remat)
    outputs, (final,) = run_cell(kind, x, kernel, recurrent_kernel, bias, initial_state, how, recurrent)
    return outputs, final


def _recurrent(kernel: Array, bias: Array | None, dtype: DType, reset: str) -> tuple[Array, ...]:
    """The recurrent weights as the core of this `reset` takes them."""
    if reset == "before":
        if bias is not None:
            raise ValueError('gru: recurrent_bias is added before the reset gate; write reset="after", or leave it out')
        return _split(kernel)
    hidden = kernel.shape[0]
    bias = jnp.zeros(hidden, dtype) if bias is None else bias
    if bias.shape != (hidden,):
        raise checks.wrong_shape("gru", "recurrent_bias", (hidden,), bias.shape)
    return kernel, jnp.concatenate([jnp.zeros(2 * hidden, bias.dtype), bias])
