"""The benchmark harness: every workload in its tiny form, and what becomes of the numbers. Nothing is timed here."""

import json
import sys

import jax
import numpy as np
import pytest

from benchmarks import report, results, versions
from benchmarks.__main__ import WORKLOADS, main
from benchmarks.compilation import CompileClock
from benchmarks.contender import Contender, Job, Workload, beside, load
from benchmarks.harness import Options, participants, run, spread
from benchmarks.steps import CASES, on_jax
from benchmarks.worker import Failure, Remote, environment

# Contenders that import no peer, or one that the tests need anyway.
OWN = (
    "fnn",
    "fnn trainer",
    "fnn, list of batches",
    "fnn, a call",
    "fnn, in a scan",
    "limit",
    "by hand",
    "copy",
    "plain copy",
    "jax",
    "arithmetic limit",
    "losses",
    "optimizers",
)


def test_versions_beside_each_other_name_what_differs():
    one = {f"{family}: x": np.ones(3, np.float32) for family in versions.TOLERANCES}
    lines, fine = versions.compare(one, {name: value + 1e-7 * (name != "draws: x") for name, value in one.items()})
    assert fine
    assert len(lines) == len(versions.TOLERANCES) + 2
    for spoiled in (np.array([1, 1, 1.1], np.float32), np.array([1, 1, np.nan], np.float32), np.ones(2, np.float32)):
        lines, fine = versions.compare(one, one | {"layers: x": spoiled})
        assert not fine
        assert [line for line in lines if "| layers | 3 | " in line and "| 0 |" not in line]
    lines, fine = versions.compare(one, one | {"layers: y": np.ones(1)})
    assert not fine
    assert "layers: y" in lines[0]


@pytest.mark.thorough
@pytest.mark.parametrize("name", WORKLOADS)
def test_every_workload_runs_and_becomes_a_table(name):
    if name in ("mlp_run", "selection", "members"):
        pytest.importorskip("sklearn")
    with jax.numpy_rank_promotion("allow"):  # the networks by hand are written as JAX's tutorial writes them
        result = run(name, Options(quick=True, only=OWN))
    assert result["absent"] == {}
    workload = load(name)
    for row in result["rows"]:
        if workload.timed:
            assert 0 < row["seconds"]["low"] <= row["seconds"]["median"] <= row["seconds"]["high"]
            assert len(row["samples"]) == result["rounds"]
    lines = [line for line in report.table(name, result).splitlines() if line.startswith("|")]
    assert len(lines) == len(result["rows"]) + 2
    assert len({len(line) for line in lines}) == 1, "columns are not aligned"
    assert json.loads(json.dumps(result)) == result


