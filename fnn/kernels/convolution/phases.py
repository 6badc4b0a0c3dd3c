"""A transposed convolution of stride s as s convolutions of stride 1, one for each phase of its output.

Spreading the input with zeros, the common way, multiplies mostly zeros and leaves XLA's fast path.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from fnn.typing import Array, Shape


def phase_of(
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


def transpose_kernel(w: Array, groups: int) -> Array:
    """(…, C/groups, F) -> (…, F/groups, C)."""
    w = w.reshape(*w.shape[:-1], groups, -1)  # (…, C/groups, groups, F/groups)
    w = jnp.moveaxis(w, (-3, -2, -1), (-1, -2, -3))  # (…, F/groups, groups, C/groups)
    return w.reshape(*w.shape[:-2], -1)


def interleave(phases: list[Array], strides: tuple[int, ...], spatial: Shape) -> Array:
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
