"""The examples with images run as their headers say."""

import re
import struct

import numpy as np
import pytest
from running import example, started

pytest.importorskip("matplotlib")


def plots(prefix):
    names = ("confusion", "filters", "misclassified")
    return [(prefix.parent / f"{prefix.name}_{name}.png").exists() for name in names]


def accuracy(shown):
    return float(re.search(r"test accuracy ([\d.]+)%", shown)[1])


def test_digits(tmp_path):
    shown = example("digits_cnn.py", "--epochs", 6, "--plot", tmp_path / "digits")
    assert accuracy(shown) >= 95
    wrong = int(re.search(r"(\d+) of 360 wrong", shown)[1])
    assert plots(tmp_path / "digits") == [True, True, wrong > 0]


def fashion(folder, rng):
    """Images of noise in which the class is a bright row, but for some wrong labels: there is something to learn."""
    for part, count in (("train", 384), ("t10k", 64)):
        labels = rng.integers(10, size=count).astype(np.uint8)
        images = rng.integers(60, size=(count, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[4 + 2 * label] = 255
        labels[:5] = (labels[:5] + 1) % 10
        (folder / f"{part}-images-idx3-ubyte").write_bytes(
            bytes([0, 0, 8, 3]) + struct.pack(">3I", *images.shape) + images.tobytes()
        )
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            bytes([0, 0, 8, 1]) + struct.pack(">I", count) + labels.tobytes()
        )


def test_fashion_mnist(tmp_path):
    fashion(tmp_path, np.random.default_rng(0))
    shown = example("fashion_mnist.py", "--data", tmp_path, "--epochs", 1, "--plot", tmp_path / "out")
    assert int(re.search(r"small: ([\d,]+) parameters", shown)[1].replace(",", "")) < 100_000
    assert re.search(r"test accuracy [\d.]+% after 1 epochs", shown)
    assert plots(tmp_path / "out") == [True, True, True]


def test_fashion_mnist_without_files(tmp_path):
    done = started("fashion_mnist.py", "--data", tmp_path)
    assert done.returncode == 2
    assert "neither train-images-idx3-ubyte nor" in done.stderr
    assert "zalandoresearch" in done.stderr
    assert "Traceback" not in done.stderr
