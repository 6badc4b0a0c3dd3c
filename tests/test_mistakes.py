"""docs/mistakes.md word for word: every mistake on the page gets the message under it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "mistakes.md").read_text(encoding="utf-8")
SETUP, *_ = re.findall(r"```python\n(.*?)```", PAGE, re.S)
MISTAKES = re.findall(r"## (.*?)\n\n```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def setting():
    names: dict = {}
    exec(compile(SETUP, "docs/mistakes.md", "exec"), names)
    return names


def test_the_page_has_a_message_under_every_mistake():
    assert len(MISTAKES) == PAGE.count("\n## ") >= 28


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("title", "code", "message"), MISTAKES, ids=[title for title, *_ in MISTAKES])
def test_the_message_is_the_one_on_the_page(title, code, message, setting):
    if "import pandas" in code:
        pytest.importorskip("pandas")
    program = compile(code, f"docs/mistakes.md, {title}", "exec")
    with pytest.raises((TypeError, ValueError)) as caught:
        exec(program, dict(setting))
    said = f"{type(caught.value).__name__}: {caught.value}"
    assert " ".join(said.split()) == " ".join(message.split())
