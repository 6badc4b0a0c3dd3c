"""The examples with ensembles and many splits run as their headers say."""

import re

import pytest
from running import data, example

pytest.importorskip("sklearn")


def test_bagging():
    shown = example("bagging.py", "--members", 6, "--epochs", 10)
    assert float(re.search(r"out-of-bag accuracy +([\d.]+)%", shown)[1]) > 90
    assert float(re.search(r"average +test +([\d.]+)%", shown)[1]) > 90
    right, wrong = map(float, re.search(r"([\d.]+) where right, ([\d.]+) where wrong", shown).groups())
    assert wrong > right


def test_uci_regression():
    few = ("--sets", "energy", "--splits", 3, "--epochs", 10)
    shown = example("uci_regression.py", "--data", data("uci_regression"), *few)
    assert 0.3 < float(re.search(r"([\d.]+) ± ", shown)[1]) < 4
    assert sum(map(int, re.search(r"energy.*\[(\d) (\d) (\d)\]", shown).groups())) == 3
