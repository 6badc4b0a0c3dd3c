"""The examples with sequences run as their headers say; with fewer steps, a weaker claim."""

import math
import re

import pytest
from running import example

pytest.importorskip("matplotlib")


def test_char_lm(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 200)
    given = {"text": text, "features": 32, "epochs": 12, "window": 30, "plot": tmp_path / "c.png"}
    shown = example("char_lm.py", *(part for name, value in given.items() for part in (f"--{name}", value)))
    assert shown.count("--- epoch") == 12
    loss = float(re.search(r"validation ([\d.]+) nats per character\n\d+ s", shown)[1])
    assert loss < 0.8 * math.log(27), "a sentence that repeats is easier than chance"
    assert (tmp_path / "c.png").stat().st_size > 5000


def test_forecast(tmp_path):
    days = [f'"1981-01-01",{10 + 5 * math.sin(day / 58):.1f}' for day in range(1600)]
    (tmp_path / "daily-min-temperatures.csv").write_text('"Date","Temp"\n' + "\n".join(days) + "\n")
    shown = example("forecast.py", "--data", tmp_path, "--epochs", "60", "--plot", tmp_path / "f")
    passengers = shown.split("temperatures")[0]
    errors = {
        name: float(e) for name, e in re.findall(r"^(LSTM|naive|seasonal naive)[ ,a-z]* +([\d.]+)  ", passengers, re.M)
    }
    assert errors["LSTM"] < errors["seasonal naive"] < errors["naive"]
    assert (tmp_path / "f_temperatures.png").exists()


def test_sequence_classification():
    shown = example("sequence_classification.py", "--epochs", "15")
    assert float(re.search(r"test accuracy ([\d.]+)%", shown)[1]) >= 95


def test_adding_problem(tmp_path):
    shown = example("adding_problem.py", "--length", "8", "--steps", "700", "--plot", tmp_path / "a.png")
    errors = {name: float(error) for name, error in re.findall(r"^(LSTM|GRU|RNN) +([\d.]+)", shown, re.M)}
    assert len(errors) == 3
    assert errors["GRU"] < 0.05
    assert (tmp_path / "a.png").exists()
