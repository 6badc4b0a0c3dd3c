"""Recurrent nets in use: sequences of different lengths, two layers in both directions, four thousand steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.contender import PEAK_MEMORY, Contender, Job, Workload
from benchmarks.peaks import torch_device

LENGTHS = "64 × 100 of different lengths, 64 → 256"
STACKED = "32 × 100, 2 layers, both directions, 64 → 128"
LONG = "8 × 4,000, 32 → 128"
CASES = (LENGTHS, STACKED, LONG)
SIZES = {LENGTHS: (64, 100, 64, 256), STACKED: (32, 100, 64, 128), LONG: (8, 4000, 32, 128)}
"""Batch, steps, features, hidden units; the names say the same."""

Run = Callable[[Any, Any, Any], Any]
"""(params, x, lengths) -> outputs"""


def _sizes(case: str, quick: bool) -> tuple[int, int, int, int]:
    return (2, 6, 3, 4) if quick else SIZES[case]


def _arrays(case: str, quick: bool) -> tuple[Any, Any]:
    """x and the lengths, from a tenth of the steps to all of them."""
    import numpy as np

    batch, time, features, _ = _sizes(case, quick)
    random = np.random.default_rng(0)
    lengths = random.integers(-(-time // 10), time + 1, batch).astype(np.int32)
    return random.standard_normal((batch, time, features), dtype=np.float32), lengths


def _on_jax(make: Callable[[str, int, Any], tuple[Any, Run] | None], *needs: str) -> Contender:
    def build(case: str, quick: bool) -> Job | None:
        import jax
        import jax.numpy as jnp

        x, lengths = map(jnp.asarray, _arrays(case, quick))
        made = make(case, _sizes(case, quick)[-1], x)
        if made is None:
            return None
        params, run = made
        gradient = jax.jit(jax.value_and_grad(lambda params, x, lengths: (run(params, x, lengths) ** 2).mean()))
        return Job(lambda: gradient(params, x, lengths))

    return Contender(build, needs=needs)


def _fnn(case: str, hidden: int, x: Any, remat: int | None = None) -> tuple[Any, Run] | None:
    import jax

    import fnn

    if remat and case != LONG:
        return None
    lstm = fnn.lstm(hidden, return_sequences=True, remat=remat)
    layer = fnn.stacked(*[fnn.bidirectional(lstm)] * 2) if case == STACKED else lstm
    params, state = layer.init(jax.random.key(0), x)

    def run(params: Any, x: Any, lengths: Any) -> Any:
        if case == LENGTHS:
            return layer.apply(params, state, fnn.Padded(x, lengths))[0].values
        return layer.apply(params, state, x)[0]

    return params, run


def _linen(case: str, hidden: int, x: Any) -> tuple[Any, Run]:
    import jax
    from flax import linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Any, lengths: Any) -> Any:
            if case != STACKED:
                return nn.RNN(nn.OptimizedLSTMCell(hidden))(x, seq_lengths=lengths if case == LENGTHS else None)
            for _ in range(2):
                x = nn.Bidirectional(nn.RNN(nn.OptimizedLSTMCell(hidden)), nn.RNN(nn.OptimizedLSTMCell(hidden)))(x)
            return x

    model = Net()
    return model.init(jax.random.key(0), x, None), model.apply


def _torch(case: str, quick: bool) -> Job:
    import torch
    from torch import nn

    x, lengths = (torch.from_numpy(one).to(torch_device()) for one in _arrays(case, quick))
    layers = {"num_layers": 2, "bidirectional": True} if case == STACKED else {}
    core = nn.LSTM(x.shape[-1], _sizes(case, quick)[-1], batch_first=True, **layers).to(x.device)

    def run() -> Any:
        given = x
        if case == LENGTHS:
            given = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, _ = core(given)
        if case == LENGTHS:
            outputs, _ = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
        return torch.autograd.grad((outputs**2).mean(), tuple(core.parameters()))

    return Job(run)


WORKLOAD = Workload(
    title="the loss of an LSTM's outputs and its gradients",
    cases=CASES,
    contenders={
        "fnn": _on_jax(_fnn),
        "fnn, remat=64": _on_jax(lambda case, hidden, x: _fnn(case, hidden, x, remat=64)),
        "flax linen": _on_jax(_linen, "flax"),
        "torch": Contender(_torch, needs=("torch",)),
    },
    repeats=7,
    columns=(PEAK_MEMORY,),
    notes=(
        "One call each. Lengths are drawn evenly from a tenth of the steps to all of them; torch packs them. remat=64 "
        "keeps the states between\nsegments of 64 steps and computes each segment again in the reverse pass."
    ),
)  # fmt: skip
