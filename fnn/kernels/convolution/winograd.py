"""Winograd's minimal filtering: the products of a 3×3 window of stride 1 with 16 multiplications for 36.

Two by two outputs see a tile $d$ of four by four inputs. With

$$B^T = \\begin{pmatrix}1&0&-1&0\\\\0&1&1&0\\\\0&-1&1&0\\\\0&1&0&-1\\end{pmatrix},\\quad
G = \\begin{pmatrix}1&0&0\\\\½&½&½\\\\½&-½&½\\\\0&0&1\\end{pmatrix},\\quad
A^T = \\begin{pmatrix}1&1&1&0\\\\0&1&-1&-1\\end{pmatrix}$$

the outputs are $A^T [\\sum_c (G w_c G^T) \\odot (B^T d_c B)] A$: for each of the 16 places one product of all tiles
with a (channels, features) matrix. The gradient of the input is a convolution by the turned kernel.

The outputs of a tile share its inputs. So their rounding error is relative to the largest number in the tile, whether
an output sees it or not: as large as the direct form's where numbers are alike, larger beside one far larger, and sums
overflow from about 1e37. What is not finite is taken out, and makes NaN the outputs that see it, and no other. In
float64 this form is never taken.

Wall-clock milliseconds of 2 cores with AVX-512 (AMD Zen 4, 2026), medians inside a scan, jax 0.12.0 | 0.10.2, beside
the form that is taken without this one:

| 3×3, batch         | forward, direct |    Winograd | kernel gradient, direct |    Winograd |
|--------------------|----------------:|------------:|------------------------:|------------:|
| 28×28, 32→32, 128  |     11.9 | 21.2 | 12.6 | 11.2 |             15.0 | 20.8 | 19.5 | 22.6 |
| 14×14, 32→64, 128  |      5.7 | 8.5  | 4.9 | 4.0   |              6.4 | 8.4  | 6.1 | 7.2   |
| 32×32, 64→64, 32   |     13.3 | 25.5 | 9.8 | 8.5   |             15.2 | 20.3 | 14.5 | 20.2 |
| 7×7, 64→128, 128   |      5.5 | 9.8  | 3.9 | 3.7   |              6.3 | 6.8  | 5.3 | 5.2   |
| 16×16, 128→128, 32 |     12.2 | 13.2 | 7.8 | 8.0   |             14.7 | 15.5 | 10.4 | 14.4 |
| 8×8, 256→256, 32   |     12.2 | 13.4 | 6.7 | 6.4   |             14.0 | 13.2 | 9.6 | 8.7   |
| 4×4, 512→512, 32   |     13.1 | 19.7 | 6.6 | 7.2   |             16.8 | 18.2 | 18.6 | 13.3 |

The gradient of a kernel is the transpose, $G^T [\\sum (B^T d B) \\odot (A g A^T)] G$: in ResNet-18 it gained 0 | 4 %
of a step for a second and a half of compilation, and is not taken. Tiles of six by six (4×4 outputs, 36 multiplications
for 144) are off by ten times as much and took 0.9 to 5 | 0.6 to 1.1 times as long as these; one axis alone 0.9 to 1.4 |
1.2 to 2.8; one batched product for the sixteen 0.8 to 1.4 | 1.0 to 1.7; a loop over the sixteen 1.0 to 1.6 | 1.1 to
1.8, to be compiled in two thirds of the time. The direct form for all of an array with a number that is not finite, by
`lax.cond`, took 1.3 times as long in the step of a small network.

Sources: Winograd (1980), Arithmetic Complexity of Computations; Lavin and Gray (2016), Fast Algorithms for
Convolutional Neural Networks.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import math
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
from jax import lax

from fnn.kernels import placement
from fnn.kernels.sizes import is_static
from fnn.kernels.sliding_windows import Pads, Windows, pad, taps
from fnn.typing import Array

INPUT = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
KERNEL = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
OUTPUT = ((1, 1, 1, 0), (0, 1, -1, -1))
Matrix = Sequence[Sequence[float]]
Tile = list[list[Array]]

MULTIPLICATIONS = 2**28
"""So many a direct product must have: for fewer, 0.2 to 0.5 s more of compilation are not worth what a step gains."""

BYTES = 16 * 2**20
"""What a part of the batch may lay out: it is written and read again, in the cache."""

CHANNELS = {True: 20, False: 28}
"""So many channels · features / (channels + features) there must be, where XLA's convolution takes all cores and where
it takes one: a number that is laid out is multiplied so often, twice. With jax 0.10 fewer gain more alone, but beside
processes that wait a step of 32→64 took 28 ms for 33 in some runs and 50 in others. 60 would leave ResNet-18 at 864 ms
for 724."""

TILES = 128
"""So many a part must have: products of fewer rows are slow."""


_direct = contextvars.ContextVar("direct", default=False)


@contextlib.contextmanager
def direct_form() -> Iterator[None]:
    """What is lowered inside has the direct form: operations are counted by the formula."""
    token = _direct.set(True)
    try:
        yield
    finally:
        _direct.reset(token)


def saves(x: Array, w: Array, windows: Windows) -> bool:
    """Whether this form is quicker: where each number that is laid out is multiplied often enough."""
    outputs, (channels, features) = windows.counts(x.shape[1:-1]), w.shape[-2:]
    if windows != Windows((3, 3), (1, 1), windows.padding, (1, 1)) or not is_static(*x.shape, *w.shape, *outputs):
        return False
    # Several devices have a part of the batch each, and a core or two: there it took 1.0 to 1.4 times as long.
    if _direct.get() or x.dtype.itemsize > 4 or placement.devices("cpu") > 1:
        return False
    places, least = math.prod(outputs), CHANNELS[placement.threads_convolutions()]
    return (
        x.shape[0] * places * 9 * channels * features >= MULTIPLICATIONS
        and channels * features >= least * (channels + features)
        and _examples_at_a_time(x, features, places) * places >= 4 * TILES
    )


def convolve(x: Array, w: Array, windows: Windows) -> Array:
    """The convolution by a 3×3 kernel of stride 1."""
    rows, columns = windows.counts(x.shape[1:-1])
    padding = _to_tiles(windows.padding, (rows, columns))
    # Transformed when it is multiplied: all kernels of a model, laid out from the start, would stay till their turn.
    x, w = lax.optimization_barrier((x, w))
    kernel = _both_axes(KERNEL, [[w[i, j] for j in range(3)] for i in range(3)])

    def part(x: Array) -> Array:
        seen = _both_axes(INPUT, _tiles(pad(jnp.where(jnp.isfinite(x), x, 0), padding)))
        products = [[a @ b for a, b in zip(*each, strict=True)] for each in zip(seen, kernel, strict=True)]
        y = jnp.stack([jnp.stack(row, axis=3) for row in _both_axes(OUTPUT, products)], axis=2)
        y = y.reshape(len(x), 2 * y.shape[1], 2 * y.shape[3], -1)[:, :rows, :columns]
        return y + functools.reduce(jnp.add, taps(pad(_not_finite(x), windows.padding), windows))

    few = _examples_at_a_time(x, w.shape[-1], rows * columns)
    if few == len(x):
        return part(x)
    return lax.map(part, x.reshape(-1, few, *x.shape[1:])).reshape(len(x), rows, columns, -1)


def _not_finite(x: Array) -> Array:
    """NaN for each place with a channel that is not finite, else 0."""
    total = jnp.sum(x * 2.0**-40, axis=-1, keepdims=True)  # of finite numbers it stays finite
    return jnp.where(jnp.isfinite(total), 0, jnp.nan).astype(x.dtype)


def _to_tiles(padding: Pads, outputs: Sequence[int]) -> Pads:
    """The padding by which the outputs become whole tiles of two by two."""
    (top, bottom), (left, right) = padding
    return (top, bottom + outputs[0] % 2), (left, right + outputs[1] % 2)


def _tiles(x: Array) -> Tile:
    """Four by four places, two apart on each axis: for each place of a tile what all of them have there."""
    batch, height, width, channels = x.shape
    phases = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    starts = [(place // 2, place % 2) for place in range(4)]
    down, along = height // 2 - 1, width // 2 - 1
    return [[phases[:, i : i + down, p, j : j + along, q] for j, q in starts] for i, p in starts]


def _both_axes(matrix: Matrix, tile: Tile) -> Tile:
    """matrix · tile · matrixᵀ."""
    rows = [[_combination(row, column) for column in zip(*tile, strict=True)] for row in matrix]
    return [[_combination(row, line) for row in matrix] for line in rows]


def _combination(coefficients: Sequence[float], terms: Sequence[Array]) -> Array:
    """Σ coefficient · term of those that are not zero: zero times infinity is not a number."""
    pairs = zip(coefficients, terms, strict=True)
    return functools.reduce(jnp.add, [term if k == 1 else -term if k == -1 else k * term for k, term in pairs if k])


def _examples_at_a_time(x: Array, features: int, outputs: int) -> int:
    """Into how large parts the batch is cut, all of them alike, so that what is laid out of one stays in `BYTES`."""
    one = 4 * outputs * (x.shape[-1] + features) * x.dtype.itemsize
    return max((n for n in range(1, len(x) + 1) if len(x) % n == 0 and n * one <= BYTES), default=0)
