"""Several processes: the numbers of one, and no hang when one of them dies."""

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
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
