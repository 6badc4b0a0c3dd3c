"""Large vocabularies: cross-entropy of class numbers with its gradient, and a table: its gradient, and its training."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.contender import PEAK_MEMORY, Contender, Job, Workload
from benchmarks.peaks import torch_device

LOSSES = {"loss 512 x 10,000": (512, 10_000), "loss 64 x 100,000": (64, 100_000)}
TABLE = "embedding 1,024 of 100,000 x 256"
CALLS = 5
STEPS = {
    f"step, table of {rows:,} x 256, {rule}": (rows, rule) for rows in (10_000, 100_000) for rule in ("SGD", "Adam")
}
BATCH, LENGTH, TAKEN = 64, 32, 20


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

    if case in STEPS:
        return _steps(case, quick) if library == "fnn.losses" else None
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


def _texts(case: str, quick: bool) -> tuple[Any, Any, int, int]:
    """Batches of texts with their classes, the size of the vocabulary, and how many batches there are."""
    rows, taken = (500, 2) if quick else (STEPS[case][0], TAKEN)
    numbers = _numbers(taken * BATCH * LENGTH, rows).reshape(taken, BATCH, LENGTH)
    return numbers, _numbers(taken * BATCH, 10).reshape(taken, BATCH), rows, taken


def _steps(case: str, quick: bool) -> Job:
    """All of them in one program: mean of the embeddings, a dense layer."""
    import jax
    import jax.numpy as jnp

    import fnn

    x, y, rows, taken = _texts(case, quick)
    model = fnn.serial(fnn.embedding(rows, 256), lambda vectors: vectors.mean(1), fnn.dense(10))
    rule = {"SGD": fnn.optim.sgd(0.1), "Adam": fnn.optim.adam(1e-3)}[STEPS[case][1]]
    step, key = fnn.train_step(model, rule, fnn.tasks.multiclass(10)), jax.random.key(0)
    batches = jnp.asarray(x, jnp.int32), jnp.asarray(y, jnp.int32)
    train = jax.jit(
        lambda state: jax.lax.scan(lambda state, batch: step.update(state, key, batch), state, batches),
        donate_argnums=0,
    )
    held = [step.init(key, batches[0][0])]

    def run() -> Any:
        held[0], losses = train(held[0])
        return held[0], losses

    return Job(run, calls=taken)


def _torch_steps(case: str, quick: bool, sparse: bool) -> Job | None:
    import torch
    from torch import nn

    if case not in STEPS:
        return None
    x, y, rows, taken = _texts(case, quick)
    inputs, targets = (torch.as_tensor(array, device=torch_device()).long() for array in (x, y))
    table = nn.Embedding(rows, 256, sparse=sparse, device=torch_device())
    head, loss = nn.Linear(256, 10, device=torch_device()), nn.CrossEntropyLoss()
    if STEPS[case][1] == "SGD":
        rules: list[Any] = [torch.optim.SGD([*table.parameters(), *head.parameters()], 0.1)]
    elif sparse:
        rules = [torch.optim.SparseAdam(list(table.parameters())), torch.optim.Adam(head.parameters())]
    else:
        rules = [torch.optim.Adam([*table.parameters(), *head.parameters()])]

    def run() -> Any:
        for numbers, classes in zip(inputs, targets, strict=True):
            for rule in rules:
                rule.zero_grad()
            loss(head(table(numbers).mean(1)), classes).backward()
            for rule in rules:
                rule.step()
        return table.weight

    return Job(run, calls=taken)


def _torch(case: str, quick: bool) -> Job | None:
    import torch

    if case in STEPS:
        return _torch_steps(case, quick, sparse=False)
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
    title="large vocabularies: loss and gradient by the logits; gradient by an embedding table; training one",
    cases=(*LOSSES, TABLE, *STEPS),
    contenders={
        "fnn": Contender(partial(_jax, "fnn.losses")),
        "optax": Contender(partial(_jax, "optax"), needs=("optax",)),
        "torch": Contender(_torch, needs=("torch",)),
        "torch, sparse": Contender(partial(_torch_steps, sparse=True), needs=("torch",)),
    },
    columns=(("GB/s", "giga_per_second", ".1f"), PEAK_MEMORY),
    notes=(
        "GB/s counts what must be moved: the logits read twice and their gradient written, or the table's gradient\n"
        "written. The gradient of a table is dense in all three. A step: 64 texts of 32 numbers, the mean of their\n"
        "vectors and a dense layer, 20 steps; fnn's in one program. torch, sparse: nn.Embedding(sparse=True), and\n"
        "SparseAdam, which is another rule: it leaves the moments of rows that do not occur as they are."
    ),
)
