"""Convolution and pooling as loops over every output and every position of the window, in NumPy."""

from __future__ import annotations

import itertools

import numpy as np


def indices(shape):
    return itertools.product(*map(range, shape))


def output_shape(spatial, size, strides, padding, dilation):
    """Counted, not computed: how many starts leave the whole window inside the padded input."""
    return tuple(
        len([a for a in range(0, n + lo + hi, s) if a + (k - 1) * d < n + lo + hi])
        for n, k, s, (lo, hi), d in zip(spatial, size, strides, padding, dilation, strict=True)
    )


def same(spatial, size, strides, dilation):
    """Padding for ceil(n / s) windows, the odd zero at the end."""
    totals = [
        max((int(np.ceil(n / s)) - 1) * s + (k - 1) * d + 1 - n, 0)
        for n, k, s, d in zip(spatial, size, strides, dilation, strict=True)
    ]
    return [(t // 2, t - t // 2) for t in totals]


def window_positions(o, size, strides, padding, dilation, spatial):
    """Pairs (position in the window, index in the input or None in the padding) of output o."""
    for t in indices(size):
        at = tuple(a * s + b * d - lo for a, s, b, d, (lo, _) in zip(o, strides, t, dilation, padding, strict=True))
        yield t, at if all(0 <= i < n for i, n in zip(at, spatial, strict=True)) else None


def conv(x, w, strides, padding, dilation, groups):
    spatial, size = x.shape[1:-1], w.shape[:-2]
    outputs = output_shape(spatial, size, strides, padding, dilation)
    y = np.zeros((x.shape[0], *outputs, w.shape[-1]))
    channels, features = w.shape[-2], w.shape[-1] // groups
    for o in indices(outputs):
        for t, at in window_positions(o, size, strides, padding, dilation, spatial):
            if at is None:
                continue
            for g in range(groups):
                cut = slice(g * features, (g + 1) * features)
                y[(slice(None), *o, cut)] += (
                    x[(slice(None), *at, slice(g * channels, (g + 1) * channels))] @ w[t][:, cut]
                )
    return y


def conv_transpose(x, w, strides, cut, dilation, groups):
    """Paint the kernel at every input, then cut off; a negative cut adds zeros."""
    size, spatial = w.shape[:-2], x.shape[1:-1]
    channels, features = w.shape[-2], w.shape[-1] // groups
    full = [(n - 1) * s + d * (k - 1) + 1 for n, k, s, d in zip(spatial, size, strides, dilation, strict=True)]
    y = np.zeros((x.shape[0], *full, w.shape[-1]))
    for o, t in itertools.product(indices(spatial), indices(size)):
        at = tuple(a * s + b * d for a, s, b, d in zip(o, strides, t, dilation, strict=True))
        for g in range(groups):
            f = slice(g * features, (g + 1) * features)
            y[(slice(None), *at, f)] += x[(slice(None), *o, slice(g * channels, (g + 1) * channels))] @ w[t][:, f]
    for axis, (lo, hi) in enumerate(cut, 1):
        y = np.pad(y, [(max(-lo, 0), max(-hi, 0)) if a == axis else (0, 0) for a in range(y.ndim)])
        y = np.take(y, range(max(lo, 0), y.shape[axis] - max(hi, 0)), axis)
    return y


def pool(x, reduce, size, strides, padding, dilation, fill=None):
    """`reduce` over each window; `fill` stands for padding, or None where padding is left out."""
    spatial = x.shape[1:-1]
    outputs = output_shape(spatial, size, strides, padding, dilation)
    y = np.zeros((x.shape[0], *outputs, x.shape[-1]))
    for o in indices(outputs):
        seen = [
            np.full((x.shape[0], x.shape[-1]), fill) if at is None else x[(slice(None), *at)]
            for _, at in window_positions(o, size, strides, padding, dilation, spatial)
            if at is not None or fill is not None
        ]
        y[(slice(None), *o)] = reduce(np.stack(seen))
    return y


def max_pool_gradient(x, g, size, strides, padding, dilation):
    """Every maximum of a window gets an equal share."""
    spatial = x.shape[1:-1]
    dx = np.zeros_like(x)
    for o in indices(g.shape[1:-1]):
        for n, c in np.ndindex(x.shape[0], x.shape[-1]):
            found = [at for _, at in window_positions(o, size, strides, padding, dilation, spatial) if at is not None]
            values = [x[(n, *at, c)] for at in found]
            winners = [at for at, v in zip(found, values, strict=True) if v == max(values)]
            for at in winners:
                dx[(n, *at, c)] += g[(n, *o, c)] / len(winners)
    return dx


def adaptive(x, reduce, output_size):
    spatial = x.shape[1:-1]
    y = np.zeros((x.shape[0], *output_size, x.shape[-1]))
    for o in indices(output_size):
        bins = tuple(
            slice(int(np.floor(i * n / m)), int(np.ceil((i + 1) * n / m)))
            for i, n, m in zip(o, spatial, output_size, strict=True)
        )
        y[(slice(None), *o)] = reduce(x[(slice(None), *bins)].reshape(x.shape[0], -1, x.shape[-1]), axis=1)
    return y
