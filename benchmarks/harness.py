"""Runs workloads: every contender of a case in turn, round after round, each in its own process.

A-B-A-B: one repetition of every contender makes a round, so a slow minute of the machine falls on all of them. Ratios
are taken within a round; medians and quartiles are over rounds.
"""

from __future__ import annotations

import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from benchmarks.contender import Contender, Local, Workload, beside, load, missing
from benchmarks.worker import Failure, Remote

QUIET_SECONDS = 2.0
"""Shorter than this, nobody needs to be told how far it is."""
LOG_SECONDS = 10.0
"""Between two lines where there is no terminal to write over."""


class Options(NamedTuple):
    repeats: int | None = None
    """Rounds; None for the workload's own number."""
    quick: bool = False
    """Tiny sizes, one or two rounds, everything in this process: is the benchmark itself in order?"""
    only: tuple[str, ...] = ()
    """Contenders that take part; all if empty."""
    beside: str = ""
    """Another Python, for contenders without JAX that this one lacks (torch has no small build for every Python)."""
    cases: tuple[str, ...] = ()
    """Parts of names: cases that hold one of them are run; all if empty."""


class Spread(NamedTuple):
    """Median and quartiles."""

    median: float
    low: float
    high: float


def spread(values: list[float]) -> Spread:
    """Median, first and third quartile (of the sample itself, ends included)."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


class Progress:
    """A line on standard error for whatever takes more than two seconds, also while one contender computes for long."""

    def __init__(self, what: str) -> None:
        self.what, self.text, self.began, self.shown = what, "", time.monotonic(), 0.0
        self.done = threading.Event()
        self.ticker = threading.Thread(target=self._tick, daemon=True)
        self.ticker.start()

    def __call__(self, text: str) -> None:
        self.text = text

    def _tick(self) -> None:
        while not self.done.wait(QUIET_SECONDS):
            seconds = time.monotonic() - self.began
            line = f"{self.what} {self.text}, {seconds:.0f} s"
            if sys.stderr.isatty():
                print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
            elif seconds > self.shown + LOG_SECONDS or not self.shown:
                print(line, file=sys.stderr, flush=True)
                self.shown = seconds

    def close(self) -> None:
        self.done.set()
        self.ticker.join()
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class _Field:
    """The contenders of a workload that can take part, opened when first needed, and why the others cannot."""

    def __init__(self, name: str, workload: Workload, options: Options) -> None:
        self.open: dict[str, Local | Remote] = {}
        self.absent: dict[str, str] = {}
        self.elsewhere: set[str] = set()
        self.names: list[str] = []
        self.workload, self.options = name, options
        for label, contender in workload.contenders.items():
            if options.only and label not in options.only:
                continue
            lacking = missing(contender)
            if lacking and not label.startswith("fnn") and beside(options.beside, contender):
                self.elsewhere.add(label)
                lacking = []
            if lacking:
                self.absent[label] = "not installed: " + ", ".join(lacking)
            else:
                self.names.append(label)

    def start(self, label: str, case: str) -> dict[str, Any] | None:
        if label not in self.open:
            self.open[label] = self._make(label)
        return self.open[label].start(case)

    def _make(self, label: str) -> Local | Remote:
        if label in self.elsewhere:
            return Remote(self.workload, label, self.options.quick, self.options.beside)
        return (Local if self.options.quick else Remote)(self.workload, label, self.options.quick)

    def drop(self, label: str, case: str, error: Exception) -> None:
        """One contender's failure is a line in the table; the others go on."""
        kind = "" if isinstance(error, Failure) else f"{type(error).__name__}: "
        self.absent[f"{label}, {case}"] = f"failed: {kind}{error}"
        self.close(label)

    def close(self, *labels: str) -> None:
        for label in labels or tuple(self.open):
            if label in self.open:
                self.open.pop(label).close()


