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


def test_image_folder(tmp_path):
    """Called again with more epochs it goes on, and reads a directory that is there already."""
    python = python_with("PIL", "safetensors", "flatbuffers", "sklearn")
    shown = example("image_folder.py", "--run", tmp_path, "--epochs", 4, python=python)
    assert "1438 to train on, 359 to test on, classes 0, 1, 2" in shown
    given = ("--directory", tmp_path / "digits", "--run", tmp_path, "--epochs", 9)
    assert float(re.search(r"test accuracy ([\d.]+)%", example("image_folder.py", *given, python=python))[1]) > 97
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["checkpoints", "digits", "model.jax", "model.safetensors"]
    assert sorted(path.stem for path in (tmp_path / "checkpoints").iterdir()) == ["epoch-000008", "epoch-000009"]
