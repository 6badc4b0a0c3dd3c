"""The steps of `cnn` and `lstm` taken apart: each part alone and in a scan, beside what the machine can do at best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.contender import Contender, Job, Workload
from benchmarks.peaks import copy_job, gemm_job

TURNS = 4
"""How often a part is computed in one repetition."""

IMAGES, BATCH, TIME, FEATURES, HIDDEN = 128, 64, 100, 64, 256
GATES, STEPS = 4 * HIDDEN, BATCH * TIME


class Part(NamedTuple):
    """A function of arrays of these shapes; its floating-point operations, or else the bytes it must move."""

    build: Callable[[], Callable[..., Any]]
    shapes: tuple[tuple[int, ...], ...]
    operations: float = 0
    bytes: float = 0


def _size(*shapes: tuple[int, ...]) -> float:
    import math

    return 4.0 * sum(math.prod(shape) for shape in shapes)


def _product(left: tuple[int, int], right: tuple[int, int]) -> Part:
    import jax.numpy as jnp

    return Part(lambda: jnp.matmul, (left, right), 2.0 * left[0] * left[1] * right[1])


def _transposed_product(left: tuple[int, int], right: tuple[int, int]) -> Part:
    """`leftᵀ · right`: the gradient of a weight."""
    return Part(lambda: lambda a, b: a.T @ b, (left, right), 2.0 * left[1] * left[0] * right[1])


def _recurrent_products(reverse: bool) -> Part:
    """One product a step, each of what the last one made."""

    def build() -> Callable[..., Any]:
        import jax

        def steps(start: Any, weights: Any) -> Any:
            def step(h: Any, _: None) -> tuple[Any, None]:
                z = h @ weights
                return z[:, :HIDDEN] if not reverse else z.repeat(4, axis=1), None

            return jax.lax.scan(step, start, None, length=TIME)[0]

        return steps

    inner = (GATES, HIDDEN) if reverse else (HIDDEN, GATES)
    return Part(build, ((BATCH, inner[0]), inner), 2.0 * STEPS * inner[0] * inner[1])


def _gates(saved: bool) -> Part:
    """The elementwise mathematics of all steps, from the sums of the gates to the states."""

    def build() -> Callable[..., Any]:
        import jax
        import jax.numpy as jnp

        def step(c: Any, z: Any) -> tuple[Any, Any]:
            i, f, g, o = jnp.split(z, 4, -1)
            i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
            c = f * c + i * g
            h = o * jnp.tanh(c)
            return c, (h, (i, f, g, o, c)) if saved else h

        return lambda z: jax.lax.scan(step, jnp.zeros((BATCH, HIDDEN)), z)[1]

    moved = _size((STEPS, GATES), (STEPS, HIDDEN), *((((STEPS, HIDDEN),) * 5) if saved else ()))
    return Part(build, ((TIME, BATCH, GATES),), bytes=moved)


def _gate_derivatives() -> Part:
    """From the saved gates and the gradient of each state to that of the sums of the gates."""

    def build() -> Callable[..., Any]:
        import jax
        import jax.numpy as jnp

        def step(dc: Any, saved: Any) -> tuple[Any, Any]:
            dh, i, f, g, o, c = saved
            t = jnp.tanh(c)
            dc = dc + dh * o * (1 - t * t)
            dz = (dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * t * o * (1 - o))
            return dc * f, jnp.concatenate(dz, -1)

        return lambda *saved: jax.lax.scan(step, jnp.zeros((BATCH, HIDDEN)), saved, reverse=True)[1]

    one = (TIME, BATCH, HIDDEN)
    return Part(build, (one,) * 6, bytes=_size(*(one,) * 6, (STEPS, GATES)))


def _core(gradient: bool) -> Part:
    """What fnn runs for all of it."""

    def build() -> Callable[..., Any]:
        import jax

        import fnn

        layer = fnn.lstm(HIDDEN)

        def forward(kernel: Any, recurrent: Any, bias: Any, x: Any) -> Any:
            params, state = layer.init(jax.random.key(0), x)
            leaves = {value.shape: value for value in (kernel, recurrent, bias)}
            params = jax.tree.map(lambda leaf: leaves.get(leaf.shape, leaf), params)
            return layer.apply(params, state, x)[0].sum()

        return jax.grad(forward, (0, 1, 2)) if gradient else forward

    once = 2.0 * STEPS * GATES * (FEATURES + HIDDEN)
    shapes = ((FEATURES, GATES), (HIDDEN, GATES), (GATES,), (BATCH, TIME, FEATURES))
    return Part(build, shapes, 2 * once + 2.0 * STEPS * GATES * HIDDEN if gradient else once)


def _convolution(size: int, channels: int, features: int, of: str) -> Part:
    x, kernel, y = (IMAGES, size, size, channels), (3, 3, channels, features), (IMAGES, size, size, features)
    operations = 2.0 * IMAGES * size * size * 9 * channels * features

    def build() -> Callable[..., Any]:
        import jax

        import fnn

        if of == "output":
            return fnn.kernels.conv
        if of == "input":
            return lambda x, k, g: jax.vjp(lambda x: fnn.kernels.conv(x, k), x)[1](g)
        return lambda x, k, g: jax.vjp(lambda k: fnn.kernels.conv(x, k), k)[1](g)

    return Part(build, (x, kernel) if of == "output" else (x, kernel, y), operations)


def _pass(size: int, features: int, apply: Callable[[Any], Callable[[Any], Any]], shrink: int, back: bool) -> Part:
    """An elementwise function or a pool of a layer's outputs, or its gradient."""
    x, y = (IMAGES, size, size, features), (IMAGES, size // shrink, size // shrink, features)

    def build() -> Callable[..., Any]:
        import jax

        import fnn

        function = apply(fnn)
        return (lambda x, g: jax.vjp(function, x)[1](g)) if back else function

    return Part(build, (x, y) if back else (x,), bytes=_size(x, y, *((x,) if back else ())))


def _adam(*shapes: tuple[int, ...]) -> Part:
    def build() -> Callable[..., Any]:
        import fnn

        rule = fnn.optim.scale_by_adam()

        def update(*arrays: Any) -> Any:
            grads, params = arrays[: len(shapes)], arrays[len(shapes) : 2 * len(shapes)]
            mu, nu = arrays[2 * len(shapes) : 3 * len(shapes)], arrays[3 * len(shapes) :]
            updates, state = rule.update(grads, rule.init(params)._replace(mu=mu, nu=nu), params)
            return fnn.optim.apply_updates(params, updates), state

        return update

    return Part(build, shapes * 4, bytes=7 * _size(*shapes))


PARTS: dict[str, Callable[[], Part]] = {
    "lstm · projection": lambda: _product((STEPS, FEATURES), (FEATURES, GATES)),
    "lstm · recurrent products": lambda: _recurrent_products(reverse=False),
    "lstm · gates": lambda: _gates(saved=False),
    "lstm · gates, saved": lambda: _gates(saved=True),
    "lstm · all of forward": lambda: _core(gradient=False),
    "lstm · gate derivatives": _gate_derivatives,
    "lstm · reverse products": lambda: _recurrent_products(reverse=True),
    "lstm · recurrent weights": lambda: _transposed_product((STEPS, HIDDEN), (STEPS, GATES)),
    "lstm · input weights": lambda: _transposed_product((STEPS, FEATURES), (STEPS, GATES)),
    "lstm · all of forward and gradient": lambda: _core(gradient=True),
    "lstm · Adam": lambda: _adam((FEATURES, GATES), (HIDDEN, GATES), (GATES,)),
    "cnn · convolution 1": lambda: _convolution(28, 1, 32, "output"),
    "cnn · convolution 1, kernel": lambda: _convolution(28, 1, 32, "kernel"),
    "cnn · relu 1": lambda: _pass(28, 32, lambda fnn: fnn.relu, 1, back=False),
    "cnn · relu 1, gradient": lambda: _pass(28, 32, lambda fnn: fnn.relu, 1, back=True),
    "cnn · max pool 1": lambda: _pass(28, 32, lambda fnn: lambda x: fnn.kernels.max_pool(x, 2), 2, back=False),
    "cnn · max pool 1, gradient": lambda: _pass(28, 32, lambda fnn: lambda x: fnn.kernels.max_pool(x, 2), 2, back=True),
    "cnn · convolution 2": lambda: _convolution(14, 32, 64, "output"),
    "cnn · convolution 2, input": lambda: _convolution(14, 32, 64, "input"),
    "cnn · convolution 2, kernel": lambda: _convolution(14, 32, 64, "kernel"),
    "cnn · max pool 2, gradient": lambda: _pass(14, 64, lambda fnn: lambda x: fnn.kernels.max_pool(x, 2), 2, back=True),
    "cnn · dense": lambda: _product((IMAGES, 3136), (3136, 128)),
    "cnn · dense, input": lambda: _product((IMAGES, 128), (128, 3136)),
    "cnn · dense, kernel": lambda: _transposed_product((IMAGES, 3136), (IMAGES, 128)),
    "cnn · Adam": lambda: _adam((3136, 128), (3, 3, 32, 64), (128, 10), (3, 3, 1, 32), (128,), (64,), (32,), (10,)),
}


def _fnn(scanned: bool) -> Callable[[str, bool], Job]:
    def build(case: str, quick: bool) -> Job:
        import jax
        import jax.numpy as jnp
        import numpy as np

        part = PARTS[case]()
        function, random, turns = part.build(), np.random.default_rng(0), 1 if quick else TURNS
        stacked = [jnp.asarray(random.random((turns, *shape), np.float32)) for shape in part.shapes]
        if scanned:
            program = jax.jit(lambda *arrays: jax.lax.scan(lambda _, now: (0, function(*now)), 0, arrays)[1])
            return Job(lambda: program(*stacked), calls=turns, work=part.operations or part.bytes)
        alone, each = jax.jit(function), [[array[turn] for array in stacked] for turn in range(turns)]
        return Job(lambda: [alone(*now) for now in each], calls=turns, work=part.operations or part.bytes)

    return build


def _limit(case: str, quick: bool) -> Job:
    part = PARTS[case]()
    return gemm_job(part.operations, 64 if quick else 2048) if part.operations else copy_job(part.bytes)


WORKLOAD = Workload(
    title="the steps of cnn and lstm taken apart",
    cases=tuple(PARTS),
    quick_cases=("lstm · gates", "lstm · Adam", "cnn · convolution 1, kernel", "cnn · max pool 2, gradient"),
    contenders={
        "fnn, a call": Contender(_fnn(scanned=False)),
        "fnn, in a scan": Contender(_fnn(scanned=True)),
        "limit": Contender(_limit),
    },
    baseline="fnn, in a scan",
    repeats=9,
    columns=(("G/s", "giga_per_second", ".0f"),),
    compare=(("of the limit", "fraction", "limit"),),
    notes=(
        "G/s: Gflop/s of products and convolutions, GB/s of what is elementwise (the bytes that must be moved). limit: "
        "as many operations\nin 2048 × 2048 products, or as many bytes copied on all cores. The recurrent parts are "
        "loops of 100 steps in themselves."
    ),
)
