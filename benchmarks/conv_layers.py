"""Single convolutions of many shapes, forward and gradient, one call each and inside a scan.

Every JAX library calls `jax.lax.conv_general_dilated` and differentiates it, so one contender stands for them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.contender import PEAK_MEMORY, Contender, Job, Workload
from benchmarks.peaks import gemm_job, torch_device

TURNS = 4
"""Convolutions in one repetition."""


class Shape(NamedTuple):
    """One layer: `x` (batch, *spatial, channels), then the kernel's window and features."""

    x: tuple[int, ...]
    window: tuple[int, ...]
    features: int
    stride: int = 1
    groups: int = 1
    first: bool = False
    """The first layer of a network needs no gradient of its input."""
    transposed: bool = False

    @property
    def kernel(self) -> tuple[int, ...]:
        return *self.window, self.x[-1] // self.groups, self.features

    @property
    def outputs(self) -> tuple[int, ...]:
        size = [n * self.stride if self.transposed else -(-n // self.stride) for n in self.x[1:-1]]
        return self.x[0], *size, self.features

    def operations(self, gradient: bool) -> float:
        positions = self.x if self.transposed else self.outputs
        forward = 2.0 * self.features * self.x[-1] // self.groups
        for n in (*positions[:-1], *self.window):
            forward *= n
        return forward * ((1 if self.first else 2) if gradient else 1)


SHAPES = {
    "first 3×3, 28×28, 1→32": Shape((128, 28, 28, 1), (3, 3), 32, first=True),
    "first 3×3, 32×32, 3→64": Shape((64, 32, 32, 3), (3, 3), 64, first=True),
    "3×3, 28×28, 32→32": Shape((128, 28, 28, 32), (3, 3), 32),
    "3×3, 14×14, 32→64": Shape((128, 14, 14, 32), (3, 3), 64),
    "3×3, 7×7, 64→128": Shape((128, 7, 7, 64), (3, 3), 128),
    "5×5, 28×28, 16→32": Shape((64, 28, 28, 16), (5, 5), 32),
    "1×1, 28×28, 64→64": Shape((64, 28, 28, 64), (1, 1), 64),
    "depthwise 3×3, 28×28, 64": Shape((64, 28, 28, 64), (3, 3), 64, groups=64),
    "4 groups 3×3, 14×14, 64→64": Shape((64, 14, 14, 64), (3, 3), 64, groups=4),
    "stride 2, 3×3, 28×28, 32→64": Shape((64, 28, 28, 32), (3, 3), 64, stride=2),
    "transposed 4×4, stride 2, 14×14, 64→32": Shape((64, 14, 14, 64), (4, 4), 32, stride=2, transposed=True),
    "1-D, 5 taps, length 1,024, 32→32": Shape((32, 1024, 32), (5,), 32),
    "1-D transposed, 4 taps, stride 2, length 1,024, 32→32": Shape((32, 1024, 32), (4,), 32, stride=2, transposed=True),
    "3-D, 3×3×3, 12×12×12, 16→32": Shape((16, 12, 12, 12, 16), (3, 3, 3), 32),
}
FORMS = ("forward", "forward in a scan", "gradient", "gradient in a scan")
CASES = tuple(f"{shape} · {form}" for shape in SHAPES for form in FORMS)

Convolution = Callable[[Any, Any], Any]


def _parse(case: str, quick: bool) -> tuple[Shape, bool, bool]:
    """The shape, whether the gradient is asked for, whether it stands in a scan."""
    name, form = case.split(" · ")
    shape = SHAPES[name]
    return shape._replace(x=(2, *shape.x[1:])) if quick else shape, "gradient" in form, "scan" in form


def _arrays(shape: Shape) -> tuple[Any, Any, Any]:
    import numpy as np

    random = np.random.default_rng(0)
    sizes = (TURNS, *shape.x), shape.kernel, (TURNS, *shape.outputs)
    return tuple(random.standard_normal(size, dtype=np.float32) for size in sizes)  # type: ignore[return-value]


def _on_jax(make: Callable[[Shape], Convolution]) -> Callable[[str, bool], Job]:
    def build(case: str, quick: bool) -> Job:
        import jax
        import jax.numpy as jnp

        shape, gradient, scanned = _parse(case, quick)
        convolve = make(shape)
        xs, kernel, gs = map(jnp.asarray, _arrays(shape))

        def one(kernel: Any, x: Any, g: Any) -> Any:
            if not gradient:
                return convolve(x, kernel)
            if shape.first:
                return jax.vjp(lambda kernel: convolve(x, kernel), kernel)[1](g)
            return jax.vjp(convolve, x, kernel)[1](g)

        if scanned:

            def program(kernel: Any, xs: Any, gs: Any) -> Any:
                last = jax.tree.map(jnp.zeros_like, jax.eval_shape(one, kernel, xs[0], gs[0]))
                return jax.lax.scan(lambda _, xg: (one(kernel, *xg), None), last, (xs, gs))[0]

            compiled = jax.jit(program)
            return Job(lambda: compiled(kernel, xs, gs), calls=TURNS)
        alone = jax.jit(one)
        pairs = list(zip(xs, gs, strict=True))

        def calls() -> Any:
            for pair in pairs:
                last = jax.block_until_ready(alone(kernel, *pair))
            return last

        return Job(calls, calls=TURNS)

    return build


def _fnn(shape: Shape) -> Convolution:
    import fnn

    if shape.transposed:
        return lambda x, kernel: fnn.kernels.conv_transpose(x, kernel, stride=shape.stride)
    return lambda x, kernel: fnn.kernels.conv(x, kernel, stride=shape.stride, groups=shape.groups)


def _lax(shape: Shape) -> Convolution:
    from jax import lax

    spatial = "DHW"[-len(shape.window) :]
    numbers = f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"
    strides = (shape.stride,) * len(shape.window)
    if shape.transposed:
        return lambda x, kernel: lax.conv_transpose(x, kernel, strides, "SAME", dimension_numbers=numbers)
    return lambda x, kernel: lax.conv_general_dilated(
        x, kernel, strides, "SAME", dimension_numbers=numbers, feature_group_count=shape.groups
    )


def _on_torch(channels_last: bool) -> Callable[[str, bool], Job | None]:
    def build(case: str, quick: bool) -> Job | None:
        import torch

        shape, gradient, scanned = _parse(case, quick)
        if channels_last and len(shape.window) == 1:
            return None  # torch has this layout for two and three axes only
        convolve = _torch_convolution(shape)
        xs, kernel, gs = (torch.from_numpy(one).to(torch_device()) for one in _arrays(shape))
        order = len(shape.window) + 1, len(shape.window), *range(len(shape.window))
        kernel = kernel.permute((order[1], order[0], *order[2:]) if shape.transposed else order)
        layouts = {2: torch.channels_last, 3: torch.channels_last_3d}

        def laid(a: Any) -> Any:
            layout = layouts[len(shape.window)] if channels_last else torch.contiguous_format
            return a.contiguous(memory_format=layout)

        kernel = laid(kernel).requires_grad_(gradient)
        pairs = [(laid(x.movedim(-1, 1)), laid(g.movedim(-1, 1))) for x, g in zip(xs, gs, strict=True)]
        wanted = [(kernel,) if shape.first else (x.requires_grad_(gradient), kernel) for x, _ in pairs]

        def run() -> None:
            for (x, g), inputs in zip(pairs, wanted, strict=True):
                y = convolve(x, kernel)
                if gradient:
                    torch.autograd.grad(y, inputs, g)

        return Job(run, calls=TURNS)

    return build


def _torch_convolution(shape: Shape) -> Convolution:
    from torch.nn import functional

    rank, spatial = len(shape.window), shape.x[1:-1]
    if shape.transposed:
        form = getattr(functional, f"conv_transpose{rank}d")
        padding = (shape.window[0] - shape.stride) // 2
        return lambda x, kernel: form(x, kernel, stride=shape.stride, padding=padding)
    form = getattr(functional, f"conv{rank}d")
    total = [(-(-n // shape.stride) - 1) * shape.stride + k - n for n, k in zip(spatial, shape.window, strict=True)]
    if all(size % 2 == 0 for size in total):
        padding = [size // 2 for size in total]
        return lambda x, kernel: form(x, kernel, stride=shape.stride, padding=padding, groups=shape.groups)
    around = [end for size in reversed(total) for end in (size // 2, size - size // 2)]
    return lambda x, kernel: form(functional.pad(x, around), kernel, stride=shape.stride, groups=shape.groups)


def _limit(case: str, quick: bool) -> Job:
    shape, gradient, _ = _parse(case, quick)
    return gemm_job(shape.operations(gradient), 64 if quick else 2048)


WORKLOAD = Workload(
    title="one convolution: forward alone, or the gradients of kernel and input given that of the output",
    cases=CASES,
    quick_cases=tuple(case for case in CASES if case.startswith(("first 3×3, 28", "1-D transposed"))),
    contenders={
        "fnn": Contender(_on_jax(_fnn)),
        "lax (all JAX peers)": Contender(_on_jax(_lax)),
        "torch NCHW": Contender(_on_torch(False), needs=("torch",)),
        "torch channels-last": Contender(_on_torch(True), needs=("torch",)),
        "arithmetic limit": Contender(_limit),
    },
    repeats=5,
    columns=(PEAK_MEMORY,),
    compare=(("of the limit", "fraction", "arithmetic limit"),),
    notes=(
        f"Times per convolution, {TURNS} a repetition: calls one after another, or one scan (torch: its loop, and for "
        "gradients forward and backward,\nbecause its backward pass needs the forward one). Each result takes the "
        "place of the one before, in every loop. arithmetic limit:\nas many operations in 2048 × 2048 matrix products."
    ),
)
