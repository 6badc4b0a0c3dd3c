"""How each of the three products of a convolution is computed on a CPU, and which form is taken when.

XLA's convolution runs at one core's peak if, and only if, it is two-dimensional, channels last, of stride 1 in its
input and with more than 16 channels on one side; everything else falls to a slower path, and inside a loop any other
layout to a scalar one. So every product here is brought to that form. CPU milliseconds of one core at 200 GF/s, one
product of a batch of 128 (inside a scan; in brackets the peak's):

| product                           | taken                        | measured     | instead of                         |
|-----------------------------------|------------------------------|--------------|------------------------------------|
| 3×3, 28×28, 32→32                 | XLA                          |  9.3  (9.3)  | patches 54, one dot per tap 37     |
| 3×3, 28×28, 1→32, kernel grad.    | patches                      |  1.4  (0.3)  | convolution over the batch 2.5     |
| 3×3, 32×32, 3→32                  | XLA, channels filled up to 4 |  1.9  (1.1)  | XLA 7.2, patches 4.6               |
| 5×5, 28×28, 1→6                   | patches                      |  2.4  (0.2)  | XLA 4.6                            |
| 1×1, 28×28, 32→64                 | one dot                      |  2.3  (2.1)  | XLA 2.7, and that on one core      |
| 1-D, 5 taps, length 256, 64→64    | XLA in two dimensions        |  2.9  (3.4)  | XLA in one 3.3, patches 5.8        |
| 3-D, 3×3×3, 16×16×16, 16→32, 8 in | planes in two dimensions     |  4.2  (4.5)  | XLA in three 31.8, patches 28      |
| 3×3, 28×28, 64→64, 4 groups, 64   | one group after another      | 13.3  (9.2)  | XLA 64, its kernel gradient 1363   |
| 3×3, 14×14, stride 2, input grad. | one part per phase           |  4.7  (4.6)  | all phases at once 8.5, XLA's 5.5  |
| 5×5, 28×28, VALID, input gradient | padded, then XLA             | 21.8 (25.7)  | XLA padding it 29.6                |

A convolution of XLA runs on one core. Independent ones run side by side, so a large one is cut along the batch. A
matrix product runs on all cores: on one device the gradient of a large kernel is a product with the patches of a few
examples at a time. Wall-clock milliseconds of 2 cores inside a scan (in brackets a matrix product of as many
operations; XLA's own form of the first row takes 265):

| kernel gradient, 3×3       | 4 MiB of patches at a time | 1 MiB | 2 MiB | over the batch | one dot per tap |
|----------------------------|---------------------------:|------:|------:|---------------:|----------------:|
| 28×28, 32→32, batch 128    |                10.3  (4.3) |  13.8 |  11.8 |           14.1 |            25.4 |
| 14×14, 32→64, batch 128    |                 4.1  (2.2) |   5.3 |   4.4 |            7.3 |             7.3 |
| 7×7, 64→128, batch 128     |                 3.1  (2.2) |   3.8 |   3.2 |            3.1 |             2.8 |
| 32×32, 64→64, batch 32     |                11.5  (5.6) |  11.8 |  11.6 |           16.1 |            18.6 |
| 8×8, 256→256, batch 32     |                 6.5  (5.6) |   9.9 |   8.4 |            7.2 |             5.8 |
| 4×4, 512→512, batch 32     |                 6.9  (5.6) |  13.0 |   8.8 |           14.9 |             5.4 |

Over several devices the batch is spread already: each computes its part as one convolution over it.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from fnn.kernels import placement
from fnn.kernels.broadcasting import of_rank
from fnn.kernels.convolution import plain
from fnn.kernels.convolution.phases import interleave, phase_of, transposed
from fnn.kernels.precision import widen
from fnn.kernels.sizes import known, less
from fnn.kernels.sliding_windows import Windows, pad, positions, taps
from fnn.typing import Array, Shape

__all__: list[str] = []


# The choice.


def _convolve(x: Array, w: Array, windows: Windows, groups: int) -> Array:
    if groups == 1:
        return _convolve_dense(x, w, windows)
    if w.shape[-2] == 1:
        return _convolve_depthwise(x, w, windows)
    return _per_group(_convolve_dense, x, w, windows, groups)


def _convolve_dense(x: Array, w: Array, windows: Windows) -> Array:
    channels, features = w.shape[-2:]
    if positions(windows) == 1 or channels * features == 0:
        return _patches(x, windows) @ w.reshape(-1, features)
    if len(windows.size) == 1:
        return _convolve_dense(x[:, None], w[None], _with_axis(windows))[:, 0]
    if len(windows.size) > 2:
        return _convolve_planes(x, w, windows)
    few = channels <= 4 and (features <= 16 or x.shape[1] == 1)
    # XLA exchanges input and kernel where the kernel is the larger of the two, and leaves its fast path.
    if few or less(math.prod(x.shape[1:-1]), positions(windows)):
        return _patches(x, windows) @ w.reshape(-1, features)
    if channels in (2, 3):
        x, w = _widen_axis(x, -1, 4), _widen_axis(w, -2, 4)
    return _in_parts(x, w, windows)


def _kernel_gradient(x: Array, g: Array, windows: Windows, groups: int) -> Array:
    if groups == 1:
        return _kernel_gradient_dense(x, g, windows)
    if x.shape[-1] == groups:
        return _kernel_gradient_depthwise(x, g, windows)
    return _per_group(_kernel_gradient_dense, x, g, windows, groups)


def _kernel_gradient_dense(x: Array, g: Array, windows: Windows) -> Array:
    exchanged = less(math.prod(x.shape[1:-1]), math.prod(g.shape[1:-1]))
    if positions(windows) == 1 or x.shape[-1] <= 4 or exchanged or 0 in x.shape or 0 in g.shape:
        patches = _patches(x, windows)
        if known(*g.shape):
            w = patches.reshape(-1, patches.shape[-1]).T @ g.reshape(-1, g.shape[-1])
        else:  # a product of symbols may be too long to be seen as a size
            rows = tuple(range(g.ndim - 1))
            w = jnp.tensordot(patches, g, (rows, rows))
        return w.reshape(*windows.size, x.shape[-1], g.shape[-1])
    if len(windows.size) == 1:
        return _kernel_gradient_dense(x[:, None], g[:, None], _with_axis(windows))[0]
    if len(windows.size) > 2:
        return _kernel_gradient_planes(x, g, windows)
    one = placement.devices("cpu") == 1 and known(*g.shape)
    return (_over_patches if one else _over_batch)(x, g, windows)


def _in_float32(form: Callable[..., Array]) -> Callable[..., Array]:
    """Compute in float32 what comes in fewer bits: the CPU has no fast convolution below it, and sums need it."""

    @functools.wraps(form)
    def wide(a: Array, b: Array, **static: object) -> Array:
        return form(widen(a), widen(b), **static).astype(a.dtype)

    return wide


@_in_float32
def convolve(x: Array, w: Array, *, windows: Windows, groups: int) -> Array:
    """The convolution on a CPU."""
    return _convolve(x, w, windows, groups)


@_in_float32
def kernel_gradient(x: Array, g: Array, *, windows: Windows, groups: int) -> Array:
    """The gradient of the kernel on a CPU."""
    return _kernel_gradient(x, g, windows, groups)


@_in_float32
def input_gradient(g: Array, w: Array, *, windows: Windows, groups: int, spatial: Shape) -> Array:
    """The gradient of the input on a CPU: one convolution of stride 1 for each phase of the stride."""
    flipped = transposed(w, groups)
    m = tuple(-(-n // s) for n, s in zip(spatial, windows.strides, strict=True))
    phases = []
    for phase in itertools.product(*map(range, windows.strides)):
        axes = [
            phase_of(p, *axis)
            for p, *axis in zip(
                phase, windows.size, windows.strides, windows.padding, windows.dilation, m, g.shape[1:-1], strict=True
            )
        ]
        chosen = tuple(taken for taken, *_ in axes)
        if any(taken.stop <= taken.start for taken in chosen):
            phases.append(jnp.zeros((g.shape[0], *m, flipped.shape[-1]), g.dtype))
            continue
        kernel = jnp.flip(flipped[chosen], range(len(m)))
        size = kernel.shape[:-2]
        part = Windows(size, (1,) * len(m), tuple(p for _, p, _ in axes), tuple(d for *_, d in axes))
        phases.append(_convolve(g, kernel, part, groups))
    return interleave(phases, windows.strides, spatial)


# One group.


def _patches(x: Array, windows: Windows) -> Array:
    """(N, *windows, positions · C): every window laid out as a row."""
    return jnp.concatenate(list(taps(pad(x, windows.padding), windows)), axis=-1)


def _widen_axis(a: Array, axis: int, length: int) -> Array:
    widths = [(0, 0)] * a.ndim
    widths[axis] = (0, length - a.shape[axis])
    return jnp.pad(a, widths)


def _with_axis(windows: Windows) -> Windows:
    """The same windows with one more axis of length 1 before the others."""
    return Windows((1, *windows.size), (1, *windows.strides), ((0, 0), *windows.padding), (1, *windows.dilation))


def _parts(batch: int, products: int) -> int:
    """Into how many convolutions to cut the batch so that they keep all cores busy.

    With several CPU devices the batch is spread over those already, and cutting it would gather it again. A part
    below some ten million products costs more to start than it saves.
    """
    if not known(batch, products):
        return 1
    cores = placement.cores() if placement.devices("cpu") == 1 else 1
    wanted = 2 * cores if cores > 1 else 1
    return next(p for p in range(int(max(min(wanted, products / 1e7, 16), 1)), 0, -1) if batch % p == 0)


def _in_parts(x: Array, w: Array, windows: Windows) -> Array:
    counts = windows.counts(x.shape[1:-1])
    if any(less(lo, 0) or less(hi, 0) for lo, hi in windows.padding) or any(
        less(n, out) for out, n in zip(counts, x.shape[1:-1], strict=True)
    ):
        # The fast path cuts nothing off and gives no more than it gets; the barrier keeps the padding out of it.
        x = lax.optimization_barrier(pad(x, windows.padding))
        windows = windows._replace(padding=((0, 0),) * len(counts))
    each = math.prod(w.shape[:-1])
    products = x.shape[0] * math.prod(counts) * each * w.shape[-1]
    # Below two hundred products per output, joining the parts costs more than computing them.
    parts = _parts(x.shape[0], products) if each >= 200 else 1
    return jnp.concatenate([plain.convolve(part, w, windows) for part in jnp.split(x, parts)])


PATCH_BYTES = 4 * 2**20
"""Patches laid out at a time: they must stay in the cache between being written and being multiplied."""


def _over_patches(x: Array, g: Array, windows: Windows) -> Array:
    """The kernel gradient as gᵀ times the patches of a few examples at a time."""
    (batch, *outputs, features), size = g.shape, positions(windows) * x.shape[-1]
    fit = max(PATCH_BYTES // (math.prod(outputs) * size * x.dtype.itemsize), 1)
    few = -(-batch // -(-batch // fit))  # parts as equal as can be
    whole = batch - batch % few

    def add(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        # The smaller factor is transposed, behind a barrier: the product is then one of two row-major arrays.
        g_t = lax.optimization_barrier(part[1].reshape(-1, features).T)
        return total + g_t @ _patches(part[0], windows).reshape(-1, size), None

    parts = jax.tree.map(lambda a: a[:whole].reshape(-1, few, *a.shape[1:]), (x, g))
    total, _ = lax.scan(add, jnp.zeros((features, size), x.dtype), parts)
    if whole < batch:
        total, _ = add(total, (x[whole:], g[whole:]))
    return total.T.reshape(*windows.size, x.shape[-1], features)


def _over_batch(x: Array, g: Array, windows: Windows) -> Array:
    """The kernel gradient as a convolution that sums over the batch: channels are its batch, g is its kernel.

    w[t, c, f] = Σ_{o, n} x[n, o s + t d - p, c] g[n, o, f]: x as (C, *spatial, N) and g as (*windows, N, F) give
    (C, *positions, F), with stride and dilation exchanged.
    """
    outputs = g.shape[1:-1]
    axes = zip(x.shape[1:-1], windows.size, windows.strides, windows.padding, windows.dilation, outputs, strict=True)
    reach = tuple((lo, (k - 1) * d + (o - 1) * s + 1 - n - lo) for n, k, s, (lo, _), d, o in axes)
    if any(less(part, 0) for part in itertools.chain.from_iterable(reach)):
        x, reach = lax.optimization_barrier(pad(x, reach)), ((0, 0),) * len(reach)
    exchanged = Windows(outputs, windows.dilation, reach, windows.strides)
    products = g.size * x.shape[-1] * positions(windows)
    parts = _parts(x.shape[0], products)
    over = tuple(range(1, x.ndim - 1))
    sums = []
    for x_part, g_part in zip(jnp.split(x, parts), jnp.split(g, parts), strict=True):
        # The barrier keeps XLA from folding the transposes into a layout that no fast path takes.
        x_part, g_part = lax.optimization_barrier(
            (jnp.transpose(x_part, (x.ndim - 1, *over, 0)), jnp.transpose(g_part, (*over, 0, x.ndim - 1)))
        )
        sums.append(plain.convolve(x_part, g_part, exchanged))
    return jnp.moveaxis(functools.reduce(jnp.add, sums), 0, -2)


# More than two spatial axes: the first one by hand.


def _planes(a: Array, start: int, step: int, count: int) -> Array:
    """`count` slices of axis 1, as rows."""
    a = lax.slice_in_dim(a, start, start + (count - 1) * step + 1, step, axis=1)
    return a.reshape(-1, *a.shape[2:])


def _first_axis(windows: Windows) -> tuple[tuple[int, int], int, int, Windows]:
    rest = Windows(windows.size[1:], windows.strides[1:], windows.padding[1:], windows.dilation[1:])
    return windows.padding[0], windows.strides[0], windows.dilation[0], rest


def _convolve_planes(x: Array, w: Array, windows: Windows) -> Array:
    padding, stride, dilation, rest = _first_axis(windows)
    count = windows.counts(x.shape[1:-1])[0]
    x = pad(x, (padding, *((0, 0),) * (len(windows.size) - 1)))
    y = functools.reduce(
        jnp.add, [_convolve_dense(_planes(x, t * dilation, stride, count), w[t], rest) for t in range(w.shape[0])]
    )
    return y.reshape(-1, count, *y.shape[1:])


def _kernel_gradient_planes(x: Array, g: Array, windows: Windows) -> Array:
    padding, stride, dilation, rest = _first_axis(windows)
    count = g.shape[1]
    x = pad(x, (padding, *((0, 0),) * (len(windows.size) - 1)))
    g = _planes(g, 0, 1, count)
    return jnp.stack(
        [_kernel_gradient_dense(_planes(x, t * dilation, stride, count), g, rest) for t in range(windows.size[0])]
    )


# One input channel per group (depthwise): shifted products, without any matrix product. One example at a time: a loop
# writes its result, where XLA would fuse the products into a sum that follows (a batch norm, the gradient of a bias)
# and run them there one by one, behind a barrier too. 3×3, 64×28×28×64, 2 cores: 2.9 ms, fused 48, XLA's grouped
# convolution 65; the kernel gradient 4.6 ms, every example summed at once 6.4, all examples at once 20.


def _convolve_depthwise(x: Array, w: Array, windows: Windows) -> Array:
    if not less(x.shape[0], 2) and placement.devices("cpu") == 1:
        return lax.map(lambda one: _convolve_shifted(one[None], w, windows)[0], x)
    return _convolve_shifted(x, w, windows)


def _convolve_shifted(x: Array, w: Array, windows: Windows) -> Array:
    groups = x.shape[-1]
    kernels = w.reshape(-1, groups, w.shape[-1] // groups)  # (positions, groups, multiplier)
    shifted = taps(pad(x, windows.padding), windows)
    weighted = [tap[..., None] * of_rank(kernel, tap.ndim + 1) for tap, kernel in zip(shifted, kernels, strict=True)]
    y = functools.reduce(jnp.add, weighted)
    return y.reshape(*y.shape[:-2], -1)


def _kernel_gradient_depthwise(x: Array, g: Array, windows: Windows) -> Array:
    g = g.reshape(*g.shape[:-1], x.shape[-1], -1)  # (N, *windows, groups, multiplier)

    def products(x: Array, g: Array) -> list[Array]:
        return [tap[..., None] * g for tap in taps(pad(x, windows.padding), windows)]

    if placement.devices("cpu") > 1:  # a loop over a batch that is split would gather it
        totals = [product.sum(tuple(range(g.ndim - 2))) for product in products(x, g)]
        return jnp.stack(totals).reshape(*windows.size, 1, -1)
    over = tuple(range(g.ndim - 3))
    # Sums over the places wait until the end where all products of an example stay in the cache.
    small = less(positions(windows) * math.prod(g.shape[1:]) * g.dtype.itemsize, PATCH_BYTES + 1)

    def add(totals: list[Array], one: tuple[Array, Array]) -> tuple[list[Array], None]:
        found = [product[0] for product in products(one[0][None], one[1][None])]
        return [t + (p if small else p.sum(over)) for t, p in zip(totals, found, strict=True)], None

    start = [jnp.zeros(g.shape[1:] if small else g.shape[-2:], g.dtype)] * positions(windows)
    totals, _ = lax.scan(add, start, (x, g))
    return jnp.stack([t.sum(over) if small else t for t in totals]).reshape(*windows.size, 1, -1)


# Groups.


def _split(a: Array, groups: int) -> Array:
    """(…, groups · c) -> (groups, …, c)."""
    return jnp.moveaxis(a.reshape(*a.shape[:-1], groups, -1), -2, 0)


def _join(a: Array) -> Array:
    """(groups, …, c) -> (…, groups · c)."""
    a = jnp.moveaxis(a, 0, -2)
    return a.reshape(*a.shape[:-2], -1)


def _per_group(form: Callable[..., Array], a: Array, b: Array, windows: Windows, groups: int) -> Array:
    return _join(lax.map(lambda ab: form(*ab, windows), (_split(a, groups), _split(b, groups))))
