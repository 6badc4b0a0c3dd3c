"""What was measured, kept for each version of jax, and its section of RESULTS.md.

A workload or a case measured again takes the place of its older rows; whatever else stands there stays, so that a whole
set can be measured in pieces, and on two versions of jax in turn.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.contender import load

HERE = Path(__file__).parent
START, END = "<!-- measured with jax {} -->", "<!-- end of jax {} -->"


def record(found: dict[str, Any], folder: Path = HERE) -> Path:
    """Merge a run into measured/jax-VERSION.json and write that section of RESULTS.md, whose path it returns."""
    version = found["machine"]["versions"]["jax"] + (" on a GPU" if found["machine"]["accelerators"] else "")
    file, page = folder / "measured" / f"jax-{version.replace(' ', '-')}.json", folder / "RESULTS.md"
    file.parent.mkdir(exist_ok=True)
    kept = json.loads(file.read_text()) if file.exists() else {}
    for name, result in found["workloads"].items():
        if result["rows"]:
            kept[name] = _merged(name, kept.get(name), result, found["machine"])
    file.write_text(json.dumps(kept, indent=0, ensure_ascii=False) + "\n")
    page.write_text(_with_section(page.read_text(), version, section(version, kept)))
    return page


def _merged(name: str, old: dict[str, Any] | None, new: dict[str, Any], measured_on: dict[str, Any]) -> dict[str, Any]:
    rows = [{key: value for key, value in row.items() if key != "samples"} for row in new["rows"]]
    absent = dict(new["absent"])
    if old is not None:
        # What took part again replaces itself; a contender left out this time (--only) keeps its rows.
        taken = {(row["case"], row["contender"]) for row in rows}
        rows += [row for row in old["rows"] if (row["case"], row["contender"]) not in taken]
        absent = {label: why for label, why in (old["absent"] | absent).items() if label not in {c for _, c in taken}}
    workload = load(name)
    places = {case: place for place, case in enumerate(workload.cases)}
    labels = {label: place for place, label in enumerate(workload.contenders)}
    rows.sort(key=lambda row: (places.get(row["case"], len(places)), labels.get(row["contender"], len(labels))))
    measured = {key: measured_on[key] for key in measured_on if key not in ("load_before", "load_after")}
    return {**new, "rows": rows, "absent": absent, "machine": measured}


def section(version: str, kept: dict[str, dict[str, Any]]) -> str:
    """One version of jax: what it ran on, and every table."""
    last = max((result["machine"] for result in kept.values()), key=lambda one: one["date"])
    days = sorted({result["machine"]["date"][:10] for result in kept.values()})
    lines = [
        f"### jax {version}, Python {last['python']}",
        "",
        "; ".join(filter(None, (last["accelerators"], last["processor"])))
        + f", {last['cores']} cores, {last['memory_gib']} GiB, {last['system']}; "
        + ", ".join(f"{name} {number}" for name, number in last["versions"].items())
        + f"; {' and '.join(dict.fromkeys((days[0], days[-1])))}.",
    ]
    for name, result in kept.items():
        table = report.table(name, {**result, "absent": {}, "notes": ""}).split("\n", 2)
        lines += ["", f"#### {table[0]}", "", table[2]]
        lines += [""] + [f"- {label}: {why}" for label, why in result["absent"].items()] if result["absent"] else []
        lines += ["", result["notes"]] if result["notes"] else []
    return "\n".join(lines)


def _with_section(page: str, version: str, text: str) -> str:
    start, end = START.format(version), END.format(version)
    block = f"{start}\n{text}\n{end}\n"
    if start in page:
        return re.sub(f"{re.escape(start)}.*?{re.escape(end)}\n", lambda _: block, page, flags=re.DOTALL)
    first = START.partition("{}")[0]
    before = first if first in page else "### Earlier"
    head, mark, rest = page.partition(before)
    return f"{head}{block}\n{mark}{rest}"
