"""On a GPU: training steps of the CNN and the LSTM, and recurrent sizes of DeepBench, in each precision of products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks import cnn, lstm, recurrent_cells
from benchmarks.contender import Contender, Job, Workload
from benchmarks.peaks import gemm_job, torch_device
from benchmarks.steps import ALONE, RATE, TOGETHER, data, fnn_model, on_jax, pure_model

PRECISIONS = {"TF32": None, "bfloat16": None, "float32": "highest"}
"""Of products, and what `jax.default_matmul_precision` calls it; with bfloat16 it is the arrays that are narrow."""
SIZES = ((512, 64, 25), (1024, 128, 25), (1536, 16, 50), (256, 16, 150))
"""Hidden, batch, steps; as many features as hidden units."""
CALLS = 10


class Net(NamedTuple):
    """A network in each library, its batches, and the operations of one step."""

    fnn: Callable[[], Any]
    linen: Callable[..., Any]
    torch: Callable[[], Any]
    shape: Callable[[bool], tuple[int, ...]]
    torch_shape: Callable[[bool], tuple[int, ...]]
    operations: Callable[[bool], float]


NETS = {
    "CNN": Net(cnn.fnn_cnn, cnn.linen_cnn, cnn.torch_cnn, cnn.images, cnn.channels_first, cnn.operations),
    "LSTM": Net(
        lstm.fnn_classifier, lstm.linen_classifier, lstm.torch_classifier,
        lstm.sequences, lstm.sequences, lstm.operations,
    ),
}  # fmt: skip


class Case(NamedTuple):
    """A step of a network in one form, or the gradient of an LSTM of one size."""

    precision: str
    net: str = ""
    form: str = TOGETHER
    size: tuple[int, int, int] = (8, 2, 3)

    def narrow(self) -> str | None:
        return "bfloat16" if self.precision == "bfloat16" else None

    def shape(self, quick: bool) -> tuple[int, int, int]:
        """Of x."""
        hidden, batch, time = Case("").size if quick else self.size
        return batch, time, hidden


def _cases() -> dict[str, Case]:
    steps = [Case(one, net, form) for form in (TOGETHER, ALONE) for net in NETS for one in ("TF32", "bfloat16")]
    sizes = [Case(one, size=size) for one in PRECISIONS for size in SIZES]
    names = {f"{case.net}, {case.form} · {case.precision}": case for case in steps}
    return names | {f"lstm {_of(case.size)} · {case.precision}": case for case in sizes}


def _of(size: tuple[int, ...]) -> str:
    return " × ".join(map(str, size))


CASES = _cases()


def _contender(build: Callable[[Case, bool], Job | None], platform: Callable[[], str], *needs: str) -> Contender:
    """A CPU, on which real sizes would take an hour, has tiny ones alone."""
    return Contender(lambda name, quick: build(CASES[name], quick) if quick or platform() != "cpu" else None, needs)


def _platform() -> str:
    from fnn.kernels import placement

    return placement.platform()


def _on_jax(library: str, *needs: str) -> Contender:
    def build(case: Case, quick: bool) -> Job | None:
        if not case.net:
            return _in_precision(case, _gradient(getattr(recurrent_cells, library), case, quick))
        net, narrow = NETS[case.net], case.narrow()
        begin = fnn_model(net.fnn, narrow) if library == "fnn" else pure_model(lambda: net.linen(narrow))
        job = on_jax(begin, net.shape).build(case.form, quick)
        return job and _in_precision(case, job)

    return _contender(build, _platform, *needs)


def _in_precision(case: Case, job: Job) -> Job:
    import jax

    def run() -> Any:
        with jax.default_matmul_precision(PRECISIONS[case.precision]):
            return job.run()

    return job._replace(run=run)


def _gradient(make: recurrent_cells.Make, case: Case, quick: bool) -> Job:
    """All outputs, and the gradients of weights and input, several times."""
    import jax
    import jax.numpy as jnp

    x, g = (jnp.asarray(one, case.narrow()) for one in data(quick, case.shape(quick))[0][:2])
    params, run = make("lstm", x.shape[-1], x)

    @jax.jit
    def backward(params: Any, x: Any, g: Any) -> Any:
        outputs, back = jax.vjp(run, params, x)
        return outputs, back(g.astype(outputs.dtype))

    return Job(lambda: [backward(params, x, g) for _ in range(CALLS)][-1], calls=CALLS)


def _torch(compiled: str | None = None) -> Contender:
    def build(case: Case, quick: bool) -> Job | None:
        import torch

        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = case.precision != "float32"
        if case.net:
            return None if compiled and case.net != "CNN" else _torch_steps(case, quick, compiled)
        return None if compiled else _torch_gradient(case, quick)

    return _contender(build, torch_device, "torch")


def _torch_gradient(case: Case, quick: bool) -> Job:
    import torch

    dtype, device = torch.bfloat16 if case.narrow() else torch.float32, torch_device()
    x, g = (torch.from_numpy(one).to(device, dtype) for one in data(quick, case.shape(quick))[0][:2])
    core = torch.nn.LSTM(x.shape[-1], x.shape[-1], batch_first=True).to(device, dtype)
    core.flatten_parameters()
    inputs = (*core.parameters(), x.requires_grad_())
    return Job(lambda: [torch.autograd.grad(core(x)[0], inputs, g) for _ in range(CALLS)][-1], calls=CALLS)


def _torch_steps(case: Case, quick: bool, compiled: str | None) -> Job:
    """A loop over a step, images with channels last, Adam in one kernel for all parameters."""
    import torch

    net, device = NETS[case.net], torch_device()
    xs, ys = (torch.from_numpy(one).to(device) for one in data(quick, net.torch_shape(quick)))
    model = net.torch().to(device)
    if case.net == "CNN":
        model, _ = cnn.last_layout(model, xs[0])
        xs = [x.to(memory_format=torch.channels_last) for x in xs]
    pairs = [(x, y.long()) for x, y in zip(xs, ys, strict=True)]
    loss_fn = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=device == "cuda")
    used = torch.compile(model, mode=compiled) if compiled else model
    pairs = pairs if case.form == TOGETHER else pairs[:1]

    def run() -> None:
        for x, y in pairs:
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=bool(case.narrow())):
                loss = loss_fn(used(x), y)
            loss.backward()
            optimizer.step()

    return Job(run, calls=len(pairs))


def _limit(case: Case, quick: bool) -> Job:
    """The time of as many operations in large products."""
    batch, time, hidden = case.shape(quick)
    operations = NETS[case.net].operations(quick) if case.net else 3 * 2.0 * batch * time * 4 * hidden * 2 * hidden
    return _in_precision(case, gemm_job(operations, 64 if quick else 8192, case.narrow() or "float32"))


WORKLOAD = Workload(
    title="on a GPU: training steps, and LSTMs hidden × batch × steps with the gradients of weights and input",
    cases=tuple(CASES),
    quick_cases=(f"CNN, {ALONE} · TF32", f"LSTM, {TOGETHER} · bfloat16", f"lstm {_of(SIZES[0])} · float32"),
    contenders={
        "fnn": _on_jax("fnn"),
        "flax linen": _on_jax("linen", "flax", "optax"),
        "torch": _torch(),
        "torch.compile": _torch("reduce-overhead"),
        "arithmetic limit": _contender(_limit, _platform),
    },
    repeats=9,
    compare=(("of the limit", "fraction", "arithmetic limit"),),
    notes=(
        "Times per training step or gradient; the CNN and the LSTM are those of the tables of CPUs. TF32: float32\n"
        "arrays, products as a GPU takes them unasked by JAX and allowed to torch. bfloat16: steps with float32\n"
        "parameters (`compute_dtype`, flax's `dtype`, autocast), gradients of bfloat16 sequences, where weights\n"
        "are bfloat16 too but flax's, whose outputs are float32. torch: cuDNN's LSTM, channels last, Adam fused;\n"
        "torch.compile: CUDA graphs, mode reduce-overhead. arithmetic limit: as many operations in products of\n"
        "8192 × 8192 of that precision."
    ),
)
