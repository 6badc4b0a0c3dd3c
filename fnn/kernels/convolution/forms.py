"""How each of the three products of a convolution is computed on a CPU, and which form is taken when.

XLA's convolution runs at one core's peak if, and only if, it is two-dimensional, channels last, of stride 1 in its
input and with more than 16 channels on one side; everything else falls to a slower path, and inside a loop any other
layout to a scalar one. So every product here is brought to that form, and large ones of 3×3 to matrix products
(`winograd`). CPU milliseconds of one core at 200 GF/s, one product of a batch of 128 (inside a scan; in brackets the
peak's):

| product                           | taken                        | measured     | instead of                         |
|-----------------------------------|------------------------------|--------------|------------------------------------|
| 3×3, 28×28, 32→32                 | XLA                          |  9.3  (9.3)  | patches 54, one dot per tap 37     |
| 3×3, 28×28, 1→32, kernel grad.    | patches                      |  1.4  (0.3)  | convolution over the batch 2.5     |
| 3×3, 32×32, 3→32                  | XLA, channels filled up to 4 |  1.9  (1.1)  | XLA 7.2, patches 4.6               |
| 5×5, 28×28, 1→6                   | patches                      |  2.4  (0.2)  | XLA 4.6                            |
| 1×1, 28×28, 32→64                 | one dot                      |  2.3  (2.1)  | XLA 2.7, and that on one core      |
| 1-D, 5 taps, length 256, 64→64    | XLA in two dimensions        |  2.9  (3.4)  | XLA in one 3.3, patches 5.8        |
| 3-D, 3×3×3, 16×16×16, 16→32, 8 in | planes in two dimensions     |  4.2  (4.5)  | XLA in three 31.8, patches 28      |
| 3×3, 14×14, stride 2, input grad. | one part per phase           |  4.7  (4.6)  | all phases at once 8.5, XLA's 5.5  |
| 5×5, 28×28, VALID, input gradient | padded, then XLA             | 21.8 (25.7)  | XLA padding it 29.6                |

Filled up to 4, three channels take 0.15 to 0.5 of XLA's time with jax 0.10 and at most 32 features (3×3, 32×32 and
96×96, processor time), 1.1 to 1.7 times as long with 40 and more, with two channels, and mostly with jax 0.12. Five to
seven filled up to 8 take 0.6 to 0.8 with 8 and 16 features (3×3, 32×32; 6→16 also 5×5, 14×14), mostly more with 24 and
up, both jax.

With jax 0.10 a convolution of XLA runs on one core. Independent ones run side by side, so a large one is cut along
the batch. With jax 0.12 one runs on all cores (`placement.threads_convolutions`), and cutting it only costs. A matrix
product runs on all cores in both. So on one device the gradient of a kernel is, with jax 0.12, a convolution over the
batch, and with 0.10 a product with the rows of the patches of a few examples at a time; a kernel with many channels
and few places is that with both.

Wall-clock milliseconds of 2 cores with AVX-512 (AMD Zen 4, 2026), medians inside a scan, jax 0.12.0 | 0.10.2:

| kernel gradient             | over the batch | rows of patches | whole patches |
|-----------------------------|---------------:|----------------:|--------------:|
| 3×3, 28×28, 32→32, 128      |    17.1 | 26.2 |     20.7 | 22.5 |   20.3 | 23.9 |
| 3×3, 14×14, 32→64, 128      |    10.3 | 12.5 |     12.0 |  8.4 |   13.2 | 10.5 |
| 3×3, 7×7, 64→128, 128       |     5.7 |  5.7 |      6.1 |  6.1 |    6.7 |  7.7 |
| 3×3, 32×32, 64→64, 32       |    15.6 | 29.5 |     19.7 | 21.8 |   21.7 | 23.7 |
| 5×5, 28×28, 16→32, 64       |     7.8 | 15.5 |     11.4 | 16.2 |   13.1 | 15.9 |
| stride 2, 28×28, 32→64, 128 |    10.2 | 23.2 |     12.1 | 16.2 |   10.8 | 20.5 |
| 3×3, 56×56, 64→64, 8        |    16.3 | 23.4 |     18.2 | 19.6 |   26.1 | 27.1 |
| 3×3, 8×8, 256→256, 32       |    16.3 | 16.0 |     15.7 | 17.2 |   14.9 | 18.6 |
| 3×3, 4×4, 512→512, 32       |    22.1 | 36.6 |     18.6 | 28.7 |   15.9 | 30.9 |

| forward                     | in four parts |    at once    | alone, in four parts |    at once    |
|-----------------------------|--------------:|--------------:|---------------------:|--------------:|
| 3×3, 28×28, 32→32, 128      |   16.2 | 23.2 |   12.6 | 20.9 |          16.8 | 17.7 |   13.4 | 19.8 |
| 3×3, 14×14, 32→64, 128      |    6.4 | 11.1 |    6.1 | 11.2 |           7.4 |  9.0 |    6.2 | 10.5 |
| 3×3, 32×32, 64→64, 32       |   15.6 | 27.0 |   13.6 | 25.4 |          17.9 | 21.1 |   14.8 | 25.5 |
| 5×5, 28×28, 16→32, 64       |    8.0 | 14.3 |    7.5 | 13.3 |           9.0 | 11.0 |    7.4 | 13.2 |

Of 3×3, 7×7, 64→128 patches in one product and several maps beside or above one another took 1.0 to 1.4 times as long
as XLA with 0.12, of 3-D, 3×3×3, 12×12×12, 16→32 patches, the planes and rows of a window as channels, the planes of a
window or two to four outputs as features, and planes above one another 1.1 to 6 times as long as what is taken.

One product per tap takes 1.4 to 3 times as long as rows of patches, 2 MiB of them as long as 1 and less than 4 or 8.

Convolutions of groups stand side by side. Two groups in one, with zeros between them, are sometimes faster, but zero
times infinity is not a number: a group that diverges (a member of many, say) would take its neighbour with it, and so
would a place of a first layer with two outputs of a row from one window, 0.5 to 1.05 of the time of what is taken. 3×3,
alone, jax 0.12.0 | 0.10.2; forward minima, because the minute was noisy, kernel gradients medians:

| forward                           | side by side | two groups in one | one after another |
|-----------------------------------|-------------:|------------------:|------------------:|
| 4 groups of 16, 14×14, 64         |    2.8 | 2.7 |         3.5 | 5.4 |         3.7 | 3.5 |
| 32 groups of 8, 14×14, 32         |    8.0 | 7.8 |         5.7 | 5.5 |       10.6 | 10.0 |
| 8 groups of 16, 28×28, 32         |  11.7 | 12.2 |       14.9 | 21.2 |       15.0 | 15.7 |
| kernel gradient over the batch, 4 |    3.2 | 4.6 |                   |         4.2 | 5.1 |
| the same, 32 groups               |    6.2 | 7.0 |         7.8 | 9.0 |        13.0 | 8.6 |

One batched product of patches takes 7 to 8 times as long as the best of these, XLA's grouped convolution 2.7 | 4 to 10
times, oneDNN's, in a program that is compiled with it (0.12), 0.45 to 0.6.

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
from fnn.kernels.convolution import plain, winograd
from fnn.kernels.convolution.dense import in_parts, over_batch, over_rows, patches, widen_axis, with_axis
from fnn.kernels.convolution.depthwise import convolve_depthwise, kernel_gradient_depthwise
from fnn.kernels.convolution.phases import interleave, phase_of, transpose_kernel
from fnn.kernels.sizes import is_static, less
from fnn.kernels.sliding_windows import Windows, pad, positions
from fnn.precision import widen
from fnn.typing import Array, Shape

# The choice.


def _in_float32(form: Callable[..., Array]) -> Callable[..., Array]:
    """Compute in float32 what comes in fewer bits: the CPU has no fast convolution below it, and sums need it."""

    @functools.wraps(form)
    def wide(a: Array, b: Array, **static: object) -> Array:
        return form(widen(a), widen(b), **static).astype(a.dtype)

    return wide


@_in_float32
def convolve(x: Array, w: Array, *, windows: Windows, groups: int) -> Array:
    """The convolution on a CPU."""
    if groups == 1:
        return _convolve_dense(x, w, windows)
    if w.shape[-2] == 1:
        return convolve_depthwise(x, w, windows)
    return _per_group(functools.partial(_convolve_dense, quick=groups > UNROLLED), x, w, windows, groups)


def _convolve_dense(x: Array, w: Array, windows: Windows, quick: bool = True) -> Array:
    """`quick`: also by a form that takes long to compile."""
    channels, features = w.shape[-2:]
    if positions(windows) == 1 or channels * features == 0:
        return patches(x, windows) @ w.reshape(-1, features)
    if len(windows.size) == 1:
        return _convolve_dense(x[:, None], w[None], with_axis(windows))[:, 0]
    if len(windows.size) > 2:
        return _convolve_planes(x, w, windows, quick)
    if quick and winograd.saves(x, w, windows):
        return winograd.convolve(x, w, windows)
    few = channels <= 4 and (features <= 16 or x.shape[1] == 1)
    # XLA exchanges input and kernel where the kernel is the larger of the two, and leaves its fast path.
    if few or less(math.prod(x.shape[1:-1]), positions(windows)):
        return patches(x, windows) @ w.reshape(-1, features)
    wide = _wide_channels(channels, features)
    return in_parts(widen_axis(x, -1, wide), widen_axis(w, -2, wide), windows)


def _wide_channels(channels: int, features: int) -> int:
    """To how many channels XLA's convolution is filled up with zeros."""
    if channels == 3 and features <= 32 and not placement.threads_convolutions():
        return 4
    return 8 if 4 < channels < 8 and features <= 16 else channels