def test_the_command_writes_json_and_figure(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    numbers, figure = tmp_path / "deep" / "out.json", tmp_path / "out.png"
    command = ["peaks", "--quick", "--json", str(numbers), "--png", str(figure), "--repeats", "3", "--only", "jax"]
    assert main(command) == 0
    found = json.loads(numbers.read_text())
    assert found["machine"]["versions"]["jax"] == jax.__version__
    assert {"processor", "cores", "flags", "load_before", "load_after", "commit"} <= found["machine"].keys()
    assert [len(row["samples"]) for row in found["workloads"]["peaks"]["rows"]] == [3]
    assert figure.stat().st_size > 1000
    printed = capsys.readouterr().out
    assert found["machine"]["processor"] in printed
    assert "| gemm | jax " in printed


def test_the_command_lists_workloads_and_refuses_others(capsys):
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n{name} " in "\n" + printed for name in WORKLOADS)
    with pytest.raises(SystemExit):
        main(["nonsense"])
    assert "no workload nonsense; there are peaks" in capsys.readouterr().err


def workload(monkeypatch, **contenders):
    made = Workload("a test", ("only",), contenders)
    monkeypatch.setattr("benchmarks.harness.load", lambda name: made)
    monkeypatch.setattr("benchmarks.contender.load", lambda name: made)


def test_contenders_take_turns_and_ratios_are_taken_within_a_round(monkeypatch):
    turns, pace = [], {"fnn": iter([9, 1, 10, 3, 5]), "peer": iter([9, 2, 20, 6, 10])}
    clock = [0.0]
    monkeypatch.setattr("benchmarks.contender.time.perf_counter", lambda: clock[0])

    def contender(label):
        def work():
            turns.append(label)
            clock[0] += next(pace[label])

        return Contender(lambda case, quick: Job(work))

    workload(monkeypatch, fnn=contender("fnn"), peer=contender("peer"))
    rows = run("x", Options(quick=True, repeats=4))["rows"]
    rounds = [tuple(turns[place : place + 2]) for place in range(0, 10, 2)]
    assert rounds[0] == ("fnn", "peer")
    assert set(rounds) == {("fnn", "peer"), ("peer", "fnn")}, "nobody always comes after the same one"
    assert rows[1]["ratio"] == {"median": 2, "low": 2, "high": 2}
    assert rows[0]["seconds"]["median"] == 4


def test_what_is_interrupted_keeps_the_cases_that_were_finished_and_ends_the_command(monkeypatch, tmp_path, capsys):
    def work(case):
        if case == "second":
            raise KeyboardInterrupt

    contenders = {"fnn": Contender(lambda case, quick: Job(lambda: work(case)))}
    made = Workload("a test", ("first", "second", "third"), contenders)
    for module in ("__main__", "harness", "contender"):
        monkeypatch.setattr(f"benchmarks.{module}.load", lambda name: made)
    numbers = tmp_path / "out.json"
    assert main(["peaks", "cnn", "--quick", "--json", str(numbers)]) == 130
    found = json.loads(numbers.read_text())["workloads"]
    assert [row["case"] for row in found["peaks"]["rows"]] == ["first"]
    assert found.keys() == {"peaks"}
    assert "interrupted: the cases that were finished are kept" in capsys.readouterr().out


def test_a_peer_that_is_not_installed_or_fails_is_named_and_the_others_go_on(monkeypatch):
    def broken():
        raise ValueError("no such thing")

    workload(
        monkeypatch,
        fnn=Contender(lambda case, quick: Job(lambda: None)),
        absent=Contender(lambda case, quick: Job(lambda: None), needs=("json", "no_such_module")),
        broken=Contender(lambda case, quick: Job(broken)),
        elsewhere=Contender(lambda case, quick: None),
    )
    result = run("x", Options(quick=True))
    assert [row["contender"] for row in result["rows"]] == ["fnn"]
    assert result["absent"] == {
        "absent": "not installed: no_such_module",
        "broken, only": "failed: ValueError: no such thing",
    }
    assert "absent — not installed: no_such_module" in report.table("x", result)
    assert participants({"absent": Contender(lambda *_: None, ("no_such_module",))}) == "absent (not installed)"


def test_another_python_stands_in_for_what_is_missing_and_rests_on_no_jax(monkeypatch):
    monkeypatch.setattr("benchmarks.contender.WITHOUT_JAX", {"json", "no_such_module"})
    contender = lambda *needs: Contender(lambda *_: None, needs)  # noqa: E731
    assert beside(sys.executable, contender("json"))
    assert not beside("", contender("json"))
    assert not beside(sys.executable, contender("json", "no_such_module"))
    assert not beside(sys.executable, contender("json", "optax"))  # its figures depend on the version of JAX


def test_a_contender_in_a_process_of_its_own():
    remote = Remote("peaks", "numpy", True)
    try:
        assert remote.start("gemm")["seconds"] > 0
        assert remote.sample()["giga_per_second"] > 0
        assert remote.start("copy") is None
    finally:
        remote.close()
    remote = Remote("peaks", "nobody", True)
    try:
        with pytest.raises(Failure, match="KeyError: 'nobody'"):
            remote.start("gemm")
    finally:
        remote.close()


@pytest.mark.devices(2)
@pytest.mark.parametrize("case", CASES)
def test_each_of_two_devices_is_given_half_of_a_batch(case):
    def begin(x):  # what is trained is the batch that came last: its parts are where it was computed
        return x, lambda kept, x, y: x + 0 * kept

    job = on_jax(begin, lambda quick: (8, 3), devices=2).build(case, True)
    assert [part.data.shape for part in job.run().addressable_shards] == [(4, 3), (4, 3)]


def test_a_contender_compiles_what_it_measures_whatever_cache_the_user_keeps():
    """Rows of first calls and of compiling were once those of a warm cache, which the environment had named."""
    given = {"JAX_COMPILATION_CACHE_DIR": "cache", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "here"}
    told = environment(given)
    assert told["JAX_ENABLE_COMPILATION_CACHE"] == "false"
    assert told["HOME"] == "here"
    assert "PYTHONDONTWRITEBYTECODE" not in told


def test_quartiles():
    assert spread([4.0]) == (4, 4, 4)
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == (3, 2, 4)


def test_nested_compilation_counts_once(monkeypatch):
    clock, now = CompileClock(), [0.0]
    monkeypatch.setattr("benchmarks.compilation.time.perf_counter", lambda: now[0])
    trace = "/jax/core/compile/jaxpr_trace_duration"
    for end, duration in ((2.0, 1.0), (3.0, 3.0), (5.0, 1.0)):
        now[0] = end
        clock._hear(trace, duration)
    clock._hear("/jax/something/else", 99.0)
    assert clock.seconds() == 4.0


def test_results_of_pieces_of_versions_and_of_a_gpu_stand_side_by_side(tmp_path):
    page = tmp_path / "RESULTS.md"
    page.write_text("# Measured\n\nWords.\n\n### Earlier\n\nOld.\n")

    def found(version, case, seconds, label="fnn", card=""):
        row = {"case": case, "contender": label, "seconds": {"median": seconds, "low": seconds, "high": seconds}}
        row |= {"ratio": None, "first_seconds": 1.0, "faults": 0, "of the limit": None, "samples": [seconds]}
        result = {"title": "a step", "baseline": "fnn", "unit": "ms", "timed": True, "rounds": 1, "rows": [row]}
        result |= {"headings": ["case", "contender"], "compare": [], "columns": [], "absent": {}, "notes": "Noted."}
        machine = {"processor": "P", "cores": 2, "memory_gib": 4, "system": "S", "python": "3", "date": "2026-11-26T08"}
        machine |= {"versions": {"jax": version}, "accelerators": card}
        return {"machine": machine, "workloads": {"lstm": result}}

    alone, together = load("lstm").cases
    for version, case, seconds, label in (
        ("0.10.2", together, 0.1, "fnn"),
        ("0.12.0", alone, 0.2, "fnn"),
        ("0.10.2", alone, 0.3, "fnn"),
        ("0.10.2", together, 0.4, "fnn"),
        ("0.10.2", together, 0.5, "torch"),
    ):
        results.record(found(version, case, seconds, label), tmp_path)
    results.record(found("0.12.0", alone, 0.6, card="A card"), tmp_path)
    text = page.read_text()
    assert text.startswith("# Measured\n\nWords.\n\n<!--")
    assert text.endswith("\n\n### Earlier\n\nOld.\n")
    old, new = (text.split(f"### jax {version}, ")[1].split("<!-- end")[0] for version in ("0.10.2", "0.12.0"))
    cells = [[cell.strip() for cell in line.split("|")[1:4]] for line in old.splitlines() if line.startswith("| ")][1:]
    assert cells == [[alone, "fnn", "300"], [together, "fnn", "400"], [together, "torch", "500"]]
    assert "| 200" in new
    assert "| 300" not in new
    assert "600" not in new
    on_card = text.split("### jax 0.12.0 on a GPU, ")[1].split("<!-- end")[0]
    assert "A card; P, 2 cores" in on_card
    assert " 600 |" in on_card
