"""Docstrings are Markdown where they hold code and formulas; autodoc reads reStructuredText."""

from __future__ import annotations

import re
from typing import Any

COLON = "\ue000"  # stands for a colon that napoleon would take for the end of a type
HIDDEN = str.maketrans("_*", "\ue001\ue002")  # in the names of arguments and attributes, which napoleon escapes itself
SHOWN = str.maketrans("\ue001\ue002", "_*")
NAMES = re.compile(r"^ {4,}[\w*]+(?:, [\w*]+)*(?=: )", re.M)
MARKED = re.compile(r"`([^`]+)`|\$([^$]+)\$", re.S)


def spaced(text: str) -> str:
    return " ".join(text.split())


def inline(match: re.Match[str]) -> str:
    """`code` and $formula$ as roles, closed off from the letters beside them."""
    code, formula = match.groups()
    whole, begin, end = match.string, match.start(), match.end()
    left = "\\ " if begin and not whole[begin - 1].isspace() else ""
    right = "\\ " if end < len(whole) and not whole[end].isspace() else ""
    return f"{left}``{spaced(code)}``{right}" if code else f"{left}:math:`{spaced(formula)}`{right}"


def escaped(text: str) -> str:
    """What reStructuredText would read as markup: stars, bars, names that end in an underscore."""
    text = re.sub(r"(?<!\*)\*(?!\*)", r"\\*", text)
    return re.sub(r"(?<=\w)_(?=\W|$)|\|", lambda found: "\\" + found[0], text)


def prose(text: str) -> str:
    text = NAMES.sub(lambda found: found[0].translate(HIDDEN), text)
    pieces, last = [], 0
    for match in MARKED.finditer(text):
        pieces += [escaped(text[last : match.start()]), inline(match)]
        last = match.end()
    return "".join([*pieces, escaped(text[last:])]).translate(SHOWN)


def converted(lines: list[str]) -> list[str]:
    """Prose is converted, examples stay as they are."""
    parts: list[tuple[bool, list[str]]] = []
    code = False
    for line in lines:
        code = line.lstrip().startswith(">>> ") or (code and bool(line.strip()))
        if not parts or parts[-1][0] != code:
            parts.append((code, []))
        parts[-1][1].append(line)
    told = [part if code else prose("\n".join(part)).split("\n") for code, part in parts]
    return [line for part in told for line in part]


def before(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    lines[:] = converted(lines)
    for place, line in enumerate(lines[1:], 1):
        if lines[place - 1].strip() in ("Returns:", "Yields:"):
            lines[place] = line.replace(":", COLON)


def after(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [line.replace(COLON, ":") for line in lines]


def signature(
    app: Any, what: str, name: str, value: Any, options: Any, given: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Types by the names they have in the source."""
    plain = [text and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text) for text in (given, returned)]
    return plain[0], plain[1]


def setup(app: Any) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", before, priority=100)
    app.connect("autodoc-process-docstring", after, priority=900)
    app.connect("autodoc-process-signature", signature)
    return {"parallel_read_safe": True}