def run(name: str, options: Options) -> dict[str, Any]:
    """One workload: {"title", "unit", "rows", "absent", …}, ready for `json.dump`."""
    workload = load(name)
    cases = (workload.quick_cases or workload.cases) if options.quick else workload.cases
    cases = tuple(case for case in cases if not options.cases or any(part in case for part in options.cases))
    usual = (1 if workload.fresh else 2) if options.quick else workload.repeats
    rounds = (options.repeats or usual) if workload.timed else 1
    rows, interrupted = [], False
    with closing(Progress(name)) as progress, closing(_Field(name, workload, options)) as field:
        try:
            for case in cases:
                took = _case(field, case, rounds, workload, progress)
                rows += _rows(case, took, workload)
        except KeyboardInterrupt:  # the cases that were finished are kept
            interrupted = True
        absent = field.absent
    return {
        "title": workload.title,
        "baseline": workload.baseline,
        "unit": workload.unit,
        "timed": workload.timed,
        "headings": list(workload.headings),
        "rounds": rounds,
        "compare": [[heading, kind] for heading, kind, _ in workload.compare],
        "columns": [list(column) for column in workload.columns],
        "notes": workload.notes,
        "rows": rows,
        "absent": absent,
        "interrupted": interrupted,
    }


def _case(field: _Field, case: str, rounds: int, workload: Workload, progress: Progress) -> dict[str, list[dict]]:
    """contender -> its first repetition and then one per round."""
    took: dict[str, list[dict[str, Any]]] = {}
    for label in field.names:
        progress(f"{case}: {label} starts")
        with _tolerant(field, label, case, took):
            first = field.start(label, case)
            if first is not None:
                took[label] = [first]
            if workload.fresh:
                field.close(label)
    if not workload.timed:
        return took
    # Another order in every round, the same in every run: who comes next finds the threads and caches of the last.
    orders = random.Random(0)
    for number in range(rounds):
        for label in orders.sample(tuple(took), len(took)):
            progress(f"{case}: round {number + 1} of {rounds}, {label}")
            with _tolerant(field, label, case, took):
                # A fresh process has nothing but a first repetition.
                sample = field.start(label, case) if workload.fresh else field.open[label].sample()
                assert sample is not None
                took[label].append(sample)
                if workload.fresh:
                    field.close(label)
    return took


@contextmanager
def _tolerant(field: _Field, label: str, case: str, took: dict[str, list[dict]]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        took.pop(label, None)
        field.drop(label, case, error)


def _rows(case: str, took: dict[str, list[dict[str, Any]]], workload: Workload) -> list[dict[str, Any]]:
    """One row of the table per contender."""
    rows = []
    for label, (first, *samples) in took.items():
        if not workload.timed:
            rows += [{"case": case, "contender": label} | row for row in first.get("rows", [first])]
            continue
        reported = samples[-1].keys() - {"seconds", "faults"}
        row: dict[str, Any] = {"case": case, "contender": label}
        row |= {key: _middle([sample[key] for sample in samples]) for key in sorted(reported)}
        row |= {
            "seconds": spread([sample["seconds"] for sample in samples])._asdict(),
            "faults": statistics.median(sample["faults"] for sample in samples),
            "first_seconds": first["seconds"],
            "samples": [sample["seconds"] for sample in samples],
        }
        row["ratio"] = _against(took, label, workload.baseline, lambda mine, other: mine / other)
        for heading, kind, reference in workload.compare:
            row[heading] = _against(took, label, reference, _COMPARISONS[kind])
        rows.append(row)
    return rows


_COMPARISONS: dict[str, Callable[[float, float], float]] = {
    "fraction": lambda mine, other: other / mine,
    "difference": lambda mine, other: mine - other,
}


def _middle(values: list[Any]) -> Any:
    return statistics.median(values) if all(isinstance(value, (int, float)) for value in values) else values[-1]


def _against(
    took: dict[str, list[dict]], label: str, other: str, compare: Callable[[float, float], float]
) -> dict[str, float] | None:
    """Median and quartiles of a comparison made round by round."""
    if other not in took:
        return None
    pairs = zip(took[label][1:], took[other][1:], strict=True)
    return spread([compare(mine["seconds"], theirs["seconds"]) for mine, theirs in pairs])._asdict()


def participants(contenders: dict[str, Contender]) -> str:
    return ", ".join(label + (" (not installed)" if missing(one) else "") for label, one in contenders.items())
