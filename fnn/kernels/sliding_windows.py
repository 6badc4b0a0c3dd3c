"""Where windows stand on an array: strides, padding, dilation, and how many there are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from fnn import checks
from fnn.kernels.sizes import is_static, larger, less
from fnn.typing import Array

__all__ = ["conv_output_size"]

PerAxis = int | Sequence[int]
Padding = str | int | Sequence[int] | Sequence[tuple[int, int]]
Pads = tuple[tuple[int, int], ...]


class Windows(NamedTuple):
    """Window `size`, stride, padding and dilation for each spatial axis. Static and hashable."""

    size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Pads
    dilation: tuple[int, ...]

    @property
    def unpadded(self) -> Windows:
        """The same windows on what is padded already."""
        return self._replace(padding=((0, 0),) * len(self.size))

    def counts(self, spatial: Sequence[int]) -> tuple[int, ...]:
        """How many windows fit on each axis."""
        axes = zip(spatial, self.size, self.strides, self.padding, self.dilation, strict=True)
        counts = ((n + lo + hi - d * (k - 1) - 1) // s + 1 for n, k, s, (lo, hi), d in axes)
        return tuple(0 if less(count, 0) else count for count in counts)


def spatial_axes(where: str, x: Any, *, integers: bool = False) -> tuple[int, ...]:
    """The axes of `x` between batch and channels; `integers` says that these are taken too."""
    if not (integers and jnp.issubdtype(getattr(x, "dtype", bool), jnp.integer)):
        checks.floating(where, "x", x)
    checks.least_rank(where, "x", x, 3, "(batch, *spatial, channels)")
    if 0 in x.shape[1:-1]:
        raise ValueError(f"{where}: expected no empty spatial axis, got {checks.describe(x)}")
    return tuple(range(1, len(x.shape) - 1))


def per_axis(where: str, name: str, value: PerAxis, rank: int, low: int = 1) -> tuple[int, ...]:
    """One integer per spatial axis; a single one counts for all."""
    if not isinstance(value, (tuple, list)):
        return (checks.integer(where, name, value, low),) * rank
    if len(value) != rank:
        raise ValueError(f"{where}: expected {name} with {rank} entries, one per spatial axis, got {tuple(value)}")
    return tuple(checks.integer(where, name, v, low) for v in value)


def _pair(where: str, value: int | tuple[int, int]) -> tuple[int, int]:
    if isinstance(value, (tuple, list)) and len(value) == 2:
        low, high = value
    else:
        low = high = value
    return checks.integer(where, "padding", low, None), checks.integer(where, "padding", high, None)


def pads(
    where: str,
    padding: Padding,
    spatial: Sequence[int],
    size: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> Pads:
    """Padding below and above each spatial axis.

    "SAME" gives ceil(n / stride) windows, "VALID" pads nothing, an int pads both ends of every axis,
    a sequence has an int or a pair (low, high) for each axis.
    """
    if isinstance(padding, str):
        name = padding.upper()
        checks.one_of(where, "padding", name, ("SAME", "VALID"))
        if name == "VALID":
            return ((0, 0),) * len(spatial)
        axes = zip(spatial, size, strides, dilation, strict=True)
        return tuple(_same(where, n, d * (k - 1) + 1, s) for n, k, s, d in axes)
    if isinstance(padding, (tuple, list)):
        if len(padding) != len(spatial):
            raise ValueError(
                f"{where}: expected padding with {len(spatial)} entries, one int or pair (low, high) per spatial "
                f"axis, got {tuple(padding)}"
            )
        return tuple(_pair(where, value) for value in padding)
    return (_pair(where, padding),) * len(spatial)  # type: ignore[arg-type]


def _same(where: str, n: int, reach: int, stride: int) -> tuple[int, int]:
    """The padding that gives ⌈n / stride⌉ windows."""
    total = larger(-n % stride + reach - stride, 0)
    if total is None:
        raise ValueError(
            f"{where}: SAME padding of a window of {reach} at stride {stride} differs between sizes {n}; write the "
            "padding as numbers, or export for a known size"
        )
    if is_static(n):
        return total // 2, total - total // 2
    # The same number in the form that cancels where the windows are counted. Below 0 it cuts off what none sees.
    exact = (n + stride - 1) // stride * stride - n + reach - stride
    low = 0 if less(-n % stride + reach - stride, 1) else exact // 2
    return low, exact - low


def require_fit(where: str, windows: Windows, x: Array) -> Windows:
    """Require at least one window on every spatial axis of `x`."""
    spatial = x.shape[1:-1]
    for n, k, (lo, hi), d in zip(spatial, windows.size, windows.padding, windows.dilation, strict=True):
        reach = d * (k - 1) + 1
        if less(n + lo + hi, reach):
            raise ValueError(
                f"{where}: expected a window no larger than the padded input, got a window of {windows.size} "
                f"(dilation {windows.dilation}) on {checks.describe(x)} padded by {windows.padding}; pad more, or "
                f"use a smaller window. Layout is (batch, *spatial, channels): {checks.CHANNELS_LAST}"
            )
        if not less(reach - 1, n + lo + hi):
            raise ValueError(
                f"{where}: a window of {reach} does not fit on every size {n} padded by {(lo, hi)}; say how large it "
                f'is at least: jax.export.symbolic_shape(..., constraints=["{n} >= {reach - lo - hi}"])'
            )
    return windows


def pad(x: Array, padding: Pads, value: float = 0.0) -> Array:
    """`x` with its spatial axes padded by a constant; negative padding cuts off."""
    if not any(itertools.chain.from_iterable(padding)):
        return x
    return lax.pad(x, jnp.asarray(value, x.dtype), [(0, 0, 0), *((lo, hi, 0) for lo, hi in padding), (0, 0, 0)])


def along(windows: Windows, axis: int) -> Windows:
    """The windows of one axis, 1 wide in the others; nothing is padded."""
    size, strides, dilation = (
        tuple(n if at == axis else 1 for at, n in enumerate(each))
        for each in (windows.size, windows.strides, windows.dilation)
    )
    return Windows(size, strides, ((0, 0),) * len(size), dilation)


def taps(x: Array, windows: Windows) -> Iterator[Array]:
    """For each position in the window, what all windows see there: (batch, *windows, channels).

    `x` is already padded. The positions run in row-major order.
    """
    counts = windows.unpadded.counts(x.shape[1:-1])
    for position in itertools.product(*map(range, windows.size)):
        starts = [p * d for p, d in zip(position, windows.dilation, strict=True)]
        limits = [a + (n - 1) * s + 1 for a, n, s in zip(starts, counts, windows.strides, strict=True)]
        yield lax.slice(x, (0, *starts, 0), (x.shape[0], *limits, x.shape[-1]), (1, *windows.strides, 1))


def taps_by_phase(x: Array, windows: Windows) -> Iterator[Array]:
    """`taps`, taken from the phases of the stride, so that their transpose puts no zeros between its terms.

    With stride s, position t of window o is element o + ⌊t d / s⌋ of phase t d mod s.
    """
    rank = len(windows.size)
    counts = windows.unpadded.counts(x.shape[1:-1])
    strides = windows.strides
    lengths = [n + (k - 1) * d // s for n, k, d, s in zip(counts, windows.size, windows.dilation, strides, strict=True)]
    fill = tuple((0, length * s - n) for length, s, n in zip(lengths, strides, x.shape[1:-1], strict=True))
    split = [part for length, s in zip(lengths, strides, strict=True) for part in (length, s)]
    phases = pad(x, fill).reshape(x.shape[0], *split, x.shape[-1])
    phases = jnp.moveaxis(phases, [2 + 2 * axis for axis in range(rank)], range(rank))
    for position in itertools.product(*map(range, windows.size)):
        offsets = [divmod(p * d, s) for p, d, s in zip(position, windows.dilation, strides, strict=True)]
        phase = phases[tuple(r for _, r in offsets)]
        limits = [q + n for (q, _), n in zip(offsets, counts, strict=True)]
        yield lax.slice(phase, (0, *(q for q, _ in offsets), 0), (x.shape[0], *limits, x.shape[-1]))


def conv_output_size(
    size: PerAxis, window: PerAxis, stride: PerAxis = 1, padding: Padding = "VALID", dilation: PerAxis = 1
) -> int | tuple[int, ...]:
    r"""How many windows fit on an axis: $\lfloor (n + p_{lo} + p_{hi} - d (k - 1) - 1) / s \rfloor + 1$.

    The output size of a convolution or of pooling.

    Args:
        size: $n$, length of the axis, or a length per spatial axis for as many sizes.
        window: $k$, positions in the window.
        stride: $s$, step between windows.
        padding: "SAME" ($\lceil n / s \rceil$ windows), "VALID", an int for both ends, or one int or
            pair $(p_{lo}, p_{hi})$ per axis.
        dilation: $d$, distance between the positions of a window.

    Example:
        >>> import fnn
        >>> fnn.kernels.conv_output_size(28, 3), fnn.kernels.conv_output_size((4, 4), 3, padding=1)
        (26, (4, 4))

    References:
        Dumoulin and Visin, A guide to convolution arithmetic for deep learning, 2016.
    """
    where = "conv_output_size"
    rank = len(size) if isinstance(size, tuple | list) else 1
    spatial = per_axis(where, "size", size, rank, 0)
    window = per_axis(where, "window", window, rank)
    stride, dilation = per_axis(where, "stride", stride, rank), per_axis(where, "dilation", dilation, rank)
    windows = Windows(window, stride, pads(where, padding, spatial, window, stride, dilation), dilation)
    counts = windows.counts(spatial)
    return counts if isinstance(size, tuple | list) else counts[0]


def positions(windows: Windows) -> int:
    """How many positions a window has."""
    return math.prod(windows.size)
