"""Several processes: the numbers of one, and no hang when one of them dies."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import parts_of_two_processes as parts
import processes_that_stop
import pytest
import two_processes


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def told_by_both(script, *arguments):
    """The two processes, ended, and what each wrote to its outputs."""
    command = [sys.executable, str(Path(__file__).with_name(script)), str(free_port())]
    run = [
        subprocess.Popen(
            [*command, str(index), *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for index in (0, 1)
    ]  # fmt: skip
    try:
        return run, [process.communicate(timeout=240) for process in run]
    finally:
        for process in run:
            process.kill()


@pytest.mark.thorough
def test_two_processes_give_the_numbers_of_one_and_end_together(tmp_path):
    run, told = told_by_both("two_processes.py", tmp_path)
    assert [out.strip().splitlines()[-1] for out, _ in told] == ["saved", "saved"], told
    alone = two_processes.results(None)
    for index in (0, 1):
        found = np.load(tmp_path / f"{index}.npz")
        assert found["devices"] == 2
        for name, value in alone.items():
            np.testing.assert_allclose(found[name], value, rtol=2e-4, atol=1e-5, err_msg=name)
    assert run[1].returncode == 9
    assert run[0].returncode != 0, "the first process must not go on alone"
    assert any(word in told[0][1].lower() for word in ("heartbeat", "connection closed", "gloo")), told[0][1][-2000:]


@pytest.mark.thorough
def test_what_one_process_does_otherwise_is_said_by_both_and_what_one_stops_ends_both():
    run, told = told_by_both("processes_that_differ.py")
    said = [dict(line.split(" | ", 1) for line in out.splitlines() if " | " in line) for out, _ in told]
    assert [process.returncode for process in run] == [0, 9], told
    killed = said[0].pop("killed")
    assert "fit: process 1 has died or was ended while all 2 computed together" in killed
    assert said[0] == said[1]
    expected = {
        "model": "fit: expected the same run in all 2 processes, but process 1 has another model.",
        "optimizer": "process 1 has another optimizer.",
        "key": "process 1 has another key.",
        "x": "process 1 has other data.",
        "epochs": "process 1 has epochs=3 where process 0 has 2.",
        "batch_size": "process 1 has batch_size=4 where process 0 has 8.",
        "trainer": "trainer: expected the same run in all 2 processes, but process 1 has epochs=3 where process 0",
        "folds, key": "process 1 has other data or keys.",
        "folds, x": "process 1 has other data or keys.",
        "folds, epochs": "process 1 has last=3 where process 0 has 2.",
        "folds": "KeyboardInterrupt",
        "interrupted": "3",
        "callback": "3",
    }
    assert set(said[0]) == set(expected)
    for name, words in expected.items():
        assert words in said[0][name], name


def found_by_both(of, folder):
    run, told = told_by_both("parts_of_two_processes.py", folder, of)
    assert [process.returncode for process in run] == [0, 0], told
    return [json.loads((folder / f"{own}.json").read_text()) for own in (0, 1)]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What each of two processes found over its parts of streams and memory maps."""
    return found_by_both("runs", tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """What each of them found of runs that are saved."""
    return found_by_both("checkpoints", tmp_path_factory.mktemp("saved"))


def test_parts_of_streams_and_maps_are_trained_on_and_scored_as_all_of_them_in_one_process(both, tmp_path):
    assert both[0]["results"] == both[1]["results"]
    close = lambda found, alone: np.testing.assert_allclose(found, alone, rtol=2e-4, atol=1e-6)  # noqa: E731
    jax.tree.map(close, both[0]["results"], json.loads(json.dumps(parts.results(None, None, tmp_path))))


def test_each_process_is_given_the_predictions_of_its_own_rows(both):
    for own in (0, 1):
        given = np.concatenate([x for x, _ in parts.Parts(own, ends=24)])
        assert len(given) == {0: 40, 1: 9}[own]
        np.testing.assert_allclose(
            both[own]["predicted"], parts.fnn.predict(parts.MODEL, parts.trained(), given), rtol=1e-5, atol=1e-6
        )
        assert both[own]["predicted of none"] == ([0, 2] if own else [40, 2])


@pytest.mark.thorough
def test_a_run_of_several_processes_goes_on_bit_for_bit_from_what_the_first_one_saved(saved):
    for own in (0, 1):
        assert saved[own]["resumed"]["again"] == saved[own]["resumed"]["whole"]
        assert saved[own]["resumed"]["files"] == (0 if own else 2)


@pytest.mark.thorough
def test_a_run_of_lists_of_files_goes_on_where_each_process_has_its_own(saved, tmp_path):
    alone = parts.listed(None, None, tmp_path)["again"]
    for own in (0, 1):
        assert saved[own]["listed"]["again"] == saved[own]["listed"]["whole"]
        np.testing.assert_allclose(
            saved[own]["listed"]["again"]["validation_loss"], alone["validation_loss"], rtol=2e-4
        )


SAID = {
    "empty": "fit: expected batches in epoch 1, the stream gave none",
    "empty later": "fit: expected batches in epoch 2, the stream gave none",
    "len": "the stream of process 1 failed: fit: expected batches in epoch 1, the stream gave none",
    "form": "expected batches of one form in all processes, got float32[rows,3], int32[rows] in process 0 and "
    "float32[rows,4], int32[rows] in process 1",
    "kind": "process 1 has data=arrays where process 0 has a stream",
    "nothing counts": "fit: every weight of epoch 1 is 0, so no row counts",
    "exit": "the stream of process 1 failed: SystemExit: 3",
    "validation": "fit, validation: the stream failed at batch 3 of epoch 1 with OSError: gone",
    "option": "ValueError: fit of process 1 failed: fit: expected epochs",
    "word": "TypeError: fit of process 1 failed: fit() got an unexpected keyword argument 'epoch'",
    "data": "ValueError: fit of process 1 failed: fit: x contains nan at row 0",
    "stream and rows": "ValueError: fit of process 1 failed: fit: data is a stream, which has no row numbers",
    "callback": "RuntimeError: fit of process 1 failed: KeyError: 'gone'",
    "callback of a stream": "RuntimeError: fit of process 1 failed: KeyError: 'gone'",
    "at a step": "RuntimeError: fit of process 1 failed: KeyError: 'gone'",
    "exit in a callback": "RuntimeError: fit of process 1 failed: SystemExit: 3",
    "evaluate in a callback": "evaluate of process 1 failed: evaluate: expected row numbers below 75, got 75",
    "evaluate": "ValueError: evaluate of process 1 failed: evaluate: x contains nan at row 0",
    "evaluate, trained": "ValueError: evaluate of process 1 failed: evaluate: dense",
    "evaluate, trained, stream": "ValueError: evaluate of process 1 failed: evaluate: dense",
    "predict": "ValueError: predict of process 1 failed: predict: x contains nan at row 0",
    "trainer": "ValueError: trainer of process 1 failed: trainer: x contains nan at row 0",
    "words of a connection": "ValueError: fit of process 1 failed: the sensor has no heartbeat",
    "verbs": "process 1 has validation=none where process 0 has no such argument",
    "calls": "ValueError: the processes do not make the same calls",
    "warning at the end of fit": "RuntimeWarning: fit",
    "warning at the end of evaluate": "RuntimeWarning: evaluate: none is not defined on these rows",
    "warning at the end of a run": "RuntimeWarning: trainer",
    "nothing": "nothing",
}

SAID_OF_CHECKPOINTS = {
    "checkpoint": "process 1 has checkpoint=True where process 0 has False",
    "state": "the state of the stream holds Generator, which a checkpoint cannot",
    "other": "is of another run: metrics is",
    "warning": "fit, validation: the stream gives other rows than before the run was resumed",
    "unwritable": "epoch-000002.npz could not be written",
    "unwritable at last": "epoch-000002.npz could not be written",
}


def require_said(found, words, name):
    for own in (0, 1):
        said = words[name].split(" of process 1 failed: ")[-1] if own else words[name]
        assert said in found[own]["errors"][name]


@pytest.mark.parametrize("name", SAID)
def test_what_is_wrong_in_one_process_is_an_error_in_both(both, name):
    require_said(both, SAID, name)


@pytest.mark.thorough
@pytest.mark.parametrize("name", SAID_OF_CHECKPOINTS)
def test_what_is_wrong_with_a_checkpoint_in_one_process_is_an_error_in_both(saved, name):
    require_said(saved, SAID_OF_CHECKPOINTS, name)


def test_each_process_makes_its_trainer_for_itself(both):
    assert both[0]["made"] == "nothing"
    assert "trainer: expected epochs" in both[1]["made"]


def test_a_stream_that_fails_in_one_process_leaves_both_with_what_all_trained_on_before(both):
    alone = parts.fit(None, parts.Parts(None, last=40), epochs=1)[0].params["kernel"]
    assert "process 1 failed: fit: the stream failed at batch 6 of epoch 1 with OSError: gone" in both[0]["kept"][1]
    assert both[0]["kept"][0] == both[1]["kept"][0]
    np.testing.assert_allclose(both[0]["kept"][0], alone, rtol=2e-4, atol=1e-6)


def test_ctrl_c_in_one_process_ends_the_training_and_the_validation_of_both(both):
    assert [told["interrupted"] for told in both] == 2 * [{"training": 1, "validation": 1}]


def told_of_stops(of, folder):
    run, told = told_by_both("processes_that_stop.py", folder, of)
    assert [process.returncode for process in run] == [0, 0], told
    return [json.loads((folder / f"{own}.json").read_text()) for own in (0, 1)]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """What each of two processes found where the second one is stopped or does something wrong."""
    return told_of_stops("calls", tmp_path_factory.mktemp("stopped"))


PRESSED = "KeyboardInterrupt: the call of process 1 failed: Ctrl-C was pressed"
SAID_OF_STOPS = {
    "evaluate a stream": PRESSED,
    "evaluate a silent stream": PRESSED,
    "evaluate arrays": PRESSED,
    "predict a stream": PRESSED,
    "predict arrays": PRESSED,
    "trainer": PRESSED,
    "fit, first batch": "KeyboardInterrupt: fit: Ctrl-C was pressed before the first batch was read",
    "cross_validate": "ValueError: cross_validate of process 1 failed: cross_validate: expected epochs >= 1",
    "cross_validate, mesh": "ValueError: cross_validate of process 1 failed: cross_validate: expected epochs >= 1",
    "cross_validate, word": "TypeError: cross_validate of process 1 failed: cross_validate() got an unexpected keyword",
    "sweep": 'ValueError: sweep of process 1 failed: sweep: how="grid" tries every combination',
    "ensemble": "ValueError: ensemble of process 1 failed: ensemble: expected members >= 1",
    "learning_curve": "ValueError: learning_curve of process 1 failed: learning_curve: expected sizes",
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", SAID_OF_STOPS)
def test_ctrl_c_and_a_wrong_search_in_one_process_end_the_call_of_both(stopped, name):
    require_said(stopped, SAID_OF_STOPS, name)


@pytest.mark.thorough
def test_ctrl_c_in_one_process_leaves_both_with_what_fit_has_trained(stopped):
    assert [told["kept"] for told in stopped] == 2 * [{"first step": 0, "callback": 1}]
    assert [told["nothing"] for told in stopped] == 2 * ["nothing"]


@pytest.mark.thorough
def test_what_no_other_process_takes_part_in_is_searched_alone(stopped):
    assert stopped[0]["alone"] == {}
    assert "rate_range: expected steps >= 1" in stopped[1]["alone"].pop("rate_range, wrong")
    assert "snapshots: expected epochs >= 1" in stopped[1]["alone"].pop("snapshots, wrong")
    assert stopped[1]["alone"] == {"rate_range": [4, 1, 2], "snapshots": [2, 4, 2], "ensemble": [1, 4, 2]}


@pytest.mark.thorough
def test_a_search_of_two_processes_may_have_one_member_and_ends_in_both(tmp_path):
    found = told_of_stops("searches", tmp_path)
    alone = processes_that_stop.search("ensemble", members=1, bootstrap=False).trained.params["kernel"]
    assert found[0]["few"] == found[1]["few"]
    np.testing.assert_allclose(found[0]["few"], alone, rtol=1e-5, atol=1e-6)
    assert "cross_validate of process 1 failed: RuntimeWarning: cross_validate: 2 of 2 runs" in found[0]["warning"]
    assert "RuntimeWarning: cross_validate: 2 of 2 runs diverged" in found[1]["warning"]
    assert [told["interrupted"] for told in found] == 2 * [[1, 1, 1, 1]]
    assert [told["nothing"] for told in found] == 2 * ["nothing"]


def begun_by_two(saved, name):
    return {"data": parts.sources(None)[name], "checkpoint": Path(saved[0]["begun"], f"{name} 0")}


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["function", "list"])
def test_a_run_of_two_processes_goes_on_in_one(saved, name):
    options = begun_by_two(saved, name)
    with pytest.warns(RuntimeWarning, match="in another environment: devices 1 of kind cpu, was 2 of kind cpu"):
        found = parts.fit(None, **options)
    whole = parts.fit(None, options["data"])
    close = lambda one, other: np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-6)  # noqa: E731
    jax.tree.map(close, parts.numbers(found), parts.numbers(whole))


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["state", "no state"])
@pytest.mark.filterwarnings("ignore:fit. the checkpoint was written in another environment")
def test_a_run_of_two_processes_is_refused_in_one_where_streams_have_a_place_of_their_own(saved, name):
    with pytest.raises(ValueError, match="fit: expected 2 processes, of whose streams the checkpoint knows where they"):
        parts.fit(None, **begun_by_two(saved, name))


@pytest.mark.thorough
def test_a_run_of_files_split_over_two_processes_is_refused_in_one_with_what_to_write(saved, tmp_path):
    files, checkpoint = parts.split_files(None, tmp_path), Path(saved[0]["begun"], "files 0")
    with pytest.raises(ValueError, match=r"other x, targets and weights.*Processes then: 2, now: 1; .*: start 2, or"):
        parts.fit(None, files, checkpoint=checkpoint)
