"""The command: `python -m benchmarks [WORKLOAD …]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, report, results
from benchmarks.contender import load
from benchmarks.harness import Options, participants, run

WORKLOADS = (
    "peaks",
    "optimizers",
    "vocabulary",
    "mlp_run",
    "startup",
    "overhead",
    "cnn",
    "conv_layers",
    "resnet",
    "anatomy",
    "lstm",
    "deepbench",
    "sequences",
    "selection",
    "members",
    "streams",
    "accelerator",
    "agreement",
)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="fnn beside every installed peer, in one run."
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="all by default; see --list")
    parser.add_argument("--list", action="store_true", help="name the workloads and who takes part")
    parser.add_argument("--json", type=Path, metavar="FILE", help="results/benchmarks.json by default")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw the timed workloads (needs matplotlib)")
    parser.add_argument("--repeats", type=int, metavar="N", help="rounds, instead of the workload's own number")
    parser.add_argument(
        "--results", action="store_true", help="write the section of this jax in benchmarks/RESULTS.md, and its data"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one process: does it run at all?")
    parser.add_argument("--only", nargs="+", default=[], metavar="CONTENDER", help="leave the others out")
    parser.add_argument(
        "--cases", nargs="+", default=[], metavar="PART", help="only cases whose name holds one of these"
    )
    parser.add_argument(
        "--beside",
        default="",
        metavar="PYTHON",
        help="another Python, for peers without JAX (torch) that this one lacks",
    )
    options = parser.parse_args(given)
    options.json = options.json or Path("results/quick.json" if options.quick else "results/benchmarks.json")
    unknown = set(options.workloads) - set(WORKLOADS)
    if unknown:
        parser.error(f"no workload {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    if options.quick and options.results:
        parser.error("--results is of real sizes, --quick is not")
    if options.repeats is not None and options.repeats < 1:
        parser.error(f"--repeats must be at least 1, got {options.repeats}")
    return options


def main(given: Sequence[str] | None = None) -> int:
    options = _arguments(given)
    if options.list:
        for name in WORKLOADS:
            workload = load(name)
            print(f"{name:12}{workload.title}\n{'':12}{participants(dict(workload.contenders))}")
        return 0
    found: dict[str, Any] = {"machine": machine.describe(options.beside), "quick": options.quick, "workloads": {}}
    print(machine.headline(found["machine"]), flush=True)
    settings = Options(
        options.repeats, options.quick, tuple(options.only), beside=options.beside, cases=tuple(options.cases)
    )
    for name in [name for name in WORKLOADS if not options.workloads or name in ("peaks", *options.workloads)]:
        found["workloads"][name] = run(name, settings)
        if found["workloads"][name]["rows"] or found["workloads"][name]["absent"]:
            print("\n" + report.table(name, found["workloads"][name]), flush=True)
        interrupted = found["workloads"][name].pop("interrupted")
        _save(found, options.json)
        if interrupted:
            break
    found["machine"]["load_after"] = machine.load()
    _save(found, options.json)
    print(f"\nwritten to {options.json}")
    if options.results:
        print(f"and to {results.record(found)}")
    if options.png:
        report.figure(found["workloads"], options.png)
        print(f"drawn in {options.png}")
    if interrupted:
        print("interrupted: the cases that were finished are kept")
        return 130
    return int(any(label.startswith("fnn") for one in found["workloads"].values() for label in one["absent"]))


def _save(found: dict[str, Any], path: Path) -> None:
    """After every workload, so that an interrupted evening keeps what it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
