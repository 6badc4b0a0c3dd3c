"""Models that leave the process, or come from elsewhere, as the headers of the examples say."""

import re
import subprocess

import pytest
from running import PYTHON, example


def needs(*packages):
    """The test is skipped where the interpreter of the examples has not what the header says that it needs."""
    for name in packages:
        if subprocess.run([PYTHON, "-c", f"import {name}"], capture_output=True).returncode:
            pytest.skip(f"{PYTHON} has no {name}")


def test_save_and_export():
    needs("safetensors", "flatbuffers", "sklearn")
    shown = example("save_and_export.py")
    assert float(re.search(r"test accuracy ([\d.]+)%", shown)[1]) > 97
    assert "loaded: 360 of 360" in shown
    assert "exported: 360 of 360" in shown


def test_transfer():
    needs("torch", "sklearn")
    shown = example("transfer.py")
    assert float(re.search(r"difference to torch's outputs (\S+)", shown)[1]) < 1e-4
    frozen, scratch = (float(value) for value in re.findall(r"accuracy ([\d.]+)%", shown))
    assert frozen > scratch + 3
