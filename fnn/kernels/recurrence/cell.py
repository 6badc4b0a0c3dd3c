"""What every recurrent kernel does around the core: look at what is given, and fill in what is not."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn.kernels.recurrence import cudnn, sequences
from fnn.kernels.recurrence.core import Carry, Core, recur
from fnn.typing import Array, ArrayLike


class How(NamedTuple):
    """How a recurrent kernel runs, in the words of `fnn.kernels.lstm`."""

    lengths: ArrayLike | None
    mask: ArrayLike | None
    return_sequences: bool
    reverse: bool
    time_major: bool
    unroll: int
    remat: int | None


class Kind(NamedTuple):
    """A kernel's name, its core, how many gates stand side by side in its weights, and what its state is called.

    `in_cudnn` says whether cuDNN, as JAX offers it, has this recurrence.
    """

    name: str
    core: Core
    gates: int
    state: tuple[str, ...] = ("h",)
    in_cudnn: bool = False


def run_cell(
    kind: Kind,
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None,
    initial_state: Any,
    how: How,
    recurrent: tuple[Array, ...] | None = None,
) -> tuple[Array, Carry]:
    """Outputs and final state; `recurrent` is what the core takes beside kernel and bias, if not `recurrent_kernel`."""
    layout = sequences.layout(kind.name, x, kernel, recurrent_kernel, bias, gates=kind.gates, time_major=how.time_major)
    hidden, dtype = recurrent_kernel.shape[0], jnp.result_type(x)
    carry = sequences.initial(kind.name, layout, hidden, dtype, initial_state, kind.state)
    unroll, remat = sequences.check_loop(kind.name, layout.time, how.unroll, how.remat)
    valid = sequences.valid_steps(kind.name, layout, how.lengths, how.mask)
    bias = jnp.zeros(kernel.shape[-1], kernel.dtype) if bias is None else bias
    x, weights = jnp.asarray(x), (kernel, bias, *((recurrent_kernel,) if recurrent is None else recurrent))
    outputs = {"return_sequences": how.return_sequences, "time_major": how.time_major}
    # A mask may have gaps; `unroll` and `remat` speak of a loop, and so ask for one.
    if kind.in_cudnn and how.mask is None and (unroll, remat) == (1, None):
        platform = cudnn.platform_of(x, weights, carry)
        if platform is not None:
            return cudnn.run(cudnn.Form(platform, kind.core, how.reverse), x, weights, carry, valid, **outputs)
    options = {"reverse": how.reverse, "unroll": unroll, "remat": remat}
    return recur(kind.core, x, weights, carry, valid, **outputs, **options)
