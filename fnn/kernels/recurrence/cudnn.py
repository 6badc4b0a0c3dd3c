r"""The LSTM by cuDNN, through `jax.experimental.rnn`, where a process computes on one NVIDIA GPU.

Not measured, and never run on a GPU: its layout, derivatives and choice are tested on a CPU, against JAX's reference.

JAX's function has a value and a reverse pass, for one batch on one platform. All else is the plain core's: forward
mode, second derivatives, `vmap`, and the same program lowered for another platform. With the state and the weights in
$u$, the derivative $J$ at a point takes $\dot u$ to $\dot y$; JAX lets a reverse pass of one's own be differentiated
and batched where $J$ is part of a linear system,

$$\begin{pmatrix} 1 & 0 \\ -J & 1 \end{pmatrix} \begin{pmatrix} \dot u \\ \dot y \end{pmatrix} =
\begin{pmatrix} \dot u \\ 0 \end{pmatrix}$$

whose solution is $\dot y = J \dot u$ and whose transpose, solved, is $J^\top$: that is cuDNN's. The matrix itself is
the plain core's, and so is whatever JAX derives from it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from fnn.kernels import placement
from fnn.kernels.broadcasting import of_rank
from fnn.kernels.mesh_axes import explicit_mesh, manual_axes
from fnn.kernels.recurrence.core import Carry, Core, recur
from fnn.kernels.recurrence.sequences import reverse_sequences
from fnn.kernels.sizes import is_static
from fnn.typing import Array, PyTree

LONGEST, MOST = 65_535, 2**26
"""Steps that cuDNN takes, and batch × time × features: JAX keeps the bytes of its work space in 32 bits."""

PRECISIONS = (None, "tensorfloat32", "high", "float32", "highest")
"""Of products, as `jax.default_matmul_precision` says: those that cuDNN knows."""


class Form(NamedTuple):
    """What decides the structure of the program: the platform cuDNN is for, the plain core, the direction."""

    platform: str
    core: Core
    reverse: bool


def platform_of(x: Array, weights: PyTree, carry: Carry) -> str | None:
    """The platform on which cuDNN takes these arrays, or None for the plain core."""
    platform, config = placement.cudnn(), cast(Any, jax.config)
    if platform is None or x.dtype != jnp.float32 or config.jax_default_matmul_precision not in PRECISIONS:
        return None
    if explicit_mesh((x, weights, carry)) or any(map(manual_axes, jax.tree.leaves((x, weights, carry)))):
        return None
    sizes = (*x.shape, carry[0].shape[-1])
    if not is_static(*sizes) or min(sizes) < 1:
        return None
    first, second, features, hidden = sizes
    return platform if max(first, second) <= LONGEST and first * second * max(features, hidden) <= MOST else None


@functools.partial(jax.jit, static_argnames=("form", "return_sequences", "time_major"))
def run(
    form: Form,
    x: Array,
    weights: tuple[Array, ...],
    carry: Carry,
    valid: Array | None,
    *,
    return_sequences: bool,
    time_major: bool,
) -> tuple[Array, Carry]:
    """As `recur`, of float32 `x`; `valid` has no gaps."""
    weights, carry = jax.tree.map(lambda a: a.astype(x.dtype), (weights, carry))
    if time_major:
        x, valid = jax.tree.map(lambda a: a.swapaxes(0, 1), (x, valid))
    if valid is not None:
        # Whatever stands in the padding, NaN included, reaches neither a value nor a gradient.
        x = jnp.where(valid[..., None], x, 0)
    outputs, final, _ = _values(form, x, weights, carry, valid)
    if valid is not None:
        outputs = jnp.where(valid[..., None], outputs, 0)
        # cuDNN takes no sequence of length 0: for it they have one step, and here they end where they began.
        final = tuple(jnp.where(valid.any(1)[:, None], new, old) for new, old in zip(final, carry, strict=True))
    if not return_sequences:
        return final[0], final
    return (outputs.swapaxes(0, 1) if time_major else outputs), final


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _values(form: Form, x: Array, weights: PyTree, carry: Carry, valid: Array | None) -> tuple[Array, Carry, Array]:
    """Outputs, final state, and what cuDNN keeps for its reverse pass, which has no derivative."""
    return _choose(form, _forward, _plain_forward, (True, True, False), x, weights, carry, valid)


@_values.defjvp
def _values_jvp(form: Form, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    *values, kept = _values(form, *primals)
    at, valid = primals[:3], primals[3]

    def derivative(of_inputs: PyTree) -> PyTree:
        return jax.jvp(lambda *at: _plain(form, *at, valid), at, of_inputs)[1]

    def transpose(of_values: PyTree) -> PyTree:
        return _choose(form, _backward, _plain_backward, True, *primals, values[0], kept, of_values)

    def matrix(moved: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        return moved[0], jax.tree.map(jnp.subtract, moved[1], derivative(moved[0]))

    def solve(_: Any, moved: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        return moved[0], jax.tree.map(jnp.add, moved[1], derivative(moved[0]))

    def solve_transposed(_: Any, moved: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        return jax.tree.map(jnp.add, moved[0], transpose(moved[1])), moved[1]

    zeros = jax.tree.map(jnp.zeros_like, tuple(values))
    # JAX transposes a right-hand side that is linear as a whole: to what is constant comes a zero that is linear.
    zero = sum(tangent.ravel()[:0].sum() for tangent in jax.tree.leaves(tangents[:3]))
    right = jax.tree.map(lambda a: a + of_rank(zero, a.ndim), (tangents[:3], zeros))
    _, of_values = lax.custom_linear_solve(matrix, right, solve, solve_transposed)
    return (*values, kept), (*of_values, jnp.zeros_like(kept))


def _choose(form: Form, library: Callable[..., Any], plain: Callable[..., Any], batched: Any, *args: Any) -> Any:
    """`library` for one batch on its platform; `plain` on others and under `vmap`, of whose results `batched` vary."""
    library, plain = functools.partial(library, form), functools.partial(plain, form)

    @custom_vmap
    def run(*args: Any) -> Any:
        return lax.platform_dependent(*args, default=plain, **{form.platform: library})

    @run.def_vmap
    def run_many(size: int, is_batched: Any, *args: Any) -> Any:
        inputs, outputs = jax.tree.map(lambda many: 0 if many else None, (tuple(is_batched), batched))
        values = jax.vmap(plain, inputs, outputs, axis_size=size)(*args)
        return values, jax.tree.broadcast(batched, values)

    return run(*args)


def _plain(form: Form, *args: Any) -> tuple[Array, Carry]:
    options = {"return_sequences": True, "time_major": False, "unroll": 1, "remat": None}
    return recur(form.core, *args, reverse=form.reverse, **options)


def _plain_forward(form: Form, *args: Any) -> tuple[Array, Carry, Array]:
    kept = jax.eval_shape(functools.partial(_forward, form), *args)[2]
    return *_plain(form, *args), jnp.zeros(kept.shape, kept.dtype)


def _plain_backward(form: Form, x: Array, weights: PyTree, carry: Carry, valid: Array | None, *rest: Any) -> PyTree:
    return jax.vjp(lambda *at: _plain(form, *at, valid), x, weights, carry)[1](rest[-1])


def _forward(form: Form, *args: Any) -> tuple[Array, Carry, Array]:
    operands, options, turn = _call(form, *args)
    (outputs, h, c), (*_, kept) = _rnn().lstm_fwd(*operands, *options)
    return turn(outputs), (h[0], c[0]), kept


def _backward(form: Form, x: Array, weights: PyTree, carry: Carry, valid: Array | None, *rest: Any) -> PyTree:
    outputs, kept, (of_outputs, (of_h, of_c)) = rest
    operands, options, turn = _call(form, x, weights, carry, valid)
    of_values = turn(of_outputs), of_h[None], of_c[None]
    dx, dh, dc, packed, _ = _rnn().lstm_bwd(*options, (*operands, turn(outputs), kept), of_values)
    (of_weights,) = jax.linear_transpose(pack, weights)(packed)
    return turn(dx), of_weights, (dh[0], dc[0])


def _rnn() -> Any:
    from jax.experimental import rnn  # where it is used: it may go with any release

    return rnn


def _call(
    form: Form, x: Array, weights: PyTree, carry: Carry, valid: Array | None
) -> tuple[tuple[Array, ...], tuple[Any, ...], Callable[[Array], Array]]:
    """What JAX's function takes, arrays and options, and what turns sequences around if they run in reverse."""
    batch, time, features = x.shape
    lengths = None if valid is None else jnp.maximum(valid.sum(1, dtype=jnp.int32), 1)

    def turn(sequences: Array) -> Array:
        return reverse_sequences(sequences, lengths) if form.reverse else sequences

    h, c = carry
    steps = jnp.full(batch, time, jnp.int32) if lengths is None else lengths
    layers, dropout, bidirectional, precision = 1, 0.0, False, None
    options = features, h.shape[-1], layers, dropout, bidirectional, precision
    return (turn(x), h[None], c[None], pack(weights), steps), options, turn


def pack(weights: tuple[Array, ...]) -> Array:
    r"""$W^\top$, $U^\top$ row by row, $b$ and, as cuDNN adds two, a bias of zeros: the gates are i, f, g, o in both."""
    kernel, bias, recurrent_kernel = weights
    return jnp.concatenate([kernel.T.ravel(), recurrent_kernel.T.ravel(), bias, jnp.zeros_like(bias)])
