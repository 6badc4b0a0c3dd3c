"""The fast core of the plain recurrent cells.

It differs from a scan over the cell in where the products stand. The inputs of several steps are projected by one
product; and its derivative is written as a linear recurrence in which the tangents of the weights enter by one product
for those steps. JAX transposes that to the reverse pass: a loop that computes only the gradients of the gates, and one
product for each weight gradient. Forward mode, higher derivatives and `vmap` stay as they are for any JAX function.

One training step (batch 64, 100 steps, 64 features, hidden 256) inside a compiled run on 2 CPU cores with AVX-512,
float32, time relative to autodiff of the plain scan in the same run (medians of interleaved repetitions, or minima
where only one number of a Zen 5 stands; a few per cent are noise):

                                                                        jax 0.12.0 | 0.10.2, Zen 4   0.10.2, Zen 5
    autodiff of the plain scan, inputs projected inside or in one product   1.00 | 1.00                  1.00
    all steps projected at once, one product after the loop                 0.91 | 0.95                  0.93
    reverse pass written by hand; 20, 10, 5 steps at once      0.92, 0.83, 0.85 | 0.98, 0.90, 0.86        –, 0.80, 0.80
    the same, features before batch                                         0.83 | 0.89                  0.86 - 0.90
    the same, the coefficients of ten steps' derivatives in one pass first  0.80 - 0.81 | 0.92 - 0.94    –
    the same, what is saved written where it stays, not chunk by chunk      0.78 - 0.80 | 0.86 - 0.90    –
    transposed tangents, 10 steps, coefficients in one pass first           0.82 | 0.84 (GRU 1.02 of the next line)
    transposed tangents, saving the state after each step (this module)     0.84 | 0.85                  0.80 - 0.88

Where the time is (Zen 4, jax 0.12.0 | 0.10.2, ms, each alone in a scan): forward 26.6 | 25.5, of it the recurrent
products 18.8 | 18.9 and the gates 3.1 | 2.3; the reverse loop 22.6 | 22.2, of it products 20.2 | 19.1; the gradients of
the weights 24.9 | 25.4; saving, and reading it again, 15 of the 89. As many operations in large products take 60. So
nothing but the products themselves could be made much faster: packing the weights once, which XLA does at every step.
Two chains of half the batch (0.99 | 0.96 forward), one product of inputs and state (1.01 | 0.98), unrolling (1.00) and
features first (0.96 | 0.99; its reverse product takes twice as long with 0.12) gain too little to be worth a form.

The whole step written by hand, relative to this module (medians of 13 to 17 rounds; 0.12.0 | 0.10.2):

    saved where it stays, read from there, one product for both weights                     0.98 | 0.93
    the same, a product for each weight                                                     0.99 | 0.90 - 0.94
    the same, [x, h] in one array and one product a step                            0.95 - 0.99 | 0.89 - 0.96
    the same, gates on an axis of their own, their derivatives in one pass                  0.96 | 1.06
    derivatives in one pass, gates side by side                                      0.93 - 0.97 | 1.12
    the same, blocks of 5 and 20 steps, not 10                                        1.00, 1.01 | 1.15, 1.15
    the same, tanh written where it is saved, in one core                                   1.01 | 1.19
    both gradients of weights by one product after the loop, dz over the gates              4.1  | 4.0 (copied)
    this module, only its forward pass saving where it stays                                1.00 | 0.99
    this module, saved where it stays and read from there                            0.94 - 0.99 | 0.94 - 0.97

The last gains, but a gradient of a gradient then adds to whole arrays at every step: 1307 ms instead of 499 (0.12.0).

The products alone, 100 of them with a pass over 256 KiB between, ms: reverse 20.9 | 20.5, by two blocks of columns
26.6 | 26.1, by two or four blocks of rows in products of their own 25.2, 40.4 | 22.5, 40.6, in one batched product
22.4 | 21.0, with 16 columns more 26.1 | 26.2, weights on the left 22.2 | 22.0, transposed by XLA 22.1 | 22.2; forward
21.0 | 20.6, by two blocks 25.3 | 25.3, by gates 38.8 | 42.5, weights on the left 21.3 | 22.2.

Temporaries of the gradient: 48 MiB, plain scan 98 MiB.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.sharding import PartitionSpec

from fnn.kernels import placement
from fnn.kernels.broadcasting import of_rank
from fnn.kernels.mesh_axes import alike, auto_axes, split_of
from fnn.kernels.recurrence.chunks import (
    chunk_parts,
    chunk_size,
    in_chunks,
    iteration_size,
    join_parts,
    merge_rows,
    scan_in_chunks,
)
from fnn.kernels.recurrence.products import product, product_of_tangent, product_of_transpose
from fnn.precision import wide_dtype
from fnn.typing import Array, DType, PyTree

Carry = tuple[Array, ...]


class Core(NamedTuple):
    """A cell the fast core runs. All its arrays are wide (float32 or float64); the carry's first entry is the output.

    - `step(recurrent, projected, carry) -> (carry, saved)`: one step.
    - `enter(projected, recurrent, saved, before) -> entering`: the part of the tangent that does not pass through the
      carry, for several steps at once; `projected` and `recurrent` are tangents here.
    - `tangent(recurrent, saved, before, after, entering, carry) -> carry`: the derivative of `step`, linear in the last
      two arguments; `recurrent` is transposed here.
    """

    step: Callable[[PyTree, Array, Carry], tuple[Carry, PyTree]]
    enter: Callable[[Array, PyTree, PyTree, Carry], PyTree]
    tangent: Callable[[PyTree, PyTree, Carry, Carry, PyTree, Carry], Carry]


def enter_by_product(projected: Array, recurrent: PyTree, saved: PyTree, before: Carry) -> Array:
    """`enter` of a cell that adds one product with its output to the projected input."""
    return projected + product_of_tangent(before[0], recurrent[0])


class Scan(NamedTuple):
    """How the loop over time runs: what decides the structure of the program."""

    sequences: bool = True
    reverse: bool = False
    unroll: int | None = None


class Cut(NamedTuple):
    """How a platform cuts the time: steps projected by one product, and steps per iteration of the loop."""

    size: int
    steps: int


def _cut(scan: Scan, time: int, batch: int, cpu: bool) -> Cut:
    return Cut(chunk_size(time, batch) if cpu else time, iteration_size(scan.unroll, time, cpu))


def _choose(valid: Array | None, new: Carry, old: Carry) -> Carry:
    return new if valid is None else tuple(jnp.where(valid, n, o) for n, o in zip(new, old, strict=True))


def _cast(tree: PyTree, dtype: DType) -> PyTree:
    return jax.tree.map(lambda a: a.astype(dtype), tree)


def _forward(
    core: Core, scan: Scan, cut: Cut, save: bool, x: Array, weights: PyTree, carry: Carry, valid: Array | None
) -> tuple[Array | None, Carry, list[PyTree]]:
    """Outputs, final carry, and for each part what the derivative needs: (saved, carry after each step, at entry)."""
    dtype, time = x.dtype, x.shape[0]
    kernel, bias, *recurrent = _cast(weights, dtype)
    bias = bias.astype(wide_dtype(dtype))

    def step(carry: Carry, inputs: tuple[Array, Array | None]) -> tuple[Carry, PyTree]:
        projected, valid = inputs
        new, saved = core.step(recurrent, projected, carry)
        new = _choose(valid, new, carry)
        if save:
            return new, _cast((saved, new), dtype)
        return new, new[0].astype(dtype) if scan.sequences else None

    def chunk(carry: Carry, inputs: tuple[Array, Array | None]) -> tuple[Carry, PyTree]:
        x, valid = inputs
        projected = product(merge_rows(x), kernel)
        projected = (projected + of_rank(bias, projected.ndim)).reshape(*x.shape[:2], *bias.shape)
        new, ys = lax.scan(step, carry, (projected, valid), reverse=scan.reverse, unroll=cut.steps)
        return new, (*ys, carry) if save else ys

    kept = []
    for part in chunk_parts(time, cut.size, scan.reverse):
        carry, ys = lax.scan(chunk, carry, in_chunks((x, valid), *part), reverse=scan.reverse)
        kept.append(ys)
    outputs = None
    if scan.sequences:
        outputs = join_parts([ys[1][0] if save else ys for ys in kept], scan.reverse)
    return outputs, carry, kept


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _run(
    core: Core, scan: Scan, x: Array, weights: PyTree, carry: Carry, valid: Array | None
) -> tuple[Array | None, Carry]:
    time, batch, _ = x.shape

    def forward(cut: Cut) -> Callable[..., tuple[Array | None, Carry]]:
        return lambda *args: _forward(core, scan, cut, False, *args)[:2]

    cpu, default = (_cut(scan, time, batch, is_cpu) for is_cpu in (True, False))
    if cpu == default:
        return forward(cpu)(x, weights, carry, valid)
    return lax.platform_dependent(x, weights, carry, valid, cpu=forward(cpu), default=forward(default))


@functools.partial(_run.defjvp, symbolic_zeros=True)
def _run_jvp(core: Core, scan: Scan, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    x, weights, _, valid = primals
    # Inputs that are data have no tangent, and need no product.
    dx = None if _is_zero(tangents[0]) else tangents[0]
    d_weights, d_carry = jax.tree.map(_instantiate, tangents[1:3], is_leaf=_is_zero)
    _, (d_kernel, d_bias, *d_recurrent), d_carry = alike((x, d_weights, d_carry))
    (time, batch, _), dtype = x.shape, wide_dtype(x)
    # Chosen here and not when the program is lowered, or what is saved would be saved in both forms.
    cut = _cut(scan, time, batch, placement.platform() == "cpu")
    outputs, carry, kept = _forward(core, scan, cut, True, *primals)
    # Materialised once, row-major: XLA folds a bare transpose back into the product, and then packs it at every step.
    kernel_t, *recurrent_t = lax.optimization_barrier([w.T for w in (weights[0], *weights[2:])])

    def step(d_carry: Carry, inputs: Any) -> tuple[Carry, Array | None]:
        saved, before, after, entering, valid = inputs
        new = core.tangent(recurrent_t, saved, before, after, entering, d_carry)
        new = _choose(valid, new, d_carry)
        return new, new[0] if scan.sequences else None

    def chunk(d_carry: Carry, inputs: Any) -> tuple[Carry, Array | None]:
        x, dx, valid, (saved, after, entry) = inputs
        x, dx, saved, after = _cast((x, dx, saved, after), dtype)
        before = tuple(_states_before(e, a, scan.reverse) for e, a in zip(entry, after, strict=True))
        projected = product_of_tangent(merge_rows(x), d_kernel)
        projected += of_rank(d_bias, projected.ndim)
        if dx is not None:
            projected += product_of_transpose(merge_rows(dx), kernel_t)
        entering = core.enter(projected, d_recurrent, merge_rows(saved), merge_rows(before))
        entering = jax.tree.map(lambda a: a.reshape(*x.shape[:2], a.shape[-1]), entering)
        body = jax.checkpoint(step, prevent_cse=False)
        return lax.scan(body, d_carry, (saved, before, after, entering, valid), reverse=scan.reverse, unroll=cut.steps)

    # Under checkpoint only the saved arrays are kept: the factors of the derivative are formed in the reverse pass.
    body = jax.checkpoint(chunk, prevent_cse=False)
    d_outputs = []
    for part, ys in zip(chunk_parts(time, cut.size, scan.reverse), kept, strict=True):
        inputs = (*in_chunks((x, dx, valid), *part), ys)
        d_carry, d_ys = lax.scan(body, d_carry, inputs, reverse=scan.reverse)
        d_outputs.append(d_ys)
    d_joined = join_parts(d_outputs, scan.reverse).astype(x.dtype) if scan.sequences else None
    return (outputs, carry), (d_joined, d_carry)


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)


def _instantiate(tangent: Any) -> Array:
    return jnp.zeros(tangent.shape, tangent.dtype) if _is_zero(tangent) else tangent


def _states_before(entry: Array, after: Array, reverse: bool) -> Array:
    """What each step began with: the state at the entry of the chunk, then what the step before left."""
    entry = entry[None].astype(after.dtype)
    return jnp.concatenate([after[1:], entry] if reverse else [entry, after[:-1]])


@functools.partial(jax.jit, static_argnames=("core", "return_sequences", "reverse", "time_major", "unroll", "remat"))
def recur(
    core: Core,
    x: Array,
    weights: tuple[Array, ...],
    carry: Carry,
    valid: Array | None,
    *,
    return_sequences: bool,
    reverse: bool,
    time_major: bool,
    unroll: int | None,
    remat: int | None,
) -> tuple[Array, Carry]:
    """Run the core over `x` (batch, time, features) from `carry`; see `fnn.kernels.lstm` for the arguments.

    `weights` are the kernel (features, gates), the bias (gates,) and what else the core needs, each with gates last;
    `valid` (batch, time) tells which steps count.
    """
    run = functools.partial(_run, core, Scan(return_sequences, reverse, unroll))
    if remat is not None:
        run = functools.partial(_segments, run, remat, reverse)

    def over_time(x: Array, weights: PyTree, carry: Carry, valid: Array | None) -> tuple[Array, Carry]:
        x, weights, carry, valid = alike((x, weights, carry, valid))
        dtype = x.dtype
        if not time_major:
            # Materialised: the product over several steps wants its rows in one piece.
            x = lax.optimization_barrier(x.swapaxes(0, 1))
        if valid is not None:
            valid = valid[..., None] if time_major else valid.swapaxes(0, 1)[..., None]
            # Whatever stands in the padding, NaN included, reaches neither a value nor a gradient.
            x = jnp.where(valid, x, 0)
        outputs, carry = run(x, *_cast((weights, carry), wide_dtype(dtype)), valid)
        carry = _cast(carry, dtype)
        if outputs is None:
            return carry[0], carry
        if valid is not None:
            outputs = jnp.where(valid, outputs, 0)
        return (outputs if time_major else outputs.swapaxes(0, 1)), carry

    rows = split_of(x)[1 if time_major else 0]
    outputs = PartitionSpec(None, rows) if time_major and return_sequences else PartitionSpec(rows)
    return auto_axes(over_time, (outputs, PartitionSpec(rows)))(x, weights, carry, valid)


def _segments(
    run: Callable[..., tuple[Array | None, Carry]],
    size: int,
    reverse: bool,
    x: Array,
    weights: PyTree,
    carry: Carry,
    valid: Array | None,
) -> tuple[Array | None, Carry]:
    """The sequence in segments of `size` steps: the reverse pass has the states between them, and runs each again."""

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def segment(carry: Carry, inputs: tuple[Array, Array | None]) -> tuple[Carry, Array | None]:
        outputs, carry = run(inputs[0], weights, carry, inputs[1])
        return carry, outputs

    carry, outputs = scan_in_chunks(segment, carry, (x, valid), x.shape[0], size, reverse)
    return outputs, carry
