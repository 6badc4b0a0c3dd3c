"""What a number was measured on: processor, cores, threads, versions, flags, load."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PACKAGES = (
    "jax", "jaxlib", "numpy", "optax", "flax", "dm-haiku", "equinox", "torch", "scikit-learn", "keras",
)  # fmt: skip
FLAGS = (
    "JAX_", "XLA_", "OMP_", "MKL_", "KMP_", "GLIBC_TUNABLES", "MALLOC_", "LD_PRELOAD", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _beside(python: str) -> dict[str, str]:
    """torch of another Python, in which it is measured."""
    asked = (
        "import importlib.metadata as m, platform; print(m.version('torch') + ', Python ' + platform.python_version())"
    )
    told = subprocess.run([python, "-c", asked], capture_output=True, text=True) if python else None
    return {"torch": told.stdout.strip()} if told and told.returncode == 0 else {}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    here = Path(__file__).parent
    try:
        told = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True)
    except OSError:
        return ""
    return told.stdout.strip()


def _accelerators() -> str:
    """Those that JAX computes on, asked in a process that does not hold their memory afterwards."""
    asked = "import jax; d = jax.devices(); print('' if d[0].platform == 'cpu' else f'{len(d)} {d[0].device_kind}')"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
    return told.stdout.strip() if told.returncode == 0 else ""


def load() -> float:
    """Processes that want a core: well above the number of cores, and every time is too long."""
    return round(os.getloadavg()[0], 2)


def describe(beside: str = "") -> dict[str, Any]:
    from fnn.kernels import placement

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": placement.cores(),
        "memory_gib": round(memory, 1),
        "accelerators": _accelerators(),
        "system": f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
        "python": platform.python_version(),
        "versions": _beside(beside) | _versions(),
        "flags": {k: v for k, v in sorted(os.environ.items()) if k.startswith(FLAGS)},
        "commit": _commit(),
        "load_before": load(),
    }


def headline(machine: dict[str, Any]) -> str:
    versions = " · ".join(f"{k} {v}" for k, v in machine["versions"].items())
    flags = " ".join(f"{k}={v}" for k, v in machine["flags"].items()) or "none"
    return "\n".join(
        filter(
            None,
            (
                f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}",
                machine["accelerators"],
                f"python {machine['python']} · {versions}",
                f"flags: {flags} · load {machine['load_before']} · commit {machine['commit']} · {machine['date']}",
            ),
        )
    )
