"""Tables on the screen, and figures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

SCALES = {"s": 1.0, "ms": 1e3, "µs": 1e6}


def _number(value: float) -> str:
    """About three significant digits, never an exponent."""
    if value != value:
        return "nan"
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.{2 if size >= 1 else 3}f}"


def _cells(row: dict[str, Any], result: dict[str, Any]) -> list[str]:
    cells = [row["case"], row["contender"]]
    if result["timed"]:
        scale = SCALES[result["unit"]]
        seconds = {name: _number(value * scale) for name, value in row["seconds"].items()}
        cells += [seconds["median"], f"{seconds['low']} – {seconds['high']}"]
        if _with_ratio(result):
            cells.append("" if row["ratio"] is None else f"{_number(row['ratio']['median'])} ×")
        cells += [
            _number(row["first_seconds"] * scale),
            f"{row['faults']:,.0f}",
        ]
        cells += [_comparison(row[heading], kind, scale) for heading, kind in result["compare"]]
    return cells + [_reported(row.get(name), form) for _, name, form in result["columns"]]


def _with_ratio(result: dict[str, Any]) -> bool:
    return any(row["ratio"] for row in result["rows"])


def _comparison(value: dict[str, float] | None, kind: str, scale: float) -> str:
    if value is None:
        return ""
    return f"{value['median']:.0%}" if kind == "fraction" else _number(value["median"] * scale)


def _reported(value: Any, form: str) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return "0" if value == 0 else format(value, form)


def table(name: str, result: dict[str, Any]) -> str:
    """An aligned table in Markdown: readable on the screen, and to be pasted."""
    headings = list(result["headings"])
    if result["timed"]:
        unit = result["unit"]
        headings += [
            f"median, {unit}",
            "quartiles",
            *[f"to {result['baseline']}"] * _with_ratio(result),
            f"first, {unit}",
            "page faults",
        ]
        headings += [heading for heading, _ in result["compare"]]
    headings += [heading for heading, *_ in result["columns"]]
    lines = [headings] + [_cells(row, result) for row in result["rows"]]
    widths = [max(len(line[place]) for line in lines) for place in range(len(headings))]
    text = [place < 2 or any(_is_text(line[place]) for line in lines[1:]) for place in range(len(headings))]
    drawn = [_line(line, widths, text) for line in lines]
    rule = (
        "|"
        + "|".join("-" * (width + 1) + ("-" if left else ":") for width, left in zip(widths, text, strict=True))
        + "|"
    )
    count = result["rounds"]
    rounds = f" ({count} round{'s' * (count > 1)})" if result["timed"] else ""
    parts = [f"{name}: {result['title']}{rounds}", "", drawn[0], rule, *drawn[1:]]
    parts += [f"  {label} — {why}" for label, why in result["absent"].items()]
    return "\n".join(parts + ([result["notes"]] if result["notes"] else []))


def _is_text(cell: str) -> bool:
    return re.fullmatch(r"[-+\d.,e%× –]*|nan", cell) is None


def _line(cells: list[str], widths: list[int], text: list[bool]) -> str:
    padded = (c.ljust(w) if left else c.rjust(w) for c, w, left in zip(cells, widths, text, strict=True))
    return "| " + " | ".join(padded) + " |"


def figure(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Medians as bars, quartiles as whiskers: one panel per case, its own axis from zero."""
    from matplotlib.figure import Figure  # takes a second to import

    panels = [
        (name, result, case, [row for row in result["rows"] if row["case"] == case])
        for name, result in results.items()
        if result["timed"]
        for case in dict.fromkeys(row["case"] for row in result["rows"])
    ]
    if not panels:
        raise SystemExit("--png: none of these workloads is timed; there is nothing to draw")
    heights = [0.35 * len(rows) + 0.9 for *_, rows in panels]
    drawing = Figure(figsize=(8, sum(heights)), layout="constrained")
    axes = drawing.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (name, result, case, rows) in zip(axes, panels, strict=True):
        scale = SCALES[result["unit"]]
        medians = [row["seconds"]["median"] * scale for row in rows]
        below = [m - row["seconds"]["low"] * scale for m, row in zip(medians, rows, strict=True)]
        above = [row["seconds"]["high"] * scale - m for m, row in zip(medians, rows, strict=True)]
        colors = ["C0" if row["contender"].startswith("fnn") else "0.7" for row in rows]
        bars = ax.barh([row["contender"] for row in rows], medians, xerr=(below, above), color=colors, capsize=2)
        ax.bar_label(bars, [_number(m) for m in medians], padding=4)
        ax.margins(x=0.12)
        ax.invert_yaxis()
        ax.set_title(f"{name}: {case}", fontsize="medium", loc="left")
        ax.set_xlabel(f"time, {result['unit']} (median, quartiles of {result['rounds']} rounds; less is better)")
        ax.set_ylabel("contender")
    drawing.savefig(path, dpi=150)
