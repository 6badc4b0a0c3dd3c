"""Examples as a user runs them, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("FNN_DATA", ROOT.parent / "shared" / "data"))
# The gate names an interpreter with exactly what README's first command installs.
PYTHON = os.environ.get("FNN_EXAMPLES_PYTHON", sys.executable)


def started(name, *arguments, python=PYTHON):
    """The ended process of an example."""
    command = [python, str(ROOT / "examples" / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def example(name, *arguments, python=PYTHON):
    """What an example prints."""
    done = started(name, *arguments, python=python)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def data(path):
    """Real data that does not come with the library, or the test is skipped."""
    if not (DATA / path).exists():
        pytest.skip(f"{DATA / path} is not there; set FNN_DATA to the folder of the data sets")
    return DATA / path


def python_with(*packages):
    """An interpreter that has what the header of an example says that it needs beside, or the test is skipped."""
    asked = "import " + ", ".join(packages)
    for python in (PYTHON, sys.executable):
        if subprocess.run([python, "-c", asked], capture_output=True).returncode == 0:
            return python
    pytest.skip(f"{' and '.join(packages)} are not installed")
