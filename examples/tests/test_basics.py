"""Every example runs as its header says, and its claim holds."""

import re

from running import data, example


def test_quickstart(tmp_path):
    png = tmp_path / "curves.png"
    shown = example("quickstart.py", "--plot", png)
    assert float(re.search(r"test accuracy ([\d.]+)%", shown)[1]) >= 97
    assert png.stat().st_size > 10_000
    assert (tmp_path / "curves_confusion.png").exists()


def test_price_classification():
    shown = example("price_classification.py", "--csv", data("mobile_price/train.csv"))
    lines = [line for line in shown.splitlines() if "%" in line]
    assert len(lines) == 6
    assert float(re.findall(r"([\d.]+)%", lines[-1])[1]) >= 93


def test_linear_and_perceptron():
    shown = example("linear_and_perceptron.py")
    assert float(re.search(r"closed form: (\S+)", shown)[1]) < 1e-3
    assert re.search(r"XOR\s+no", shown)
    assert re.search(r"AND\s+yes", shown)


def test_custom_layer():
    shown = example("custom_layer.py")
    assert float(re.search(r"mean squared error ([\d.]+)", shown)[1]) < 0.01


def test_custom_optimizer():
    shown = example("custom_optimizer.py")
    assert all(float(value) > 90 for value in re.findall(r"accuracy ([\d.]+)%", shown))


def test_second_order():
    shown = example("second_order.py")
    *adam, lbfgs = [float(line.split()[-4]) for line in shown.splitlines()[1:]]  # after 300 gradients
    assert 50 * lbfgs < min(adam)
