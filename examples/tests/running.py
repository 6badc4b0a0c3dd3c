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


def started(name, *arguments):
    """The ended process of an example."""
    command = [PYTHON, str(ROOT / "examples" / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def example(name, *arguments):
    """What an example prints."""
    done = started(name, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def data(path):
    """Real data that does not come with the library, or the test is skipped."""
    if not (DATA / path).exists():
        pytest.skip(f"{DATA / path} is not there; set FNN_DATA to the folder of the data sets")
    return DATA / path
