"""What every recurrent kernel does around the core: look at what is given, and fill in what is not."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn.kernels.recurrence import sequences
from fnn.kernels.recurrence.core import Carry, Core, recur
from fnn.typing import Array, ArrayLike


class How(NamedTuple):
    """How a recurrent kernel runs, in the words of `fnn.kernels.lstm`."""

    lengths: ArrayLike | None
    mask: ArrayLike | None
    return_sequences: bool
    reverse: bool
    time_major: bool
    unroll: int | None
    remat: int | None


class Kind(NamedTuple):
    """A kernel's name, its core, how many gates stand side by side in its weights, and what its state is called."""

    name: str
    core: Core
    gates: int
    state: tuple[str, ...] = ("h",)


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
    options = {name: getattr(how, name) for name in ("return_sequences", "reverse", "time_major")}
    return recur(kind.core, x, weights, carry, valid, **options, unroll=unroll, remat=remat)
