"""Callbacks of `fit` that write what a run tells: tables and event files."""

from __future__ import annotations

import csv
import io
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from fnn import checks
from fnn.files import write_whole
from fnn.train.callbacks import EpochEnd, StepEnd

__all__ = ["csv_log", "tensorboard"]

Told = EpochEnd | StepEnd


def csv_log(path: str | Path) -> Callable[[Told], None]:
    """Write the history to a CSV file, a row at the end of every epoch, or of every so many steps.

    The first columns are `epoch` and, under `fnn.every`, `step`; then come the names of the history. Each row is in the
    file when the callback returns, every number as exact as it was. A run that starts at its beginning starts the file
    anew; one that goes on from a checkpoint keeps the rows before it. Of several processes the first writes.

    Args:
        path: the file; its directory must exist.

    Raises:
        ValueError: if the file is no log of a run, or where a run goes on one of other columns.

    Example:
        >>> import pathlib, tempfile
        >>> import jax, jax.numpy as jnp, fnn
        >>> x, path = jnp.linspace(-1, 1, 20).reshape(20, 1), pathlib.Path(tempfile.mkdtemp()) / "run.csv"
        >>> trained, history = fnn.fit(
        ...     fnn.dense(1), fnn.optim.sgd(0.3), fnn.tasks.regression(), (x, 3 * x[:, 0]), key=jax.random.key(0),
        ...     epochs=3, callbacks=[fnn.callbacks.csv_log(path)], progress=False)
        >>> [line.split(",")[0] for line in path.read_text().splitlines()]
        ['epoch', '0', '1', '2']
    """
    path, last = Path(path), None

    def write(told: Told) -> None:
        nonlocal last
        row = {"epoch": told.epoch} | ({"step": told.step} if isinstance(told, StepEnd) else {}) | told.row
        now = _position(told)
        if jax.process_index() == 0:
            if last is None or now <= last:  # the first row of a run, or of another
                begun = (_line(row) + _lines_before(path, row, now)).encode()
                write_whole(path, lambda file: file.write(begun))  # what was there is not lost if this process dies
            with path.open("a", encoding="utf-8", newline="") as file:
                file.write(_line(repr(value) for value in row.values()))
        last = now

    return write


def tensorboard(directory: str | Path) -> Callable[[Told], None]:
    """Write the history as TensorBoard's event files, a point at the end of every epoch, or of every so many steps.

    "loss" and "validation_loss" are drawn into one panel as "loss/training" and "loss/validation", and so every metric;
    the axis is the epoch, counted from 1, or under `fnn.every` the step. A run that goes on from a checkpoint hides the
    points it takes again. Of several processes the first writes. Needs the extra `log`; look with
    `tensorboard --logdir directory`.

    Args:
        directory: made if it does not exist; one for each run.

    Example:
        >>> import tempfile, fnn
        >>> log = fnn.callbacks.tensorboard(tempfile.mkdtemp())
        >>> log(fnn.EpochEnd(0, {"loss": 0.5, "validation_loss": 0.7}, None))
    """
    checks.package("tensorboardX.event_file_writer", "fnn.callbacks.tensorboard", "tensorboardX", "log")
    # The writer itself, in the place of SummaryWriter's queue: what was told is in the file when the callback returns.
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.summary import scalar

    last: int | None = None
    writer: Any = None
    close: Callable[[], Any] | None = None

    def write(told: Told) -> None:
        nonlocal writer, close, last
        now, wall = _position(told), time.time()
        if jax.process_index() == 0:
            if last is None or now <= last:
                if close is not None:
                    close()
                Path(directory).mkdir(parents=True, exist_ok=True)
                # Two files of one second would have one name.
                writer = EventsWriter(str(Path(directory) / "events"), f".{time.time_ns()}")
                close = weakref.finalize(write, writer.close)
                start = SessionLog(status=SessionLog.START)  # points of later steps, of a run that died, are hidden
                writer.write_event(Event(wall_time=wall, step=now, session_log=start))
            for name, value in told.row.items():
                metric = name.removeprefix("validation_")
                point = scalar(f"{metric}/{'training' if metric == name else 'validation'}", value)
                writer.write_event(Event(wall_time=wall, step=now, summary=point))
            writer.flush()
        last = now

    return write


def _position(told: Told) -> int:
    """Steps taken, or epochs."""
    return told.step if isinstance(told, StepEnd) else told.epoch + 1


def _line(cells: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _lines_before(path: Path, row: dict[str, Any], now: int) -> str:
    """The whole lines of the file before this place, of a run that goes on."""
    if not path.exists() or not path.stat().st_size:
        return ""
    head, *lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    column, shift = ("step", 0) if "step" in row else ("epoch", 1)
    if column not in head:
        raise ValueError(f"csv_log: {path} is there and is no log of a run, its columns are {', '.join(head)}")
    at = head.index(column)
    whole = [line for line in lines if len(line) == len(head)]  # a line cut short is the last of a run that died
    before = [line for line in whole if int(line[at]) + shift < now]
    if before and head != list(row):
        raise ValueError(
            f"csv_log: {path} has the columns {', '.join(head)}, and the run that goes on has {', '.join(row)}; write "
            "another path"
        )
    return "".join(map(_line, before))
