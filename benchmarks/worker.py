"""A contender in a process of its own: commands on standard input, one line of JSON back for each.

Own memory, own threads and own compiled programs: what one contender leaves behind cannot slow the next.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.contender import Local

ROOT = Path(__file__).parent.parent


class Failure(Exception):
    """A contender raised; the message is the last line of what it said."""


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """What a contender's process is given.

    Peers were compiled to bytecode when they were installed; fnn must be allowed to keep its own. A first call holds
    its compilation: nothing that an earlier run compiled is read from JAX's persistent cache. All share one
    accelerator, of whose memory JAX would take three quarters for the first.
    """
    kept = {name: value for name, value in given.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} | kept | {"JAX_ENABLE_COMPILATION_CACHE": "false"}


class Remote:
    """`Local`, at the other end of a pipe."""

    def __init__(self, workload: str, contender: str, quick: bool, python: str = sys.executable) -> None:
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it lives as long as the process)
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", workload, contender, "quick" * quick],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, text=True, cwd=ROOT,
            env=environment(os.environ),
        )  # fmt: skip

    def _ask(self, *command: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(command), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            self.said.seek(0)
            said = self.said.read().strip().splitlines() or [f"ended with {self.process.wait()}"]
            raise Failure(said[-1])
        answer = json.loads(line)
        if "failure" in answer:
            raise Failure(answer["failure"])
        return answer["result"]

    def start(self, case: str) -> dict[str, Any] | None:
        return self._ask("start", case)

    def sample(self) -> dict[str, Any]:
        return self._ask("sample")

    def close(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.said.close()


def serve(workload: str, contender: str, quick: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    local: Local | None = None
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        try:
            local = local or Local(workload, contender, bool(quick))
            answer = {"result": getattr(local, command)(*arguments)}
        except Exception as error:
            traceback.print_exc()
            answer = {"failure": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
        print(json.dumps(answer), file=answers, flush=True)
    answers.flush()
    os._exit(0)  # an interpreter with a pool of gigabytes takes seconds to take down in order


if __name__ == "__main__":
    serve(*sys.argv[1:])
