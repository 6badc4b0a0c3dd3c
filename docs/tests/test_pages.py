"""Every code block of the documentation runs, in its page's order, and says what the page says it does."""

import contextlib
import importlib.util
import io
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
MADE = ("_ext", "api", "gallery", "tests")
PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if page.relative_to(ROOT / "docs").parts[0] not in MADE]
TESTED_ELSEWHERE = ("docs/mistakes.md",)
FENCED = re.compile(r"(<!-- a process of its own -->\s*)?^```python\n(.*?)^```(?:\n\n```text\n(.*?)```)?", re.S | re.M)
OPTIONAL = (
    "jax2onnx",
    "onnxruntime",
    "torch",
    "keras",
    "flax",
    "equinox",
    "optax",
    "sklearn",
    "PIL",
    "pandas",
    "matplotlib",
    "scipy",
)
NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


BLOCKS = {name_of(page): FENCED.findall(page.read_text(encoding="utf-8")) for page in PAGES}


def absent(code):
    """Which optional library the code imports that is not here."""
    asked = [name for name in re.findall(r"^\s*(?:import|from) (\w+)", code, re.M) if name in OPTIONAL]
    return [name for name in asked if importlib.util.find_spec(name) is None]


def alike(said, written):
    """The same words, and the same numbers within what two versions of JAX differ by after a short training."""
    ours, theirs = (list(map(float, NUMBER.findall(text))) for text in (said, written))
    words = [" ".join(NUMBER.sub("#", text).split()) for text in (said, written)]
    return words[0] == words[1] and np.allclose(ours, theirs, rtol=0.05, atol=0.02)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", [name for name, blocks in BLOCKS.items() if blocks and name not in TESTED_ELSEWHERE])
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    missing = absent("\n".join(code for _, code, _ in BLOCKS[page]))
    if missing:
        pytest.skip(f"{page} needs {', '.join(missing)}")
    monkeypatch.chdir(tmp_path)
    # As users have it: other libraries promote where they like.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow" if "coming" in page else "raise"):
        names = {"__name__": "page"}
        for place, (apart, code, written) in enumerate(BLOCKS[page]):
            said = in_a_process(code) if apart else here(code, names, f"{page}, block {place}")
            if written:
                assert alike(said, written), f"{page}, block {place} says\n{said}\nand the page\n{written}"


def here(code, names, where):
    with contextlib.redirect_stdout(io.StringIO()) as told:
        exec(compile(code, where, "exec"), names)
    return told.getvalue()


def in_a_process(code):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path}\n{code}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_from_an_own_table_to_a_saved_model_in_25_lines():
    """Found within two clicks: README links to the page, which begins with it."""
    page = ROOT / "docs" / "recipes" / "saving.md"
    assert "(docs/recipes/saving.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    code = BLOCKS[name_of(page)][0][1]
    assert "read_csv" in code
    assert "fnn.save" in code
    made, _, own = code.partition("# your file\n")
    imports = [line for line in made.splitlines() if line.startswith("import")]
    assert len([*imports, *filter(str.strip, own.splitlines())]) <= 25