@_in_float32
def kernel_gradient(x: Array, g: Array, *, windows: Windows, groups: int) -> Array:
    """The gradient of the kernel on a CPU."""
    if groups == 1:
        return _kernel_gradient_dense(x, g, windows)
    if x.shape[-1] == groups:
        return kernel_gradient_depthwise(x, g, windows)
    return _per_group(_kernel_gradient_dense if groups > UNROLLED else _kernel_gradient_group, x, g, windows, groups)


def _kernel_gradient_dense(x: Array, g: Array, windows: Windows) -> Array:
    exchanged = less(math.prod(x.shape[1:-1]), math.prod(g.shape[1:-1]))
    if positions(windows) == 1 or x.shape[-1] <= 4 or exchanged or 0 in x.shape or 0 in g.shape:
        seen = patches(x, windows)
        if is_static(*g.shape):
            w = seen.reshape(-1, seen.shape[-1]).T @ g.reshape(-1, g.shape[-1])
        else:  # a product of symbols may be too long to be seen as a size
            rows = tuple(range(g.ndim - 1))
            w = jnp.tensordot(seen, g, (rows, rows))
        return w.reshape(*windows.size, x.shape[-1], g.shape[-1])
    if len(windows.size) == 1:
        return _kernel_gradient_dense(x[:, None], g[:, None], with_axis(windows))[0]
    if len(windows.size) > 2:
        return _kernel_gradient_planes(x, g, windows)
    if placement.devices("cpu") > 1 or not is_static(*g.shape):
        return over_batch(x, g, windows)
    few_places = x.shape[-1] * g.shape[-1] > 4 * math.prod(g.shape[:-1])
    return (over_batch if placement.threads_convolutions() and not few_places else over_rows)(x, g, windows)


