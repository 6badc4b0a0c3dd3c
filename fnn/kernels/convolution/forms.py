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

import jax.numpy as jnp
from jax import lax

from fnn.kernels import placement
from fnn.kernels.convolution.dense import in_parts, over_batch, over_patches, patches, widen_axis, with_axis
from fnn.kernels.convolution.depthwise import convolve_depthwise, kernel_gradient_depthwise
from fnn.kernels.convolution.phases import interleave, phase_of, transposed
from fnn.kernels.sizes import known, less
from fnn.kernels.sliding_windows import Windows, pad, positions
from fnn.precision import widen
from fnn.typing import Array, Shape

__all__: list[str] = []


# The choice.


def _convolve(x: Array, w: Array, windows: Windows, groups: int) -> Array:
    if groups == 1:
        return _convolve_dense(x, w, windows)
    if w.shape[-2] == 1:
        return convolve_depthwise(x, w, windows)
    return _per_group(_convolve_dense, x, w, windows, groups)


def _convolve_dense(x: Array, w: Array, windows: Windows) -> Array:
    channels, features = w.shape[-2:]
    if positions(windows) == 1 or channels * features == 0:
        return patches(x, windows) @ w.reshape(-1, features)
    if len(windows.size) == 1:
        return _convolve_dense(x[:, None], w[None], with_axis(windows))[:, 0]
    if len(windows.size) > 2:
        return _convolve_planes(x, w, windows)
    few = channels <= 4 and (features <= 16 or x.shape[1] == 1)
    # XLA exchanges input and kernel where the kernel is the larger of the two, and leaves its fast path.
    if few or less(math.prod(x.shape[1:-1]), positions(windows)):
        return patches(x, windows) @ w.reshape(-1, features)
    if channels in (2, 3):
        x, w = widen_axis(x, -1, 4), widen_axis(w, -2, 4)
    return in_parts(x, w, windows)


def _kernel_gradient(x: Array, g: Array, windows: Windows, groups: int) -> Array:
    if groups == 1:
        return _kernel_gradient_dense(x, g, windows)
    if x.shape[-1] == groups:
        return kernel_gradient_depthwise(x, g, windows)
    return _per_group(_kernel_gradient_dense, x, g, windows, groups)


def _kernel_gradient_dense(x: Array, g: Array, windows: Windows) -> Array:
    exchanged = less(math.prod(x.shape[1:-1]), math.prod(g.shape[1:-1]))
    if positions(windows) == 1 or x.shape[-1] <= 4 or exchanged or 0 in x.shape or 0 in g.shape:
        seen = patches(x, windows)
        if known(*g.shape):
            w = seen.reshape(-1, seen.shape[-1]).T @ g.reshape(-1, g.shape[-1])
        else:  # a product of symbols may be too long to be seen as a size
            rows = tuple(range(g.ndim - 1))
            w = jnp.tensordot(seen, g, (rows, rows))
        return w.reshape(*windows.size, x.shape[-1], g.shape[-1])
    if len(windows.size) == 1:
        return _kernel_gradient_dense(x[:, None], g[:, None], with_axis(windows))[0]
    if len(windows.size) > 2:
        return _kernel_gradient_planes(x, g, windows)
    one = placement.devices("cpu") == 1 and known(*g.shape)
    return (over_patches if one else over_batch)(x, g, windows)


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
