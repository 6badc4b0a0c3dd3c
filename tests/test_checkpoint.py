"""A run that was broken off goes on as if it had not been, and never from the checkpoint of another run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.train.identity import program
from fnn.train.loop import Carry

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3)).astype(np.float32)
Y = (X @ np.array([1, 2, 3], np.float32)).astype(np.float32)
TASK = fnn.tasks.regression()
STRENGTH = 1e-3


def net(width=4, activation=fnn.tanh, rate=0.1):
    return fnn.serial(fnn.dense(width), fnn.batch_norm(), activation, fnn.dropout(rate), fnn.dense(1))


def penalty(params):
    return STRENGTH * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))


def noisy(scale):
    return lambda key, x, targets: (x + scale * jax.random.normal(key, x.shape), targets)


USUAL = dict(
    epochs=3, batch_size=8, key=KEY, penalty=penalty, augment=noisy(0.1), validation=[3, 5], progress=False,
    early_stopping=fnn.early_stopping("validation_loss", patience=50),
)  # fmt: skip


def fit(directory=None, *, model=None, optimizer=None, task=TASK, data=(X, Y), **changed):
    optimizer = optimizer or fnn.optim.adam(0.05)
    return fnn.fit(model or net(), optimizer, task, data, checkpoint=directory, **(USUAL | changed))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The checkpoints of a run of three epochs."""
    directory = tmp_path_factory.mktemp("kept")
    fit(directory)
    return directory


@pytest.fixture
def directory(kept, tmp_path):
    return Path(shutil.copytree(kept, tmp_path / "copy"))


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_run_resumed_is_the_unbroken_run_and_keeps_two_files(directory):
    whole = fit(epochs=5)
    assert sorted(os.listdir(directory)) == ["epoch-000002.npz", "epoch-000003.npz"]
    assert_same(whole, fit(directory, epochs=5))
    assert sorted(os.listdir(directory)) == ["epoch-000004.npz", "epoch-000005.npz"]
    assert_same(whole, fit(str(directory), epochs=5))


def test_the_same_run_written_otherwise_goes_on(directory):
    """What is computed counts, not how it was written."""

    def renamed(parameters):
        total = 0
        for one in jax.tree.leaves(parameters):
            total = total + (one**2).sum()
        return 0.001 * total

    _, history = fit(directory, penalty=renamed, optimizer=fnn.optim.adam(5e-2), model=net(4, lambda x: fnn.tanh(x)))
    assert history["epochs"] == 3


@pytest.mark.devices(2)
def test_a_run_of_one_device_goes_on_on_two(directory):
    mesh = fnn.devices.data_mesh(jax.devices()[:2])
    _, one = fit(epochs=4)
    _, two = fit(directory, epochs=4, mesh=mesh)
    np.testing.assert_array_equal(one["loss"][:3], two["loss"][:3])
    np.testing.assert_allclose(one["loss"], two["loss"], rtol=1e-4)


def test_fewer_epochs_than_were_saved_are_an_error(directory):
    with pytest.raises(ValueError, match="expected epochs >= 3, those the checkpoint was trained for, got 2"):
        fit(directory, epochs=2)


