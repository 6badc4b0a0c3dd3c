"""README's code runs and keeps its promise, README is short, and no page links to what is not there."""

import contextlib
import io
import re
import runpy
from pathlib import Path

import jax
import pytest

import fnn

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)
MADE = ("_ext", "api", "gallery", "tests", "_build")
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")]
PAGES += [
    page for page in sorted((ROOT / "docs").rglob("*.md")) if page.relative_to(ROOT / "docs").parts[0] not in MADE
]


def run(code):
    """What a block prints, and the names it leaves."""
    names = {}
    with contextlib.redirect_stdout(io.StringIO()) as told:
        exec(compile(code, "README.md", "exec"), names)
    return told.getvalue(), names


def test_the_fifteen_lines_keep_their_promise():
    (example,) = [block for block in BLOCKS if "load_digits" in block]
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    promised = float(re.search(r"# accuracy above ([\d.]+)", example)[1])
    said, names = run(example)
    assert float(re.search(r"'accuracy': ([\d.]+)", said)[1]) > promised
    assert jax.tree.leaves(names["many"])[0].shape[0] == 8


@pytest.mark.parametrize("block", [block for block in BLOCKS if "load_digits" not in block])
def test_the_code_runs(block):
    assert run(block)[0]


def test_readme_is_read_to_the_end():
    assert len(README.splitlines()) <= 150
    assert len(BLOCKS) >= 2


LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page):
    """The anchors of a page's headings, as a forge makes them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        if not link.startswith(("http://", "https://", "mailto:")):
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_the_page_of_choices_is_what_guide_says():
    written = runpy.run_path(str(ROOT / "docs" / "_ext" / "choosing.py"))["page"]()
    assert (ROOT / "docs" / "choosing.md").read_text(encoding="utf-8") == written, "python docs/_ext/choosing.py"


def test_the_files_that_contributing_names_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/.]+\.py)`", text))
    rooms = [ROOT, ROOT / "tests", ROOT / "fnn", *(path for path in (ROOT / "fnn").rglob("*") if path.is_dir())]
    assert len(named) > 10
    assert not [path for path in named if not any((room / path).exists() for room in rooms)]


def test_the_citation_names_this_version():
    said = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)[1]
    assert said == fnn.__version__


def test_every_example_is_listed():
    listed = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert not [path.name for path in (ROOT / "examples").glob("*.py") if path.name not in listed]


def test_a_room_of_the_map_imports_only_from_rooms_above_it():
    rows = [re.findall(r"`fnn\.(\w+)`", line) for line in README.split("## The map of the house")[1].splitlines()]
    above = {}
    for place, rooms in enumerate(row for row in (line[:9] for line in rows) if row):
        above |= dict.fromkeys(rooms, place)
    wrong = [
        f"{room} imports {other}"
        for room, place in above.items()
        for path in (ROOT / "fnn" / room).rglob("*.py")
        for other in re.findall(r"^\s*from fnn\.(\w+)", path.read_text(encoding="utf-8"), re.M)
        if above.get(other, -1) > place
    ]
    assert above["programs"] < above["train"]
    assert wrong == []
