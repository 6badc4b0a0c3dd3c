"""Several processes: the numbers of one, and no hang when one of them dies."""

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import two_processes

SCRIPT = Path(two_processes.__file__)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_two_processes_give_the_numbers_of_one_and_end_together(tmp_path):
    command = [sys.executable, str(SCRIPT), str(free_port())]
    run = [
        subprocess.Popen(
            [*command, str(index), str(tmp_path)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for index in (0, 1)
    ]  # fmt: skip
    try:
        told = [process.communicate(timeout=240) for process in run]
    finally:
        for process in run:
            process.kill()
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
