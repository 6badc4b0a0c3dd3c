"""Cores and devices as this process finds them, and that nothing else asks for them."""

import os
import re
from pathlib import Path

import jax
import pytest

import fnn
from fnn.kernels import placement

ROOT = Path(__file__).parent.parent
QUESTIONS = r"sched_getaffinity|cpu_count|default_backend|device_count\(|process_count\("


@pytest.mark.parametrize("room", ["fnn", "benchmarks"])
def test_nothing_else_asks(room):
    asking = [path.name for path in (ROOT / room).rglob("*.py") if re.search(QUESTIONS, path.read_text())]
    assert asking == (["placement.py"] if room == "fnn" else [])


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Eight cores, and control groups made of the files that are given."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(placement, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(placement, "OWN_CGROUPS", tmp_path / "own")

    def made(own, files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "groups" / name).write_text(text)

    return made


V1 = "12:memory:/a\n4:cpu,cpuacct:/a/b\n1:name=systemd:/a\n"


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "5000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "6400000 100000\n"}, 8),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3),
        ("0::/of/the/host\n", {"cpu.max": "400000 100000\n"}, 4),
        (V1, {"cpu,cpuacct/a/b/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/a/b/cpu.cfs_period_us": "100000\n"}, 8),
        (V1, {"cpu,cpuacct/a/b/cpu.cfs_quota_us": "150000\n", "cpu,cpuacct/a/b/cpu.cfs_period_us": "50000\n"}, 3),
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "100000\n", "cpu,cpuacct/cpu.cfs_period_us": "50000\n"}, 2),
        (V1, {"memory/a/cpu.cfs_quota_us": "100000\n", "memory/a/cpu.cfs_period_us": "50000\n"}, 8),
    ],
)
def test_cores_are_those_bound_to_or_the_fewer_that_a_container_allows(machine, own, files, cores):
    machine(own, files)
    assert placement.cores() == cores


def test_cores_without_control_groups_or_affinity(machine, monkeypatch):
    assert placement.cores() == 8
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert placement.cores() == 6


def test_devices_of_a_platform_that_was_left_out():
    assert placement.devices() == placement.devices("cpu") == len(jax.devices("cpu"))
    assert placement.devices("gpu") == 1


def test_every_core_a_device_means_the_cores_of_the_container(monkeypatch):
    asked = []
    monkeypatch.setattr(placement, "cores", lambda: 3)
    monkeypatch.setattr(jax.config, "update", lambda name, value: asked.append((name, value)))
    assert fnn.devices.use_cpu_cores() == 3
    assert asked == [("jax_num_cpu_devices", 3)]


V2_FULL = {
    "a/memory.max": "1000000\n",
    "a/memory.current": "900000\n",
    "a/memory.stat": "anon 1\ninactive_file 300000\n",
}
V1_FULL = {
    "memory/a/memory.limit_in_bytes": "700000\n", "memory/a/memory.usage_in_bytes": "200000\n",
    "memory/a/memory.stat": "total_inactive_file 50000\n",
}  # fmt: skip


@pytest.mark.parametrize(
    ("own", "files", "left"),
    [
        ("0::/\n", {}, 2_000_000 * 1024),
        ("0::/a\n", {"a/memory.max": "max\n", "a/memory.current": "5\n"}, 2_000_000 * 1024),
        ("0::/a/b\n", V2_FULL, 400_000),
        ("0::/a\n", V2_FULL | {"a/memory.current": "2000000\n"}, 0),
        (V1, V1_FULL, 550_000),
    ],
)
def test_memory_is_what_is_available_or_what_a_container_leaves(machine, monkeypatch, tmp_path, own, files, left):
    machine(own, files)
    (tmp_path / "meminfo").write_text("MemTotal: 9000000 kB\nMemFree: 10 kB\nMemAvailable: 2000000 kB\n")
    monkeypatch.setattr(placement, "MEMORY", tmp_path / "meminfo")
    assert placement.available_bytes() == left
