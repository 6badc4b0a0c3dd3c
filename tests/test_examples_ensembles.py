"""The examples with ensembles and many splits run as their headers say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("FNN_DATA", ROOT.parent / "shared" / "data"))


def example(name, *arguments):
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_bagging():
    shown = example("bagging.py", "--members", 6, "--epochs", 10)
    assert float(re.search(r"out-of-bag accuracy +([\d.]+)%", shown)[1]) > 90
    assert float(re.search(r"average +test +([\d.]+)%", shown)[1]) > 90
    right, wrong = map(float, re.search(r"([\d.]+) where right, ([\d.]+) where wrong", shown).groups())
    assert wrong > right


def test_uci_regression():
    if not (DATA / "uci_regression").exists():
        pytest.skip(f"{DATA / 'uci_regression'} is not there; set FNN_DATA to the folder of the data sets")
    few = ("--sets", "energy", "--splits", 3, "--epochs", 10, "--decays", 0.001, 0.1)
    shown = example("uci_regression.py", "--data", DATA / "uci_regression", *few)
    assert 0.3 < float(re.search(r"([\d.]+) ± ", shown)[1]) < 4
    assert sum(map(int, re.search(r"energy +(\d)/(\d)", shown).groups())) == 3
