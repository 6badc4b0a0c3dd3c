"""Each loss and optimizer beside its reference: the largest difference over random cases, in float64.

The pairs are those of the tests, `tests/loss_references.py` and `tests/optim_references.py`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.contender import Contender, Job, Workload
from benchmarks.worker import ROOT

CASES = {"losses": 100, "optimizers": 100, "presets": 5}


def _references(name: str) -> Any:
    if (tests := str(ROOT / "tests")) not in sys.path:
        sys.path.append(tests)
    return importlib.import_module(name)


def _row(name: str, reference: str, cases: str, difference: float) -> dict[str, Any]:
    return {"case": name, "contender": reference, "cases": cases, "difference": difference}


def _losses(quick: bool) -> Iterator[dict[str, Any]]:
    import jax
    import numpy as np

    references, cases = _references("loss_references"), 2 if quick else CASES["losses"]
    with jax.enable_x64(True):
        for pair in references.compare_losses()[: 3 if quick else None]:
            rng = np.random.default_rng(0)
            worst = references.difference(pair, [pair.cases(rng) for _ in range(cases)])
            yield _row(f"losses.{pair.name}", pair.source, str(cases), worst)


def _optimizers(quick: bool) -> Iterator[dict[str, Any]]:
    references, cases = _references("optim_references"), 2 if quick else CASES["optimizers"]
    families = [*references.OPTAX][: 1 if quick else None]
    for family in families:
        for name, *_ in references.OPTAX[family][: 1 if quick else None]:
            difference = references.check(family, name, examples=cases)
            yield _row(f"optim.{name}", "optax", f"{cases} × 50 steps", difference)


def _presets(quick: bool) -> Iterator[dict[str, Any]]:
    cases = 1 if quick else CASES["presets"]
    for name, reference, difference in _references("optim_references").paths(cases):
        yield _row(f"optim.{name}", reference, f"{cases} × 60 steps", difference)


def _contender(rows: Callable[[bool], Iterator[dict[str, Any]]], *needs: str) -> Contender:
    def build(_: str, quick: bool) -> Job:
        return Job(lambda: list(rows(quick)), report=lambda found: {"rows": found})

    return Contender(build, needs=needs)


WORKLOAD = Workload(
    title="fnn beside its references in float64: the largest relative difference over random cases",
    cases=("values",),
    contenders={
        "losses": _contender(_losses, "optax", "scipy"),
        "optimizers": _contender(_optimizers, "optax", "hypothesis"),
        "presets": _contender(_presets, "optax", "torch"),
    },
    timed=False,
    columns=(("random cases", "cases", ""), ("largest difference", "difference", ".0e")),
    headings=("loss or optimizer", "reference"),
    notes=(
        "Optimizers: updates and every leaf of the state; presets: the path of the parameters. Relative to the value "
        "(losses: to at least 0.01)."
    ),
)
