"""Versions: one place says which are tested; an untested JAX is named at import."""

import re
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest

import fnn
from fnn import versions

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_what_is_declared_is_what_is_tested():
    assert PROJECT["dependencies"] == [f"jax{versions.TESTED}", f"jaxlib{versions.TESTED}"]
    oldest, faulty, below = re.fullmatch(r">=([\d.]+),!=([\d.]+),<([\d.]+)", versions.TESTED).groups()
    assert (".".join(map(str, versions._OLDEST)), ".".join(map(str, versions._BELOW))) == (oldest, below)
    assert [".".join(map(str, version)) for version in versions._FAULTY] == [faulty]
    python = f"Python :: {sys.version_info.major}.{sys.version_info.minor}"
    assert f"Programming Language :: {python}" in PROJECT["classifiers"]


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("0.4.38", "older"),
        ("0.10.1", "older"),
        ("0.11.1", "copies whole buffers"),
        ("0.13.0", "newer"),
        ("1.0", "newer"),
    ],
)
def test_an_untested_jax_is_named_with_the_tested_range(version, words):
    with pytest.warns(RuntimeWarning, match=words) as told:
        versions.check("jax", version)
    message = str(told[0].message)
    assert f"expected jax{versions.TESTED}, got jax {version}" in message
    assert f'pip install "jax{versions.TESTED}"' in message
    assert told[0].filename == __file__


@pytest.mark.parametrize("version", ["0.10.2", "0.11.0", "0.11.2", "0.12.0.1", "0.12.1.dev20261125"])
def test_a_tested_jax_is_not_named(version):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        versions.check("jax", version)


def test_the_warning_comes_before_what_fails_and_names_the_line_that_imports(tmp_path):
    """jax 0.4.38 without a name that fnn needs: the user reads the reason first."""
    script = tmp_path / "script.py"
    script.write_text("import jax\njax.__version__ = '0.4.38'\ndel jax.tree\nimport fnn\n")
    done = subprocess.run([sys.executable, script], cwd=ROOT, capture_output=True, text=True)
    assert f"{script}:4: RuntimeWarning: fnn: expected jax{versions.TESTED}, got jax 0.4.38" in done.stderr


def test_version_and_rooms_are_found():
    assert re.fullmatch(r"\d+\.\d+\.\d+", fnn.__version__)
    rooms = {"data", "devices", "diagnostics", "estimators", "interop", "plot", "selection", "testing", "losses"}
    assert {*rooms, "summary", "serial", "fit", "relu", "__version__"} <= set(dir(fnn))
    assert not {"importlib", "Any", "TYPE_CHECKING", "annotations", "_LAZY"} & set(dir(fnn))
    assert all(hasattr(fnn, name) for name in dir(fnn))
