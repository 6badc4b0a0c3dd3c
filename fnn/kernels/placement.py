"""Where this process computes: asked here, and nowhere else.

A form that differs between platforms is chosen when a program is lowered, by `jax.lax.platform_dependent` or a rule of
lowering, and not by asking `platform()` while it is traced: a program exported for a GPU from a CPU is the GPU's.
The exceptions are of recurrences: a gradient, and a loop over a cell of one's own, are cut as suits the platform that
traced them.

What only this process can know, how many devices a batch may be spread over and how many cores there are, is asked
below while a program is traced; an exported program keeps the answer of the process that exported it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import jaxlib

CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
MEMORY = Path("/proc/meminfo")


def platform() -> str:
    """Where this process computes by default: "cpu", "gpu" or "tpu"."""
    return jax.default_backend()


def devices(platform: str | None = None) -> int:
    """Over how many devices, those of other hosts included, a batch may be spread: 1 means that it is never cut.
    "cpu" asks for a program lowered for CPUs, whatever this process computes on by default."""
    try:
        return jax.device_count(platform)
    except RuntimeError:  # the platform was left out when JAX started: such a program is for somebody else
        if platform is None:
            raise
        return 1


def hosts() -> int:
    """How many processes compute together."""
    return jax.process_count()


def cores() -> int:
    """Cores this process may use: those it is bound to, or fewer where a container limits their time."""
    # os.process_cpu_count, which says this from Python 3.13 on, knows no limit of time either.
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(math.ceil(min(bound, _quota())), 1)


def threads_convolutions() -> bool:
    """Whether XLA spreads one convolution over the cores of a CPU device: it does with jaxlib 0.12, not with 0.10."""
    return tuple(int(part) for part in jaxlib.__version__.split(".")[:2]) >= (0, 12)


def available_bytes() -> int:
    """Memory that this process may still take: of its first device, or of the machine and the groups it is in.

    Available memory counts what the system would give back, file caches above all; free memory does not.
    """
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return max(int(min(_available_here(), _available_in_groups())), 0)


def _available_here() -> float:
    for line in _text(MEMORY).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    return 2.0**32


def _available_in_groups() -> float:
    """Bytes left under the tightest limit of the control groups of this process; caches they may drop count as left."""
    left = [math.inf]
    for at in _groups("memory"):
        limit = _text(at / "memory.max") or _text(at / "memory.limit_in_bytes")
        used = _text(at / "memory.current") or _text(at / "memory.usage_in_bytes")
        if limit.strip().isdigit() and used.strip().isdigit():  # no limit is the word "max" in version 2
            stat = dict(line.split() for line in _text(at / "memory.stat").splitlines() if len(line.split()) == 2)
            caches = stat.get("inactive_file") or stat.get("total_inactive_file") or "0"
            left.append(int(limit) - int(used) + int(caches))
    return min(left)


def _groups(controller: str) -> Iterator[Path]:
    """Where the settings of this process's control groups stand, its own one first and then those it is in."""
    for line in _text(OWN_CGROUPS).splitlines():
        _, controllers, own = line.split(":", 2)
        if controllers and controller not in controllers.split(","):  # none: the one hierarchy of version 2
            continue
        for group in (Path(own), *Path(own).parents):
            yield CGROUPS / controllers / str(group).lstrip("/")


def _quota() -> float:
    """Cores' worth of time that the control groups of this process allow, itself and all it is in."""
    allowed = [math.inf]
    for at in _groups("cpu"):
        limit = _text(at / "cpu.max") or f"{_text(at / 'cpu.cfs_quota_us')} {_text(at / 'cpu.cfs_period_us')}"
        # No limit is the word "max" in version 2 and -1 in version 1.
        if len(limit.split()) == 2 and all(word.isdigit() for word in limit.split()):
            quota, period = map(int, limit.split())
            allowed.append(quota / period)
    return min(allowed)


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
