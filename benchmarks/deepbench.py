"""DeepBench's recurrent sizes: all outputs of a sequence, and the gradients of weights and input."""

from __future__ import annotations

from typing import Any

from benchmarks import recurrent_cells
from benchmarks.contender import PEAK_MEMORY, Contender, Job, Workload
from benchmarks.peaks import gemm_job, torch_device

SIZES = (
    (512, 16, 25), (512, 32, 25), (512, 64, 25), (512, 128, 25), (1024, 32, 25), (1024, 128, 25),
    (1536, 8, 50), (1536, 16, 50), (1536, 32, 50), (256, 16, 150), (256, 32, 150), (256, 64, 150),
)  # fmt: skip
"""Hidden, batch, steps; as many features as hidden units."""
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
FORWARD, BACKWARD = "forward", "forward + backward"


def _name(kind: str, size: tuple[int, int, int], form: str) -> str:
    return f"{kind} {size[0]} × {size[1]} × {size[2]} · {form}"


CASES = {
    _name(kind, size, form): (kind, size, form)
    for kind in ("lstm", "gru", "rnn")
    for size in SIZES
    for form in (FORWARD, BACKWARD)
}


def _sizes(case: str, quick: bool) -> tuple[str, int, tuple[int, int, int], str]:
    """Kind, hidden units, shape of x, form."""
    kind, (hidden, batch, time), form = CASES[case]
    if quick:
        hidden, batch, time = 8, 2, 3
    return kind, hidden, (batch, time, hidden), form


def _arrays(shape: tuple[int, int, int]) -> tuple[Any, Any]:
    import numpy as np

    random = np.random.default_rng(0)
    return random.standard_normal(shape, dtype=np.float32), random.standard_normal(shape, dtype=np.float32)


def _on_jax(make: Any, *needs: str) -> Contender:
    def build(case: str, quick: bool) -> Job | None:
        import jax
        import jax.numpy as jnp

        kind, hidden, shape, form = _sizes(case, quick)
        x, g = map(jnp.asarray, _arrays(shape))
        made = make(kind, hidden, x)
        if made is None:
            return None
        params, run = made
        if form == FORWARD:
            forward = jax.jit(run)
            return Job(lambda: forward(params, x))

        @jax.jit
        def backward(params: Any, x: Any, g: Any) -> Any:
            outputs, back = jax.vjp(run, params, x)
            return outputs, back(g)

        return Job(lambda: backward(params, x, g))

    return Contender(build, needs=needs)


def _torch(case: str, quick: bool) -> Job:
    import torch
    from torch import nn

    kind, hidden, shape, form = _sizes(case, quick)
    x, g = (torch.from_numpy(one).to(torch_device()) for one in _arrays(shape))
    core = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[kind](hidden, hidden, batch_first=True).to(x.device)
    if form == FORWARD:

        def forward() -> Any:
            with torch.no_grad():
                return core(x)[0]

        return Job(forward)
    inputs = (*core.parameters(), x.requires_grad_())
    return Job(lambda: torch.autograd.grad(core(x)[0], inputs, g))


def _limit(case: str, quick: bool) -> Job:
    kind, hidden, (batch, time, features), form = _sizes(case, quick)
    operations = 2.0 * batch * time * GATES[kind] * hidden * (features + hidden)
    return gemm_job(operations * (3 if form == BACKWARD else 1), 64 if quick else 2048)


WORKLOAD = Workload(
    title="hidden × batch × steps, as many features as hidden units, all outputs; gradients of weights and input",
    cases=tuple(CASES),
    quick_cases=tuple(_name(kind, SIZES[0], BACKWARD) for kind in GATES),
    contenders={
        "fnn": _on_jax(recurrent_cells.fnn),
        "flax linen": _on_jax(recurrent_cells.linen, "flax"),
        "flax nnx": _on_jax(recurrent_cells.nnx, "flax"),
        "haiku": _on_jax(recurrent_cells.haiku, "haiku"),
        "equinox": _on_jax(recurrent_cells.equinox, "equinox"),
        "keras": _on_jax(recurrent_cells.keras, "keras"),
        "torch": Contender(_torch, needs=("torch",)),
        "arithmetic limit": Contender(_limit),
    },
    repeats=5,
    columns=(PEAK_MEMORY,),
    compare=(("of the limit", "fraction", "arithmetic limit"),),
    notes=(
        "One call each. arithmetic limit: the same number of operations in 2048 × 2048 matrix products. "
        "'first' holds the compilation."
    ),
)
