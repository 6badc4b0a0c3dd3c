"""One optimizer update of 10 million parameters in 200 leaves, jitted and donated."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.contender import Contender, Job, Workload
from benchmarks.peaks import copy_job, torch_device

# Rule -> how fnn and optax write it (the same call), and the arrays of the size of the parameters that must be read or
# written: gradients, parameters twice, each moment twice.
RULES: dict[str, tuple[Callable[[Any], Any], int]] = {
    "adam": (lambda optim: optim.adam(1e-3), 7),
    "sgd": (lambda optim: optim.sgd(1e-3), 3),
    "momentum": (lambda optim: optim.sgd(1e-3, momentum=0.9), 5),
    "rmsprop": (lambda optim: optim.rmsprop(1e-3), 5),
    "adagrad": (lambda optim: optim.adagrad(1e-3), 5),
}
CALLS = 5


def shapes(quick: bool) -> list[tuple[int, ...]]:
    """40 residual blocks, two dense layers and a scale each: 10.1 M parameters in 200 leaves of five shapes."""
    blocks, width, hidden = (1, 4, 6) if quick else (40, 224, 560)
    return [(width, hidden), (hidden,), (hidden, width), (width,), (width,)] * blocks


def count(quick: bool) -> int:
    return sum(math.prod(shape) for shape in shapes(quick))


def _jax_job(optim: Any, case: str, quick: bool) -> Job:
    import jax
    import jax.numpy as jnp

    rule = RULES[case][0](optim)
    params = [jnp.full(shape, 0.1) for shape in shapes(quick)]
    gradients = [jnp.full(shape, 0.01) for shape in shapes(quick)]
    kept = (params, rule.init(params))

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
        updates, state = rule.update(gradients, state, params)
        return optim.apply_updates(params, updates), state

    def run() -> Any:
        nonlocal kept
        for _ in range(CALLS):
            kept = step(*kept, gradients)
        return kept

    return Job(run, calls=CALLS)


def _fnn(case: str, quick: bool) -> Job:
    import fnn

    return _jax_job(fnn.optim, case, quick)


def _optax(case: str, quick: bool) -> Job:
    import optax

    return _jax_job(optax, case, quick)


def _torch(implementation: str, case: str, quick: bool) -> Job | None:
    import torch

    rules: dict[str, Callable[..., Any]] = {
        "adam": torch.optim.Adam,
        "sgd": torch.optim.SGD,
        "momentum": partial(torch.optim.SGD, momentum=0.9),
        "rmsprop": torch.optim.RMSprop,
        "adagrad": torch.optim.Adagrad,
    }
    if implementation == "fused" and case == "rmsprop":
        return None  # torch has none
    params = [torch.full(shape, 0.1, device=torch_device(), requires_grad=True) for shape in shapes(quick)]
    for param in params:
        param.grad = torch.full_like(param, 0.01)
    rule = rules[case](params, lr=1e-3, **{implementation: True})

    def run() -> None:
        for _ in range(CALLS):
            rule.step()

    return Job(run, calls=CALLS)


def _copy(case: str, quick: bool) -> Job:
    return copy_job(RULES[case][1] * 4 * count(quick))


WORKLOAD = Workload(
    title="one update of 10 M float32 parameters in 200 leaves",
    cases=tuple(RULES),
    quick_cases=("adam", "adagrad"),
    contenders={
        "fnn": Contender(_fnn),
        "optax": Contender(_optax, needs=("optax",)),
        "torch fused": Contender(partial(_torch, "fused"), needs=("torch",)),
        "torch foreach": Contender(partial(_torch, "foreach"), needs=("torch",)),
        "copy": Contender(_copy),
    },
    compare=(("of copy", "fraction", "copy"),),
    notes=(
        f"Every repetition is {CALLS} updates, the first includes compilation. copy: the same bytes moved by a plain "
        "copy on all cores;\n'of copy' is its time over the contender's, the fraction of the memory bandwidth reached."
    ),
)
