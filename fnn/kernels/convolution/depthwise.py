"""A convolution with one input channel per group (depthwise): shifted products, without any matrix product.

Rows of places and channels lie side by side as one long axis, so that a shift is one slice of it. Wall-clock
milliseconds of 2 cores (AMD Zen 4, 2026), 3×3, 64×28×28×64, jax 0.12.0 | 0.10.2, from
more than one minute:

| forward                        |      alone |  in a scan | then its mean |
|--------------------------------|-----------:|-----------:|--------------:|
| all examples at once, selected |    2.7 | – |  3.1 | 2.1 |       4.0 | – |
| the same without the selection |  2.7 | 2.0 |  3.2 | 2.0 |   54.2 | 51.2 |
| one example after another      |  4.2 | 3.4 |  4.8 | 4.3 |     5.1 | 4.5 |

| kernel gradient                        |     alone | in a scan |
|----------------------------------------|----------:|----------:|
| four examples at a time, no padding    | 4.4 | 6.3 | 7.6 | 7.2 |
| the same, padded                       | 6.2 | 7.9 | 8.8 | 8.8 |
| one example at a time, padded          | 7.1 | 7.7 | 9.2 | 9.8 |
| all examples at once                   |  29 | 25  |           |
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import lax

from fnn.kernels import placement
from fnn.kernels.broadcasting import of_rank
from fnn.kernels.sizes import is_static, less
from fnn.kernels.sliding_windows import Windows, pad, positions, taps
from fnn.typing import Array

EXAMPLE_BYTES = 4 * 2**20
"""The products of one example that stay in the cache."""


def convolve_depthwise(x: Array, w: Array, windows: Windows) -> Array:
    features = w.shape[-1]
    kernels = w.reshape(-1, features)
    x = pad(_per_feature(x, features), windows.padding)
    shape = (x.shape[0], *windows.unpadded.counts(x.shape[1:-1]), features)
    if _on_one_axis(x, windows):
        x, windows = x.reshape(*x.shape[:-2], -1, 1), _side_by_side_windows(windows, features)
        kernels = jnp.tile(kernels, (1, shape[-2]))[..., None]
    pairs = zip(taps(x, windows), kernels, strict=True)
    y = functools.reduce(jnp.add, [tap * of_rank(kernel, tap.ndim) for tap, kernel in pairs])
    first = of_rank(w.reshape(-1, features)[0], x.ndim)
    # What is selected is y: where the first weight is NaN, so are all sums with it. XLA takes sums of products into a
    # sum that follows them (a norm, the gradient of a bias) and writes each product there; it takes no selection.
    return jnp.where(first == first, y.reshape(shape), jnp.nan)


def kernel_gradient_depthwise(x: Array, g: Array, windows: Windows) -> Array:
    features = g.shape[-1]
    x = _per_feature(x, features)
    # Sums over the places wait until the end where all products of an example stay in the cache.
    small = less(positions(windows) * math.prod(g.shape[1:]) * g.dtype.itemsize, EXAMPLE_BYTES + 1)
    if _on_one_axis(x, windows):  # within the loop below it would take three times as long
        windows = _side_by_side_windows(windows, features)
        x, g = (a.reshape(*a.shape[:-2], -1) for a in (x, g))
    if placement.devices("cpu") > 1:  # a loop over a batch that is split would gather it
        totals = [(seen * met).reshape(-1, features).sum(0) for seen, met in _pairs_that_meet(x, g, windows)]
        return jnp.stack(totals).reshape(*windows.size, 1, features)
    each = math.gcd(x.shape[0], 4) if small and is_static(x.shape[0]) else 1

    def of_few(x: Array, g: Array) -> list[Array]:
        pairs = _pairs_that_meet(x, g, windows)
        sums = [functools.reduce(jnp.add, [seen[i] * met[i] for i in range(each)]) for seen, met in pairs]
        return sums if small else [total.reshape(-1, features).sum(0) for total in sums]

    def add(totals: list[Array], few: tuple[Array, Array]) -> tuple[list[Array], None]:
        return [total + part for total, part in zip(totals, of_few(*few), strict=True)], None

    parts = (x.reshape(-1, each, *x.shape[1:]), g.reshape(-1, each, *g.shape[1:]))
    start = [jnp.zeros(a.shape, a.dtype) for a in jax.eval_shape(of_few, *(part[0] for part in parts))]
    totals, _ = lax.scan(add, start, parts)
    return jnp.stack([t.reshape(-1, features).sum(0) for t in totals]).reshape(*windows.size, 1, features)


def _per_feature(x: Array, features: int) -> Array:
    """Each channel once for every feature it has."""
    return x if x.shape[-1] == features else jnp.repeat(x, features // x.shape[-1], axis=-1)


def _on_one_axis(x: Array, windows: Windows) -> bool:
    """Whether a shift by one place is one by all channels; over several devices these may be spread."""
    return is_static(*x.shape[1:]) and windows.strides[-1] == 1 and placement.devices("cpu") == 1


def _side_by_side_windows(windows: Windows, channels: int) -> Windows:
    """The same windows where the last axis and the channels are one axis."""
    padding, dilation = windows.padding[-1], windows.dilation[-1]
    return windows._replace(
        padding=(*windows.padding[:-1], (padding[0] * channels, padding[1] * channels)),
        dilation=(*windows.dilation[:-1], dilation * channels),
    )


def _pairs_that_meet(x: Array, g: Array, windows: Windows) -> Iterator[tuple[Array, Array]]:
    """For each position of the window the inputs it sees, beside the outputs they go to; no padding among them."""
    if not is_static(*x.shape[1:]):
        yield from zip(taps(pad(x, windows.padding), windows), itertools.repeat(g))
        return
    last = 1 + len(windows.size)
    axes = list(zip(x.shape[1:last], g.shape[1:last], windows.strides, windows.padding, windows.dilation, strict=True))
    for position in itertools.product(*map(range, windows.size)):
        inputs, outputs = zip(*(_overlap(t, *axis) for t, axis in zip(position, axes, strict=True)), strict=True)
        yield x[(slice(None), *inputs)], g[(slice(None), *outputs)]


def _overlap(t: int, n: int, m: int, stride: int, padding: tuple[int, int], dilation: int) -> tuple[slice, slice]:
    """Along one axis: the inputs o s + t d - p within 0 … n - 1, and their outputs o."""
    start = t * dilation - padding[0]
    first, last = max(-(start // stride), 0), min((n - 1 - start) // stride, m - 1)
    if last < first:
        return slice(0, 0), slice(0, 0)
    return slice(first * stride + start, last * stride + start + 1, stride), slice(first, last + 1)
