"""What a workload is made of, and how one repetition is timed. Imports nothing heavy: it runs in fresh processes."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

WARM_UPS = 2

WITHOUT_JAX = {"torch", "sklearn"}
"""Modules whose contenders may run in another Python: their figures do not depend on the version of JAX."""

PEAK_MEMORY = ("peak memory, MiB", "peak_mib", ",.0f")
"""A column: memory taken during a repetition beyond what was held before it."""

CPU_TIME = ("CPU, ms", "cpu_ms", ".3g")
"""A column: time of all cores together."""


class Job(NamedTuple):
    """What a contender does once: `run` is timed, `report` is not."""

    run: Callable[[], Any]
    """One repetition; whatever it returns is waited for."""
    calls: float = 1
    """Calls in one repetition: time and page faults are divided by it."""
    report: Callable[[Any], Mapping[str, Any]] | None = None
    """outputs of `run` -> further numbers (or short texts) to record."""
    work: float = 0
    """Floating-point operations or bytes of one call, for a rate."""


class Contender(NamedTuple):
    """A library, or a reference such as a bare copy, that takes part in a workload."""

    build: Callable[[str, bool], Job | None]
    """(case, quick) -> its job, or None where it has no such case."""
    needs: tuple[str, ...] = ()
    """Modules that must be installed."""


class Workload(NamedTuple):
    """One benchmark: every contender does every case, interleaved."""

    title: str
    cases: tuple[str, ...]
    contenders: Mapping[str, Contender]
    quick_cases: tuple[str, ...] = ()
    """Cases of `--quick`; all of them if empty."""
    baseline: str = "fnn"
    """The contender that ratios are taken to."""
    unit: str = "ms"
    repeats: int = 15
    fresh: bool = False
    """A new process for every repetition: what is timed happens once in a process (imports, compilation)."""
    timed: bool = True
    """False: what is recorded are the reported numbers, once, or many rows of them reported as "rows"."""
    compare: tuple[tuple[str, str, str], ...] = ()
    """(heading, "fraction" or "difference", contender): a column against a reference other than fnn."""
    columns: tuple[tuple[str, str, str], ...] = ()
    """(heading, name of a reported number, its format)."""
    headings: tuple[str, str] = ("case", "contender")
    notes: str = ""


def load(workload: str) -> Workload:
    return importlib.import_module(f"benchmarks.{workload}").WORKLOAD


def missing(contender: Contender) -> list[str]:
    """The modules it needs that are not installed."""
    return [name for name in contender.needs if importlib.util.find_spec(name) is None]


def beside(python: str, contender: Contender) -> bool:
    """Whether another Python has what this one lacks; what rests on JAX is measured with the JAX at hand, or not."""
    if not python or not set(contender.needs) <= WITHOUT_JAX:
        return False
    asked = "import sys, importlib.util; sys.exit(None in map(importlib.util.find_spec, sys.argv[1:]))"
    return subprocess.run([python, "-c", asked, *contender.needs]).returncode == 0


def wait(outputs: Any) -> Any:
    """Return once everything has been computed, on whatever device."""
    if "jax" in sys.modules:
        sys.modules["jax"].block_until_ready(outputs)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return outputs


def page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _resident() -> tuple[float, float]:
    """Memory of this process in MiB, now and at its peak; zeros where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0, 0
    kibibytes = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE))
    return int(kibibytes["VmRSS"]) / 1024, int(kibibytes["VmHWM"]) / 1024


def timed(job: Job) -> dict[str, Any]:
    """One repetition."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, _ = _resident()
    faults, began, cpu = page_faults(), time.perf_counter(), time.process_time()
    outputs = wait(job.run())
    seconds, faults, cpu = time.perf_counter() - began, page_faults() - faults, time.process_time() - cpu
    reported = {"peak_mib": max(_resident()[1] - before, 0), "cpu_ms": cpu * 1e3 / job.calls}
    reported |= {} if job.report is None else dict(job.report(outputs))
    if job.work:
        reported["giga_per_second"] = job.work * job.calls / seconds / 1e9
    return {"seconds": seconds / job.calls, "faults": faults / job.calls, **reported}


class Local:
    """A contender in this process: `start` a case, `sample` it as often as wanted."""

    def __init__(self, workload: str, contender: str, quick: bool) -> None:
        self.workload, self.quick = load(workload), quick
        self.contender = self.workload.contenders[contender]
        self.job: Job | None = None

    def start(self, case: str) -> dict[str, Any] | None:
        """The first repetition, compilation included; None if this contender has no such case."""
        self.job = None
        if not self.quick:
            gc.collect()  # the last case's arrays are gone
        self.job = self.contender.build(case, self.quick)
        if self.job is None:
            return None
        first = timed(self.job)
        # All of it: compilation is not shared out among the calls. A loop that did a share of its work stays scaled up.
        first["seconds"] *= max(1, self.job.calls)
        if self.workload.timed and not (self.workload.fresh or self.quick):
            for _ in range(WARM_UPS):
                timed(self.job)
        return first

    def sample(self) -> dict[str, Any]:
        assert self.job is not None
        return timed(self.job)

    def close(self) -> None:
        self.job = None
