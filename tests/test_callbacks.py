"""What a run writes while it goes: tables read back by Python's own reader, event files record by record."""

import csv
import pathlib
import struct
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

import fnn

KEY = jax.random.key(0)
X = jnp.linspace(-1, 1, 20).reshape(20, 1)
DATA = (X, 3 * X[:, 0])


def train(log, epochs=3, **options):
    return fnn.fit(
        fnn.dense(1), fnn.optim.sgd(0.1), fnn.tasks.regression(), DATA, key=KEY, batch_size=5, epochs=epochs,
        callbacks=[log], progress=False, **options,
    )[1]  # fmt: skip


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_table_is_the_history_exactly(tmp_path):
    path = tmp_path / "run.csv"
    history = train(fnn.callbacks.csv_log(path), validation=0.2)
    rows = table(path)
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    for name in set(rows[0]) - {"epoch"}:
        assert [float(row[name]) for row in rows] == list(history[name])
    assert {"loss", "validation_loss", "validation_r2"} <= set(rows[0])


def test_a_run_that_goes_on_keeps_what_came_before_and_mends_a_line_cut_short(tmp_path):
    path = tmp_path / "run.csv"
    train(fnn.callbacks.csv_log(path), epochs=2, checkpoint=tmp_path / "kept")
    with path.open("a", encoding="utf-8") as file:
        file.write("2,0.")
    history = train(fnn.callbacks.csv_log(str(path)), epochs=4, checkpoint=tmp_path / "kept")
    assert [float(row["loss"]) for row in table(path)] == list(history["loss"])


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from test_callbacks import *
end = lambda told: os.kill(os.getpid(), signal.SIGKILL) if told.epoch == 2 else None
path = sys.argv[1]
fnn.fit(
    fnn.dense(1), fnn.optim.sgd(0.1), fnn.tasks.regression(), DATA, key=KEY, batch_size=5, epochs=9, progress=False,
    callbacks=[fnn.callbacks.csv_log(path + "/run.csv"), end], checkpoint=path + "/kept",
)
"""


@pytest.mark.thorough
def test_a_run_that_is_killed_leaves_every_row_and_goes_on_behind_them(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(pathlib.Path(__file__).parent)]
    assert subprocess.run(command, timeout=300, capture_output=True).returncode == -9
    path = tmp_path / "run.csv"
    before = table(path)
    assert [row["epoch"] for row in before] == ["0", "1", "2"]
    history = train(fnn.callbacks.csv_log(path), epochs=5, checkpoint=tmp_path / "kept")
    assert table(path)[:3] == before
    assert [float(row["loss"]) for row in table(path)] == list(history["loss"])


def test_a_file_that_cannot_be_begun_anew_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "run.csv"
    train(fnn.callbacks.csv_log(path), epochs=2)
    before = path.read_text()
    monkeypatch.setattr(fnn.files.os, "fsync", lambda file: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        fnn.callbacks.csv_log(path)(told(0, loss=1.0))
    assert path.read_text() == before


def test_a_new_run_starts_the_file_anew_also_by_the_same_callback(tmp_path):
    path = tmp_path / "run.csv"
    log = fnn.callbacks.csv_log(path)
    train(log)
    train(log, epochs=2)
    assert [row["epoch"] for row in table(path)] == ["0", "1"]


def test_steps_are_written_where_the_callback_is_called_at_steps(tmp_path):
    path = tmp_path / "steps.csv"
    train(fnn.every(3, fnn.callbacks.csv_log(path)))
    assert [(row["epoch"], row["step"]) for row in table(path)] == [("0", "3"), ("1", "6"), ("2", "9"), ("2", "12")]


def told(epoch, **row):
    return fnn.EpochEnd(epoch, row, None)


def test_a_file_of_others_is_left_alone_and_other_columns_are_named(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("age,price\n1,2\n")
    with pytest.raises(ValueError, match=r"is no log of a run, its columns are age, price"):
        fnn.callbacks.csv_log(path)(told(0, loss=1.0))
    assert path.read_text() == "age,price\n1,2\n"
    path = tmp_path / "run.csv"
    fnn.callbacks.csv_log(path)(told(0, loss=1.0))
    with pytest.raises(ValueError, match=r"has the columns epoch, loss, and the run that goes on has epoch, loss, mae"):
        fnn.callbacks.csv_log(path)(told(1, loss=1.0, mae=2.0))
    fnn.callbacks.csv_log(path)(told(0, loss=1.0, mae=2.0))
    assert table(path) == [{"epoch": "0", "loss": "1.0", "mae": "2.0"}]


def points(directory):
    """Every scalar of the event files: (tag, step, value); a record is a length, its check, the event, its check."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(directory.iterdir()):
        raw = path.read_bytes()
        while raw:
            (length,) = struct.unpack("<Q", raw[:8])
            event = Event.FromString(raw[12 : 12 + length])
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            raw = raw[16 + length :]
    return found


def test_tensorboard_gets_every_number_of_the_history(tmp_path):
    pytest.importorskip("tensorboardX")
    history = train(fnn.callbacks.tensorboard(tmp_path / "events"), validation=0.2)
    found = points(tmp_path / "events")
    for name, tag in {"loss": "loss/training", "validation_loss": "loss/validation"}.items():
        expected = [(step, pytest.approx(value, rel=1e-6)) for step, value in enumerate(history[name], start=1)]
        assert [(step, value) for each, step, value in found if each == tag] == expected


def test_two_runs_of_one_second_are_two_event_files(tmp_path):
    pytest.importorskip("tensorboardX")
    for value in (1.0, 2.0):
        fnn.callbacks.tensorboard(tmp_path)(told(0, loss=value))
    assert [value for *_, value in points(tmp_path)] == [1.0, 2.0]


def test_without_tensorboardx_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    with pytest.raises(ImportError, match=r'pip install "fnn\[log\]"'):
        fnn.callbacks.tensorboard(tmp_path)
