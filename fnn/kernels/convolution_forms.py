"""How each of the three products of a convolution is computed, and which form is taken when."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from fnn.kernels.precision import widen
from fnn.kernels.sliding_windows import Windows, pad, positions, taps
from fnn.typing import Array, Shape

__all__: list[str] = []

FEW_CHANNELS = 4


def xla(x: Array, w: Array, windows: Windows, groups: int) -> Array:
    """XLA's convolution, channels last."""
    spatial = "DHW"[-len(windows.size) :]
    return lax.conv_general_dilated(
        x,
        w,
        windows.strides,
        windows.padding,
        rhs_dilation=windows.dilation,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=groups,
    )


def _in_float32(form: Callable[..., Array]) -> Callable[..., Array]:
    """Compute in float32 what comes in fewer bits: the CPU has no fast convolution below it, and sums need it."""

    @functools.wraps(form)
    def wide(a: Array, b: Array, **static: object) -> Array:
        return form(widen(a), widen(b), **static).astype(a.dtype)

    return wide


def _is_pointwise(windows: Windows) -> bool:
    return positions(windows) == 1


def _patches(x: Array, windows: Windows) -> Array:
    """(N, *windows, positions · C): every window laid out as a row."""
    return jnp.concatenate(list(taps(pad(x, windows.padding), windows)), axis=-1)


# One group.


def _convolve_dense(x: Array, w: Array, windows: Windows) -> Array:
    few = w.shape[-2] <= FEW_CHANNELS
    if _is_pointwise(windows) or few or len(windows.size) == 1:
        return _patches(x, windows) @ w.reshape(-1, w.shape[-1])
    return xla(x, w, windows, 1)


def _kernel_gradient_dense(x: Array, g: Array, windows: Windows) -> Array:
    patches = _patches(x, windows)
    w = patches.reshape(-1, patches.shape[-1]).T @ g.reshape(-1, g.shape[-1])
    return w.reshape(*windows.size, x.shape[-1], g.shape[-1])


# One input channel per group (depthwise): shifted products, without any matrix product.


def _convolve_depthwise(x: Array, w: Array, windows: Windows) -> Array:
    groups = x.shape[-1]
    kernels = w.reshape(-1, groups, w.shape[-1] // groups)  # (positions, groups, multiplier)
    shifted = taps(pad(x, windows.padding), windows)
    y = sum(tap[..., None] * kernel for tap, kernel in zip(shifted, kernels, strict=True))
    return y.reshape(*y.shape[:-2], -1)


def _kernel_gradient_depthwise(x: Array, g: Array, windows: Windows) -> Array:
    groups = x.shape[-1]
    g = g.reshape(*g.shape[:-1], groups, -1)
    over = tuple(range(x.ndim - 1))
    w = jnp.stack([jnp.sum(tap[..., None] * g, over) for tap in taps(pad(x, windows.padding), windows)])
    return w.reshape(*windows.size, 1, -1)


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


# The choice.


def _convolve(x: Array, w: Array, windows: Windows, groups: int) -> Array:
    if groups == 1:
        return _convolve_dense(x, w, windows)
    if w.shape[-2] == 1:
        return _convolve_depthwise(x, w, windows)
    return _per_group(_convolve_dense, x, w, windows, groups)


@_in_float32
def convolve(x: Array, w: Array, *, windows: Windows, groups: int) -> Array:
    """The convolution on a CPU."""
    return _convolve(x, w, windows, groups)


@_in_float32
def kernel_gradient(x: Array, g: Array, *, windows: Windows, groups: int) -> Array:
    """The gradient of the kernel on a CPU."""
    if groups == 1:
        return _kernel_gradient_dense(x, g, windows)
    if x.shape[-1] == groups:
        return _kernel_gradient_depthwise(x, g, windows)
    return _per_group(_kernel_gradient_dense, x, g, windows, groups)


@_in_float32
def input_gradient(g: Array, w: Array, *, windows: Windows, groups: int, spatial: Shape) -> Array:
    """The gradient of the input on a CPU: one convolution of stride 1 for each phase of the stride."""
    flipped = _transposed(w, groups)
    m = tuple(-(-n // s) for n, s in zip(spatial, windows.strides, strict=True))
    phases = []
    for phase in itertools.product(*map(range, windows.strides)):
        axes = [
            _phase(p, *axis)
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
    return _interleave(phases, windows.strides, spatial)


def _phase(
    phase: int, k: int, s: int, padding: tuple[int, int], d: int, m: int, outputs: int
) -> tuple[slice, tuple[int, int], int]:
    """Along one axis: which positions of the kernel reach the inputs `phase`, `phase + s`, …, and how.

    Input i meets position t at output o where i = o s + t d - p: the positions with t d = i + p (mod s), every
    s' = s / gcd(s, d)-th one, over outputs d' = d / gcd(s, d) apart.
    """
    remainder, common = (phase + padding[0]) % s, math.gcd(s, d)
    first = next((t for t in range(s // common) if t * d % s == remainder), k)
    step, dilation = s // common, d // common
    taken = slice(first, max(k, first), step)
    reach = (len(range(first, k, step)) - 1) * dilation
    start = (phase + padding[0] - first * d) // s
    return taken, (reach - start, start + m - outputs), dilation


def _transposed(w: Array, groups: int) -> Array:
    """(…, C/groups, F) -> (…, F/groups, C)."""
    w = w.reshape(*w.shape[:-1], groups, -1)  # (…, C/groups, groups, F/groups)
    w = jnp.moveaxis(w, -1, -3)  # (…, F/groups, C/groups, groups)
    return jnp.moveaxis(w, -1, -2).reshape(*w.shape[:-2], -1)


def _interleave(phases: list[Array], strides: tuple[int, ...], spatial: Shape) -> Array:
    """The phases of a stride, in row-major order, put back between one another."""
    if len(phases) == 1:
        return phases[0]
    n, *m, c = phases[0].shape
    x = jnp.stack(phases, axis=1).reshape(n, *strides, *m, c)
    rank = len(m)
    order = [axis for i in range(rank) for axis in (1 + rank + i, 1 + i)]
    x = jnp.transpose(x, (0, *order, 1 + 2 * rank))
    x = x.reshape(n, *(a * s for a, s in zip(m, strides, strict=True)), c)
    return x[(slice(None), *(slice(0, size) for size in spatial))]
