"""Models that leave the process, or come from elsewhere, as the headers of the examples say."""

import re

from running import example, python_with


def test_save_and_export():
    shown = example("save_and_export.py", python=python_with("safetensors", "flatbuffers", "sklearn"))
    assert float(re.search(r"test accuracy ([\d.]+)%", shown)[1]) > 97
    assert "loaded: 360 of 360" in shown
    assert "exported: 360 of 360" in shown


def test_transfer():
    shown = example("transfer.py", python=python_with("torch", "sklearn"))
    assert float(re.search(r"difference to torch's outputs (\S+)", shown)[1]) < 1e-4
    frozen, scratch = (float(value) for value in re.findall(r"accuracy ([\d.]+)%", shown))
    assert frozen > scratch + 3
