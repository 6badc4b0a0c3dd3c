"""What recurrent layers share: padded input, state kept between calls, noise, and the choice of how they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks, initializers, random_bits
from fnn.kernels.broadcasting import of_rank
from fnn.kernels.dropout import dropout
from fnn.kernels.recurrence.scan import scan_cell
from fnn.kernels.recurrence.sequences import check_sequence
from fnn.layer import Facts, Layer
from fnn.layer.padded import values_and_lengths, with_lengths_of, zero_padding
from fnn.precision import wide_dtype
from fnn.typing import Array, ArrayLike, Initializer, Key, PyTree


class RecurrentOptions(NamedTuple):
    """What all recurrent layers have in common."""

    return_sequences: bool
    reverse: bool
    stateful: bool
    recurrent_dropout: ArrayLike | None
    zoneout: ArrayLike | None
    unroll: int | None
    remat: int | None


class Cell(NamedTuple):
    """A recurrent layer's mathematics.

    - `init(key, x) -> params`.
    - `sizes`: features of each part of the carry, which is zero before the first step; the first part is the output.
    - `core(params, x, carry, **options) -> (outputs, carry)`: the fast core, or None for a cell it does not cover.
    - `project(params, x)`: the part of a step that needs no state, for all steps at once.
    - `step(params, projected, carry, h) -> carry`: one step; `h` is the last output after recurrent dropout.
    - `carry(parts)`: the tuple of its own that these are.
    """

    init: Callable[[Key, Any], PyTree]
    sizes: tuple[int, ...]
    core: Callable[..., tuple[Array, tuple[Array, ...]]] | None
    project: Callable[[PyTree, Array], Array]
    step: Callable[[PyTree, Array, tuple[Array, ...], Array], tuple[Array, ...]]
    carry: Callable[[Iterable[Array]], tuple[Array, ...]] = tuple


def _check(name: str, options: RecurrentOptions) -> None:
    for rate in ("recurrent_dropout", "zoneout"):
        if getattr(options, rate) is not None:
            checks.in_range(name, rate, getattr(options, rate), 0, 1)
    for steps in ("unroll", "remat"):
        if getattr(options, steps) is not None:
            checks.integer(name, steps, getattr(options, steps))


def recurrent(name: str, cell: Cell, options: RecurrentOptions) -> Layer:
    """The layer of a cell."""
    _check(name, options)

    def start(x: Any) -> tuple[Array, ...]:
        # Arrays of their own: a buffer that stands in two places cannot be given away.
        return cell.carry(jnp.zeros((x.shape[0], size), jnp.result_type(x)) for size in cell.sizes)

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        values, _ = values_and_lengths(x)
        check_sequence(name, values)
        return cell.init(key, values), {"carry": start(values)} if options.stateful else ()

    def run(
        params: PyTree, x: Array, carry: tuple[Array, ...], lengths: Any, key: Key | None, train: bool
    ) -> tuple[Array, tuple[Array, ...]]:
        # The one place that chooses: the core where it covers the cell, the generic scan elsewhere.
        noisy = options.zoneout is not None or (train and options.recurrent_dropout is not None)
        how = {"lengths": lengths, "reverse": options.reverse, "unroll": options.unroll, "remat": options.remat}
        if cell.core is not None and not noisy:
            return cell.core(params, x, carry, return_sequences=options.return_sequences, **how)
        if noisy and train:
            checks.require_key(name, key, "train=True with recurrent_dropout or zoneout")
        x = zero_padding(name, x, lengths)
        step, inputs, first = _noisy_step(cell, options, params, x, carry, key if train else None)
        outputs, final = scan_cell(step, first, inputs, **how)
        final = jax.tree.map(lambda a: a.astype(x.dtype), final)
        return (outputs if options.return_sequences else final[0]), final

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        values, lengths = values_and_lengths(x)
        check_sequence(name, values)
        checks.same_features(name, params["kernel"].shape[:1], values.shape[-1:], values)
        carry = _last_state(name, state, values) if options.stateful else start(values)
        outputs, carry = run(params, jnp.asarray(values), carry, lengths, key, train)
        if options.return_sequences:
            outputs = with_lengths_of(x, outputs)
        return outputs, {"carry": carry} if options.stateful else state

    random = options.recurrent_dropout is not None or options.zoneout is not None
    return Layer(init, apply, facts=Facts(recurs=True, random=random))


def _last_state(name: str, state: PyTree, x: Any) -> tuple[Array, ...]:
    """The state the last call ended in; truncated back-propagation: no gradient flows into earlier calls."""
    carry = state["carry"]
    if carry[0].shape[0] != x.shape[0]:
        raise ValueError(
            f"{name}: stateful=True keeps one state per row of the batch: expected {carry[0].shape[0]} rows, as "
            f"initialised, got {x.shape[0]} in {checks.describe(x)}"
        )
    return jax.lax.stop_gradient(carry)


def _noisy_step(
    cell: Cell, options: RecurrentOptions, params: PyTree, x: Array, carry: tuple[Array, ...], key: Key | None
) -> tuple[Callable[..., Any], PyTree, tuple[Array, ...]]:
    """The step for `scan_cell`, its inputs and its carry: recurrent dropout and zoneout around the cell's own step.

    Recurrent dropout draws one mask for all steps; zoneout keeps each unit's old state at random steps, at inference
    the mean of both.
    """
    dtype = wide_dtype(x)
    params = jax.tree.map(lambda a: a.astype(x.dtype), params)
    carry = jax.tree.map(lambda a: a.astype(dtype), carry)
    keep: Any = 1
    if key is not None and options.recurrent_dropout is not None:
        keep = dropout(random_bits.fold_in(key, 0), jnp.ones_like(carry[0]), options.recurrent_dropout)
    stay = None
    if key is not None and options.zoneout is not None:
        rate = jnp.asarray(options.zoneout, float)
        keys = iter(random_bits.split(random_bits.fold_in(key, 1), len(carry)))
        stay = jax.tree.map(lambda old: jax.random.bernoulli(next(keys), rate, (*x.shape[:2], old.shape[-1])), carry)

    def step(old: tuple[Array, ...], inputs: tuple[Array, PyTree]) -> tuple[tuple[Array, ...], Array]:
        projected, stay = inputs
        new = cell.step(params, projected, old, old[0] * keep)
        if stay is not None:
            new = jax.tree.map(jnp.where, stay, old, new)
        elif options.zoneout is not None:
            rate = jnp.asarray(options.zoneout, dtype)
            new = jax.tree.map(lambda o, n: rate * o + (1 - rate) * n, old, new)
        return new, new[0].astype(x.dtype)

    return step, (cell.project(params, x), stay), carry


def weights(
    gates: int, outputs: int, hidden: int, kernel_init: Initializer | None, recurrent_init: Initializer | None
) -> Callable[[Key, Any], PyTree]:
    """`kernel` (in, gates·hidden) and `recurrent_kernel` (outputs, gates·hidden), drawn gate by gate."""
    kernel_init = initializers.glorot_uniform() if kernel_init is None else kernel_init
    recurrent_init = initializers.orthogonal() if recurrent_init is None else recurrent_init

    def init(key: Key, x: Any) -> PyTree:
        kernel_keys, recurrent_keys = (random_bits.split(k, gates) for k in random_bits.split(key))
        dtype, inputs = jnp.result_type(x), x.shape[-1]
        # Drawn wide: there is no orthogonal factorization in 16 bits.
        kernels = [kernel_init(k, (inputs, hidden), wide_dtype(dtype)) for k in kernel_keys]
        recurrent = [recurrent_init(k, (outputs, hidden), wide_dtype(dtype)) for k in recurrent_keys]
        columns = {"kernel": kernels, "recurrent_kernel": recurrent}
        return {name: jnp.concatenate(drawn, axis=1).astype(dtype) for name, drawn in columns.items()}

    return init


def project_inputs(params: PyTree, x: Array) -> Array:
    """$x W + b$ for all steps, in the wide dtype."""
    dtype = wide_dtype(x)
    product = jnp.matmul(x, params["kernel"].astype(x.dtype), preferred_element_type=dtype)
    return product + of_rank(params["bias"].astype(dtype), product.ndim)
