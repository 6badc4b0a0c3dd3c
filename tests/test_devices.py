"""The tests marked for two devices, each file of them in a process that has two."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

HERE = Path(__file__)
FILES = sorted(path.name for path in HERE.parent.glob("test_*.py") if "mark.devices(" in path.read_text())


@pytest.mark.skipif(jax.device_count() > 1, reason="this process has several devices: the marked tests run in it")
@pytest.mark.parametrize("name", FILES)
def test_with_two_devices(name):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "-m",
        "devices",
        HERE.with_name(name),
    ]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
    done = subprocess.run(command, cwd=HERE.parent.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout, "a test marked for two devices did not run on two"
