"""The examples of choosing between models run as their headers say; with fewer networks."""

import re

import pytest
from running import example


def test_cross_validation(tmp_path):
    pytest.importorskip("matplotlib")
    png = tmp_path / "heat.png"
    shown = example("cross_validation.py", "--epochs", "5", "--seeds", "1", "--plot", png)
    best = re.search(r"accuracy ([\d.]+)% ± ([\d.]+)%; 30 networks", shown)
    assert float(best[1]) >= 94
    assert 0 < float(best[2]) < 5
    assert png.stat().st_size > 5000


def test_leave_one_out():
    shown = example("leave_one_out.py", "--data", "iris", "--epochs", "15", "--peer-rows", "4")
    networks, accuracy = re.search(r"iris +(\d+) +([\d.]+)%", shown).groups()
    assert int(networks) == 150
    assert float(accuracy) >= 90
