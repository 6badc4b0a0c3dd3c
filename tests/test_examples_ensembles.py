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
