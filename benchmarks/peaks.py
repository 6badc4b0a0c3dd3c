"""What this machine can do at best: copying memory and multiplying matrices, each by whoever does it fastest.

The two jobs stand beside other workloads too, scaled to their bytes and operations: limits, measured in the same run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.contender import Contender, Job, Workload


def copy_job(moved: float) -> Job:
    """As much memory traffic as moving `moved` bytes (each byte read or written counts), on all cores."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from fnn.kernels import placement

    size = int(moved / 2)  # a copy reads and writes
    if placement.platform() != "cpu":
        source = jnp.zeros(size, jnp.uint8)
        copied = jax.jit(jnp.copy)
        return Job(lambda: copied(source), work=moved, report=_devices)
    cores = placement.cores()
    here, there = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    parts = list(zip(np.array_split(there, cores), np.array_split(here, cores), strict=True))
    pool = ThreadPoolExecutor(cores)
    return Job(lambda: list(pool.map(lambda part: np.copyto(*part), parts)) and None, work=moved, report=_devices)


def gemm_job(operations: float, size: int = 2048, dtype: str = "float32") -> Job:
    """As many floating-point operations as `operations`, in products of two square matrices by JAX."""
    import jax
    import jax.numpy as jnp

    a = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(jnp.matmul)
    return Job(lambda: product(a, a), calls=2 * size**3 / operations, work=operations, report=_devices)


def _devices(_: Any) -> dict[str, str]:
    from fnn.kernels import placement

    return {"threads": f"{placement.devices()} {placement.platform()} device"}


def _numpy_gemm(size: int) -> Job:
    import numpy as np

    a = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    return Job(lambda: a @ a, work=2 * size**3)


def _torch(size: int, do: Callable[[Any, Any, Any], Any], work: float) -> Job:
    import torch

    device = torch_device()
    a = torch.randn(size, size, device=device)
    b, out = torch.randn_like(a), torch.empty_like(a)
    return Job(lambda: do(a, b, out), work=work, report=lambda _: {"threads": f"{torch.get_num_threads()} threads"})


def torch_device() -> str:
    """Where JAX would compute, for torch."""
    import torch

    return "cuda" if torch.cuda.is_available() and not os.environ.get("JAX_PLATFORMS", "").startswith("cpu") else "cpu"


def _jax(case: str, quick: bool) -> Job | None:
    size = 64 if quick else 2048
    return gemm_job(2 * size**3, size) if case == "gemm" else None


def _threads(case: str, quick: bool) -> Job | None:
    return copy_job(2 * 4 * 4 * (64 if quick else 2048) ** 2) if case == "copy" else None


def _torch_peak(case: str, quick: bool) -> Job:
    import torch

    size = 64 if quick else 2048
    if case == "gemm":
        return _torch(size, lambda a, b, out: torch.mm(a, b, out=out), 2 * size**3)
    return _torch(2 * size, lambda a, b, out: out.copy_(a), 2 * 4 * 4 * size**2)


WORKLOAD = Workload(
    title="float32 product of 2048 × 2048 matrices; copy of 64 MiB",
    cases=("gemm", "copy"),
    contenders={
        "jax": Contender(_jax),
        "numpy": Contender(lambda case, quick: _numpy_gemm(64 if quick else 2048) if case == "gemm" else None),
        "plain copy": Contender(_threads),
        "torch": Contender(_torch_peak, needs=("torch",)),
    },
    columns=(("Gflop/s, GB/s", "giga_per_second", ".1f"), ("on", "threads", "")),
    notes="Bytes read and bytes written both count. plain copy: NumPy, one thread per core; on a GPU jnp.copy.",
)