@_in_float32
def input_gradient(g: Array, w: Array, *, windows: Windows, groups: int, spatial: Shape) -> Array:
    """The gradient of the input on a CPU: one convolution of stride 1 for each phase of the stride."""
    if not is_static(*(low for low, _ in windows.padding)):  # which positions of the kernel reach a phase is not known
        return plain.input_gradient(g, w, windows, groups, spatial)
    flipped = transpose_kernel(w, groups)
    m = tuple(-(-n // s) for n, s in zip(spatial, windows.strides, strict=True))
    phases = []
    for phase in itertools.product(*map(range, windows.strides)):
        axes = [phase_of(*axis) for axis in zip(phase, *windows, m, g.shape[1:-1], strict=True)]
        chosen = tuple(taken for taken, *_ in axes)
        if any(taken.stop <= taken.start for taken in chosen):
            phases.append(jnp.zeros((g.shape[0], *m, flipped.shape[-1]), g.dtype))
            continue
        kernel = jnp.flip(flipped[chosen], range(len(m)))
        size = kernel.shape[:-2]
        part = Windows(size, (1,) * len(m), tuple(p for _, p, _ in axes), tuple(d for *_, d in axes))
        phases.append(convolve(g, kernel, windows=part, groups=groups))
    return interleave(phases, windows.strides, spatial)


# More than two spatial axes: the first one by hand.


def _planes(a: Array, start: int, step: int, count: int) -> Array:
    """`count` slices of axis 1, as rows."""
    a = lax.slice_in_dim(a, start, start + (count - 1) * step + 1, step, axis=1)
    return a.reshape(-1, *a.shape[2:])


def _planes_seen(x: Array, windows: Windows, count: int) -> tuple[list[Array], Windows]:
    """For each position of the window on the first axis the planes that are seen there, and the windows on these."""
    rest = Windows(windows.size[1:], windows.strides[1:], windows.padding[1:], windows.dilation[1:])
    x = pad(x, (windows.padding[0], *rest.unpadded.padding))
    starts = [t * windows.dilation[0] for t in range(windows.size[0])]
    return [_planes(x, start, windows.strides[0], count) for start in starts], rest


def _side_by_side(planes: list[Array]) -> Array:
    """As channels of one array."""
    return lax.optimization_barrier(jnp.concatenate(planes, axis=-1))


def _convolve_planes(x: Array, w: Array, windows: Windows, quick: bool) -> Array:
    """One convolution of planes side by side takes 0.75 to 0.83 (in a scan 0.72) of the time of one for each plane of
    the window where these have 16 channels, with jax 0.12; 1.03 to 1.15 with 64 channels, 0.87 to 1.36 with jax 0.10.
    """
    count = windows.counts(x.shape[1:-1])[0]
    seen, rest = _planes_seen(x, windows, count)
    if placement.threads_convolutions() and w.shape[-2] <= 32:
        w = jnp.moveaxis(w, 0, -3)
        y = _convolve_dense(_side_by_side(seen), w.reshape(*w.shape[:-3], -1, w.shape[-1]), rest, quick)
    else:
        y = functools.reduce(jnp.add, [_convolve_dense(planes, w[t], rest, quick) for t, planes in enumerate(seen)])
    return y.reshape(-1, count, *y.shape[1:])


def _kernel_gradient_planes(x: Array, g: Array, windows: Windows) -> Array:
    """In the time of a product for each plane: 0.77 to 0.95 with jax 0.12, 0.73 with 0.10 (AMD Zen 4)."""
    seen, rest = _planes_seen(x, windows, g.shape[1])
    w = _kernel_gradient_dense(_side_by_side(seen), _planes(g, 0, 1, g.shape[1]), rest)
    return jnp.moveaxis(w.reshape(*w.shape[:-2], windows.size[0], -1, w.shape[-1]), -3, 0)


# Groups.

UNROLLED = 32
"""Up to so many convolutions are written one beside another: they run side by side, and each is compiled."""


def _kernel_gradient_group(x: Array, g: Array, windows: Windows) -> Array:
    exchanged = less(math.prod(x.shape[1:-1]), math.prod(g.shape[1:-1]))
    other = positions(windows) == 1 or len(windows.size) != 2 or exchanged
    return (_kernel_gradient_dense if other else over_batch)(x, g, windows)


def _per_group(form: Callable[..., Array], a: Array, b: Array, windows: Windows, groups: int) -> Array:
    if groups <= UNROLLED:
        pairs = zip(jnp.split(a, groups, -1), jnp.split(b, groups, -1), strict=True)
        return jnp.concatenate([form(*pair, windows) for pair in pairs], -1)
    return join_groups(lax.map(lambda ab: form(*ab, windows), (split_groups(a, groups), split_groups(b, groups))))


def join_groups(a: Array, axis: int = 0) -> Array:
    """(…, c) with groups on `axis` -> (…, groups · c)."""
    a = jnp.moveaxis(a, axis, -2)
    return a.reshape(*a.shape[:-2], -1)


def split_groups(a: Array, groups: int) -> Array:
    """(…, groups · c) -> (groups, …, c)."""
    return jnp.moveaxis(a.reshape(*a.shape[:-1], groups, -1), -2, 0)
