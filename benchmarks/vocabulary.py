"""Large vocabularies: cross-entropy of class numbers with its gradient, and the gradient of an embedding table."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.contender import PEAK_MEMORY, Contender, Job, Workload
from benchmarks.peaks import torch_device

LOSSES = {"loss 512 x 10,000": (512, 10_000), "loss 64 x 100,000": (64, 100_000)}
TABLE = "embedding 1,024 of 100,000 x 256"
CALLS = 5


def _sizes(case: str, quick: bool) -> tuple[int, ...]:
    sizes = LOSSES.get(case, (1024, 100_000, 256))
    return tuple(min(size, 5000 if size > 1024 else 8) for size in sizes) if quick else sizes


def _numbers(rows: int, classes: int) -> Any:
    import numpy as np

    return np.random.default_rng(0).integers(classes, size=rows)


def _jax_job(value_and_gradient: Any, operand: Any, labels: Any, work: int) -> Job:
    def run() -> Any:
        for _ in range(CALLS):
            outputs = value_and_gradient(operand, labels)
        return outputs

    return Job(run, calls=CALLS, work=work)


def _jax(library: str, case: str, quick: bool) -> Job | None:
    import importlib

    import jax
    import jax.numpy as jnp

    if case not in LOSSES:
        return _table(quick) if library == "fnn.losses" else None
    rows, classes = _sizes(case, quick)
    loss = importlib.import_module(library).softmax_cross_entropy_with_integer_labels
    step = jax.jit(jax.value_and_grad(lambda x, labels: loss(x, labels).mean()))
    logits = jax.random.normal(jax.random.key(0), (rows, classes))
    return _jax_job(step, logits, jnp.asarray(_numbers(rows, classes)), 3 * 4 * rows * classes)


def _table(quick: bool) -> Job:
    import jax
    import jax.numpy as jnp

    import fnn

    rows, classes, width = _sizes(TABLE, quick)
    layer = fnn.embedding(classes, width)
    numbers = jnp.asarray(_numbers(rows, classes))
    params, state = layer.init(jax.random.key(0), numbers)
    step = jax.jit(jax.value_and_grad(lambda params, numbers: (layer.apply(params, state, numbers)[0] ** 2).mean()))
    return _jax_job(step, params, numbers, 4 * classes * width)


def _torch(case: str, quick: bool) -> Job:
    import torch

    sizes = _sizes(case, quick)
    numbers = torch.as_tensor(_numbers(*sizes[:2]), device=torch_device())
    table = case not in LOSSES
    operand = torch.randn(sizes[1:] if table else sizes, device=torch_device(), requires_grad=True)

    def run() -> Any:
        for _ in range(CALLS):
            operand.grad = None
            if table:
                loss = (torch.nn.functional.embedding(numbers, operand) ** 2).mean()
            else:
                loss = torch.nn.functional.cross_entropy(operand, numbers)
            loss.backward()
        return operand.grad

    bytes_moved = 4 * sizes[1] * sizes[2] if table else 3 * 4 * sizes[0] * sizes[1]
    return Job(run, calls=CALLS, work=bytes_moved)


WORKLOAD = Workload(
    title="large vocabularies: loss and gradient by the logits; gradient by an embedding table",
    cases=(*LOSSES, TABLE),
    contenders={
        "fnn": Contender(partial(_jax, "fnn.losses")),
        "optax": Contender(partial(_jax, "optax"), needs=("optax",)),
        "torch": Contender(_torch, needs=("torch",)),
    },
    columns=(("GB/s", "giga_per_second", ".1f"), PEAK_MEMORY),
    notes=(
        "GB/s counts what must be moved: the logits read twice and their gradient written, or the table's gradient\n"
        "written. The gradient of a table is dense in all three."
    ),
)
