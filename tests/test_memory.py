"""How much memory a run takes, and what is left of it."""

import gc
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.train.rows import shuffle, shuffle_on_host

KEY = jax.random.key(0)
TASK = fnn.tasks.regression()


def status(name):
    """A line of the process's memory, in bytes."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{name}:")[1].split()[0]) * 1024


@pytest.fixture
def peak():
    """Starts to measure anew; `peak()` is the most that was held since, beyond what was held then."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("this system does not say how much memory a process has held")
    before = status("VmRSS")
    return lambda: status("VmHWM") - before


def aligned(rows, columns):
    """A NumPy array that begins at a multiple of 64 bytes."""
    raw = np.empty(4 * rows * columns + 64, np.uint8)
    begin = -raw.ctypes.data % 64
    return raw[begin : begin + 4 * rows * columns].view(np.float32).reshape(rows, columns)


ROWS, COLUMNS = 200_000, 80
X = aligned(ROWS, COLUMNS)


def fit(rows):
    X[:] = 1
    return fnn.fit(
        fnn.dense(1), fnn.optim.sgd(1e-4), TASK, (X[:rows], X[:rows, 0]), key=KEY, epochs=1, batch_size=4096,
        progress=False,
    )  # fmt: skip


@pytest.fixture
def warm():
    fit(5000)


def test_fit_holds_aligned_data_once(warm, peak):
    fit(ROWS)
    assert peak() < 0.75 * X.nbytes  # most of it is the compiler's: a copy would be more


def fit_maps(data):
    fnn.fit(
        fnn.dense(1), fnn.optim.sgd(1e-4), TASK, data, key=KEY, epochs=1, batch_size=512, validation=0.1,
        progress=False,
    )  # fmt: skip


def evaluate_maps(data):
    fnn.evaluate(fnn.dense(1), fnn.Trained(*fnn.dense(1).init(KEY, data[0][:2])), data, TASK)


def predict_maps(data):
    fnn.predict(fnn.dense(1), fnn.Trained(*fnn.dense(1).init(KEY, data[0][:2])), data[0])


@pytest.mark.parametrize("read", [fit_maps, evaluate_maps, predict_maps])
def test_a_memory_map_is_read_by_parts(tmp_path, peak, read):
    file = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(100_000, 2000))
    size = file.nbytes  # of zeros, which take no place on the disk
    del file
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    data = x, np.ones(len(x), np.float32)
    read(data)
    assert peak() < 0.5 * size  # super-batches and what the compiler takes


@pytest.mark.parametrize("slots", [0, 1000])
def test_the_host_puts_rows_in_the_order_of_the_program(slots):
    rows = np.r_[np.arange(5000), np.full(slots, -1)].astype(np.int32)
    rows = np.random.default_rng(0).permutation(rows)
    order, count = shuffle_on_host(jax.random.bits(KEY, rows.shape, jnp.uint32), rows)
    expected, total = shuffle(KEY, jnp.asarray(rows))
    np.testing.assert_array_equal(order, expected)
    assert count == total
    if not slots:
        every = shuffle_on_host(jax.random.bits(KEY, rows.shape, jnp.uint32), None)[0]
        np.testing.assert_array_equal(every, shuffle(KEY, jnp.arange(5000))[0])


def test_a_run_is_the_same_whoever_puts_its_rows_in_order(monkeypatch):
    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)

    def run():
        return fnn.fit(fnn.dense(1), fnn.optim.sgd(0.1), TASK, (x, x[:, 0]), key=KEY, epochs=2, rows=np.arange(-3, 37))

    whole = run()
    monkeypatch.setattr("fnn.train.rows.MANY", 1)
    jax.tree.map(np.testing.assert_array_equal, whole, run())


@pytest.mark.thorough
def test_models_built_trained_evaluated_and_dropped_leave_memory_flat(monkeypatch):
    monkeypatch.setattr(fnn.programs.store, "LIMIT", 4)
    x = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)

    def one(width):
        model = fnn.serial(fnn.dense(width), fnn.relu, fnn.dense(1))
        trained, _ = fnn.trainer(model, fnn.optim.sgd(0.1), TASK, epochs=1)(KEY, (x, x[:, 0]))
        fnn.evaluate(model, trained, (x, x[:, 0]), TASK)

    for width in range(1, 5):
        one(width)
    gc.collect()
    before = status("VmRSS")
    for width in range(5, 17):
        one(width)
    gc.collect()
    # What twelve more pairs of programs would take if they were kept is about ten times that.
    assert status("VmRSS") - before < 60 * 2**20