CHANGES = {
    "learning rate": (dict(optimizer=fnn.optim.adam(0.1)), "the optimizer computes with -?0.1, not with -?0.05"),
    "momentum": (dict(optimizer=fnn.optim.adam(0.05, b1=0.8)), "the optimizer computes with"),
    "schedule": (dict(optimizer=fnn.optim.adam(fnn.schedules.step_decay(0.05, 2, 0.5))), "count is int32.*, was not"),
    "another optimizer": (dict(optimizer=fnn.optim.sgd(0.05)), "train_state.opt_state"),
    "batch size": (dict(batch_size=6), "batch_size is 6, was 8"),
    "order": (dict(shuffle=False), "shuffle is False, was True"),
    "key": (dict(key=jax.random.key(9)), "key is"),
    "start": (dict(start=fnn.Trained(*net().init(KEY, X))), "start is .*, was None"),
    "width": (dict(model=net(8)), r"params\[0\]\['kernel'\] is float32\[3,8\], was float32\[3,4\]"),
    "activation": (dict(model=net(activation=fnn.relu)), "the model computes something else"),
    "dropout": (dict(model=net(rate=0.2)), "the model computes with"),
    "penalty": (dict(penalty=lambda params: jnp.zeros(())), "the penalty computes something else"),
    "no penalty": (dict(penalty=None), "the penalty is not given, was given"),
    "augmentation": (dict(augment=noisy(0.2)), "the augment computes with 0.2, not with 0.1"),
    "early stopping": (
        dict(early_stopping=fnn.early_stopping("validation_loss", patience=7)), "early_stopping is .*patience=7",
    ),
    "targets": (dict(data=(X, Y + 1)), "other x, targets and weights"),
    "one value": (dict(data=(np.where(X[7, 1] == X, 0, X), Y)), "other x, targets and weights"),
    "weights": (dict(data=(X, Y, np.ones(20))), "other x, targets and weights"),
    "rows": (dict(rows=np.arange(6, 18)), "other rows"),
    "validation": (dict(validation=[3, 6]), "other rows; other validation rows"),
    "metrics": (dict(task=TASK._replace(metrics={})), "metrics is"),
    "a metric": (
        dict(task=TASK._replace(metrics=TASK.metrics | {"mse": TASK.metrics["mae"]})), "the scoring computes",
    ),
    "loss": (dict(task=TASK._replace(loss=lambda o, t: (o - t) ** 4)), "the task computes something else"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_of_another_run_is_refused_and_what_differs_is_named(directory, name):
    changed, message = CHANGES[name]
    with pytest.raises(ValueError, match=message) as error:
        fit(directory, epochs=5, **changed)
    assert "Give what was given then, or another directory" in str(error.value)
    assert "orbax" not in str(error.value)


def test_a_changed_global_is_another_run(directory, monkeypatch):
    monkeypatch.setitem(globals(), "STRENGTH", 1.0)
    with pytest.raises(ValueError, match=r"the penalty computes with 1, not with 0\.001"):
        fit(directory, epochs=5)


def test_another_version_goes_on_with_a_warning(directory, monkeypatch):
    monkeypatch.setattr("fnn.train.identity.__version__", "9.9")
    with pytest.warns(RuntimeWarning, match=r"fnn 9\.9, was"):
        _, history = fit(directory)
    assert history["epochs"] == 3


def newest(directory):
    return max(directory.iterdir())


@pytest.mark.parametrize("damage", ["empty", "half", "a byte of the arrays", "a byte of the table", "renamed"])
def test_a_damaged_file_is_named_and_the_one_before_it_read(directory, damage):
    path = newest(directory)
    whole = path.read_bytes()
    place = {"a byte of the arrays": 300, "a byte of the table": whole.index(b'"table"') + 20}.get(damage)
    if damage == "renamed":
        path = path.rename(directory / "epoch-000007.npz")
    elif place is None:
        path.write_bytes(whole[: len(whole) // 2] if damage == "half" else b"")
    else:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
    with pytest.warns(RuntimeWarning, match=f"{path.name} is damaged; the run goes on from epoch-000002.npz"):
        resumed = fit(directory, epochs=4)
    assert_same(resumed, fit(epochs=4))


def test_only_damaged_files_are_one_clear_error(directory):
    for path in directory.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"epoch-000003\.npz is damaged; give another directory"):
        fit(directory)
    assert len(list(directory.iterdir())) == 2


def test_no_byte_of_a_file_changes_unnoticed(kept, tmp_path):
    path, whole = tmp_path / "epoch.npz", newest(kept).read_bytes()

    def read():
        with path.open("rb") as file, np.load(file, allow_pickle=False) as parts:
            return [parts[name].tobytes() for name in ("run", "arrays")]

    path.write_bytes(whole)
    right = read()
    for place in range(0, len(whole), 13):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert read() == right
        except AssertionError:
            raise
        except Exception:
            continue


def test_a_full_disk_leaves_what_was_saved_and_the_training_goes_on(tmp_path, monkeypatch):
    save, full = np.savez, [False]

    def savez(file, **parts):
        file.write(b"the beginning")
        if full[0]:
            raise OSError(28, "No space left on device")
        file.seek(0)
        save(file, **parts)

    def fill(end):
        full[0] = end.epoch in (1, 2)

    monkeypatch.setattr(np, "savez", savez)
    with pytest.warns(RuntimeWarning, match=r"epoch-00000[34].npz could not be written: No space left") as seen:
        _, history = fit(tmp_path, epochs=4, callbacks=[fill])
    assert len(seen) == 2
    assert history["epochs"] == 4
    assert sorted(os.listdir(tmp_path)) == ["epoch-000001.npz", "epoch-000002.npz"]
    assert_same(fit(tmp_path, epochs=4, callbacks=[lambda end: full.__setitem__(0, False)]), fit(epochs=4))


def test_a_callback_cannot_rewrite_the_history(tmp_path):
    def meddle(end):
        end.row["loss"] = -1.0
        end.row["mine"] = 2.0

    _, history = fit(tmp_path, callbacks=[meddle])
    assert min(history["loss"]) > 0
    assert "mine" not in history
    assert min(fit(tmp_path)[1]["loss"]) > 0


def test_the_table_has_one_row_per_epoch_or_the_file_is_damaged(directory):
    path = newest(directory)
    with np.load(path) as parts:
        arrays, run = parts["arrays"], json.loads(parts["run"].tobytes())
    run["table"].append(run["table"][-1])
    np.savez(path, arrays=arrays, run=np.frombuffer(json.dumps(run).encode(), np.uint8))
    with pytest.warns(RuntimeWarning, match="is damaged"):
        assert fit(directory)[1]["epochs"] == 3


def of_one_stream(run):
    run["stream"] = run.pop("streams")


def of_single_means(run):
    arrays = run["identity"]["arrays"]
    run["identity"]["arrays"] = {name.replace("means", "means['loss']"): what for name, what in arrays.items()}


VERSIONS = {
    "another record": of_one_stream,
    "less in the record": lambda run: run.pop("streams"),
    "more in the record": lambda run: run.update(places=[]),
    "other arrays": of_single_means,
    "less of its identity": lambda run: run["identity"].pop("programs"),
    "more of its identity": lambda run: run["identity"].update(clipping=1.0),
}


def test_what_of_a_carry_is_the_model_s_and_the_optimizer_s_is_known_by_its_fields():
    assert {"train_state", "best"} <= set(Carry._fields)  # as `identity.holds_other_parts` asks


@pytest.mark.parametrize("name", VERSIONS)
def test_a_checkpoint_of_another_version_is_not_damaged_and_what_to_do_is_said(directory, name):
    path = newest(directory)
    with np.load(path) as parts:
        arrays, run = parts["arrays"], json.loads(parts["run"].tobytes())
    VERSIONS[name](run)
    run["identity"]["environment"]["fnn"] = "0.0.7"
    np.savez(path, arrays=arrays, run=np.frombuffer(json.dumps(run).encode(), np.uint8))
    with pytest.raises(
        ValueError, match=r"another version of fnn \(it says 0\.0\.7, this one is .*Go on with that ver"
    ):
        fit(directory, epochs=5)
    assert jax.tree.leaves(fnn.load(directory, like=(net(), X), which="last"))


SCRIPT = """
import sys, jax, numpy as np, fnn
x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
trained, history = fnn.fit(
    fnn.serial(fnn.dense(2), fnn.tanh, fnn.dense(1)), fnn.optim.adam(0.01), fnn.tasks.regression(), (x, x.sum(1)),
    key=jax.random.key(0), epochs=80, batch_size=16, progress=False, checkpoint=sys.argv[1] or None,
    callbacks=[lambda end: print(end.epoch, flush=True)])
print(history["epochs"], float(np.abs(jax.tree.leaves(trained)[0]).sum()), sum(history["loss"]))
"""


def test_a_killed_process_goes_on_where_it_was_and_says_nothing(tmp_path, monkeypatch, capsys):
    def start():
        command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    for epochs in (2, 20):
        process = start()
        for _ in range(epochs):
            assert process.stdout.readline()
        time.sleep(0.0007 * epochs)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    resumed, said = start().communicate()
    first, *_, last = resumed.splitlines()
    assert 20 <= int(first) < 80
    assert said == ""
    assert len(list(tmp_path.glob("*.npz"))) == 2
    monkeypatch.setattr(sys, "argv", ["", ""])
    exec(SCRIPT, {})
    assert last == capsys.readouterr().out.splitlines()[-1]


def test_a_program_is_known_by_what_it_computes():
    table = np.arange(3.0, dtype=np.float32)[None]
    base = program(lambda x: x * 2.0 + table, X)
    assert program(lambda y: 2.0 * 1.0 * y + np.arange(3.0, dtype=np.float32)[None], X)["form"] != "" != base["form"]
    assert program(lambda y: y * 2.0 + table.copy(), X) == base
    assert program(lambda x: x * 3.0 + table, X)["form"] == base["form"]
    assert program(lambda x: x * 3.0 + table, X)["numbers"] != base["numbers"]
    assert program(lambda x: x * 2.0 + (table + 1), X)["form"] != base["form"]
    inner = lambda table: jax.jit(lambda x: x * table)  # noqa: E731
    assert program(inner(table), X) == program(inner(table.copy()), X)
    assert program(inner(table), X) != program(inner(table + 1), X)
    assert program(lambda x: jax.lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x), X) != program(
        lambda x: jax.lax.cond(x[0, 0] > 0, jnp.sin, jnp.tan, x), X
    )


def test_a_program_with_nan_in_it_is_the_same_program():
    """Classes out of range become NaN in a loss: after JSON that NaN is another object."""
    loss, like = fnn.tasks.multiclass(3).loss, (jnp.zeros((2, 3)), jnp.zeros(2, int))
    first, again = (program(loss, *like) for _ in range(2))
    assert json.loads(json.dumps(first)) == again
    nan, number = (program(lambda x, fill=fill: jnp.where(x > 0, x, fill), jnp.ones(2)) for fill in (jnp.nan, 1.0))
    assert nan != number


def files(directory):
    return sorted(int(path.stem.removeprefix("epoch-")) for path in directory.glob("epoch-*.npz"))


def test_how_often_a_run_is_saved_and_how_many_files_are_kept(tmp_path):
    fit(fnn.checkpoints(tmp_path, keep=3, every=2), epochs=9)
    assert files(tmp_path) == [6, 8, 9]
    assert_same(fit(fnn.checkpoints(tmp_path, keep=1, every=4), epochs=11), fit(epochs=11))
    assert files(tmp_path) == [11]


@pytest.mark.parametrize("monitor", ["validation_loss", "loss", "validation_r2"])
def test_the_best_epoch_is_kept_by_what_early_stopping_watches(tmp_path, monitor):
    rule = fnn.early_stopping(monitor, patience=50)
    _, history = fit(fnn.checkpoints(tmp_path, keep=1, every=100, best=True), epochs=6, early_stopping=rule)
    assert files(tmp_path) == sorted({history["best_epoch"] + 1, 6})


def broken_off(directory, after, steps=3, **options):
    """A run of three epochs of three steps that is saved after every so many, and ends after one of them."""
    ends = fnn.every(1, lambda end: end.step == after)
    keeps = fnn.checkpoints(directory, steps=steps, every=100)
    return fit(keeps, callbacks=[ends], early_stopping=None, **options)


@pytest.mark.parametrize("after", range(1, 9))
@pytest.mark.parametrize("steps", [1, 2])
def test_a_run_goes_on_in_the_middle_of_an_epoch(tmp_path, steps, after):
    whole = fit(early_stopping=None)
    broken_off(tmp_path, after, steps)
    asked, told = [], fnn.every(1, lambda end: asked.append(end.step))
    again = fit(fnn.checkpoints(tmp_path, steps=steps), early_stopping=None, callbacks=[told])
    assert_same(whole, again)
    assert asked == list(range(after - after % steps + 1, 10))


def test_files_within_an_epoch_are_kept_beside_those_of_whole_ones(tmp_path):
    fit(fnn.checkpoints(tmp_path, steps=2, keep=2))
    assert sorted(os.listdir(tmp_path)) == [
        "epoch-000001.step-000000003.npz", "epoch-000002.npz", "epoch-000002.step-000000002.npz", "epoch-000003.npz",
    ]  # fmt: skip


def test_a_damaged_file_within_an_epoch_is_named_and_the_one_before_it_read(tmp_path):
    broken_off(tmp_path, 5, steps=1)
    path = max(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(RuntimeWarning, match=r"002\.npz is damaged; the run goes on from epoch-000001\.step-0*1\.npz"):
        assert_same(fit(early_stopping=None), fit(fnn.checkpoints(tmp_path, steps=1), early_stopping=None))


def test_an_epoch_that_was_begun_is_one_of_the_run_that_goes_on(tmp_path):
    broken_off(tmp_path, 5, steps=1)
    with pytest.raises(ValueError, match="expected epochs >= 2, those the checkpoint was trained for, got 1"):
        fit(tmp_path, epochs=1, early_stopping=None)


@pytest.mark.parametrize("after", [2, 5])
@pytest.mark.parametrize("which", ["best", "last"])
def test_what_a_run_saved_within_an_epoch_is_loaded(tmp_path, which, after):
    kept = broken_off(tmp_path, after, steps=1)[0]
    found = fnn.load(tmp_path, like=(net(), X), which=which)
    assert_same(found, kept)
