"""Trained models as files that run without fnn."""

import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

pytest.importorskip("flatbuffers")
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = (RNG.normal(size=(6, 5, 5, 2)) * 3 + 1).astype(np.float32)
MODEL = fnn.serial(fnn.conv(4, 3), fnn.batch_norm(), fnn.relu, fnn.dropout(0.5), fnn.global_avg_pool(), fnn.dense(3))
TASK = fnn.tasks.multiclass(3)


def trained_of(model, x):
    shapes = jax.eval_shape(model.init, KEY, x)
    return fnn.Trained(*jax.tree.map(lambda a: jnp.asarray(np.abs(RNG.normal(size=a.shape)), a.dtype), shapes))


TRAINED = trained_of(MODEL, X)
SCALER = fnn.data.standard_scaler()
FITTED = SCALER, SCALER.fit(X)


def predicted(task, x=X):
    return fnn.predict(MODEL, TRAINED, SCALER.transform(FITTED[1], x), task)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_process_without_fnn_runs_the_file(tmp_path):
    """Scaler, model and decoding, in a process in which fnn cannot be imported."""
    fnn.export(MODEL, TRAINED, X[:1], TASK, path=tmp_path / "m", scaler=FITTED, probabilities=True)
    np.save(tmp_path / "x.npy", X)
    script = """
import sys
sys.modules["fnn"] = None
import jax, jax.export, numpy as np
folder = sys.argv[1]
program = jax.export.deserialize(bytearray(open(folder + "/m", "rb").read()))
assert program.platforms == ("cpu", "cuda", "tpu")
np.save(folder + "/y.npy", program.call(np.load(folder + "/x.npy")))
try:
    import fnn
except ImportError:
    print("no fnn")
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "no fnn\n"), done.stderr[-2000:]
    close(np.load(tmp_path / "y.npy"), TASK.probabilities(predicted(None)))


@pytest.mark.parametrize("rows", [1, 6])
def test_what_is_read_predicts_what_fnn_predicts(rows, tmp_path):
    fnn.export(MODEL, TRAINED, X, TASK, path=tmp_path / "m", scaler=FITTED, classes=["a", "b", "c"])
    program = fnn.load_exported(tmp_path / "m")
    np.testing.assert_array_equal(program(X[:rows]), predicted(TASK, X[:rows]))
    assert program.classes == ("a", "b", "c")
    assert program.expects == "float32[rows,5,5,2]"
    assert program.description == repr(MODEL)


def test_axes_that_are_symbolic_stay_so_and_a_train_state_is_taken(tmp_path):
    size = jax.export.symbolic_shape("b, h, w")
    x = jax.ShapeDtypeStruct((*size, 2), jnp.float32)
    fnn.export(MODEL, fnn.TrainState(*TRAINED, ()), x, path=tmp_path / "m", platforms=("cpu",))
    larger = RNG.normal(size=(2, 7, 9, 2)).astype(np.float32)
    close(fnn.load_exported(tmp_path / "m")(larger), fnn.predict(MODEL, TRAINED, larger))


def test_integers_and_half_precision_are_exported(tmp_path):
    model, x = fnn.serial(fnn.embedding(9, 4, dtype=jnp.bfloat16), fnn.dense(2)), np.array([[1, 2], [3, 8]], np.int32)
    trained = trained_of(model, x)
    fnn.export(model, trained, x, path=tmp_path / "m")
    program = fnn.load_exported(tmp_path / "m")
    close(*(np.asarray(y, np.float32) for y in (program(x), fnn.predict(model, trained, x))))
    with pytest.raises(TypeError, match=r"expected int32\[rows,2\], got float32"):
        program(x.astype(np.float32))


def test_a_number_beside_the_rows_stays_one(tmp_path):
    scaled = fnn.Layer(lambda key, x: ((), ()), lambda params, state, x, **options: (x["a"] * x["t"], state))
    x = {"a": X[:, 0, 0], "t": np.float32(2)}
    fnn.export(scaled, fnn.Trained((), ()), x, path=tmp_path / "m", platforms=("cpu",))
    np.testing.assert_array_equal(fnn.load_exported(tmp_path / "m")(x), 2 * x["a"])


def test_inputs_of_another_shape_are_named(tmp_path):
    fnn.export(MODEL, TRAINED, X, path=tmp_path / "m")
    program = fnn.load_exported(tmp_path / "m")
    with pytest.raises(ValueError, match=r"expected float32\[rows,5,5,2\], got float32\[6,5,5\]"):
        program(X[..., 0])
    with pytest.raises(ValueError, match=r"expected float32\[rows,5,5,2\]"):
        program((X, X))


def test_inputs_that_mean_nothing_are_named(tmp_path):
    model, x = fnn.dense(3), np.ones((2, 4), np.float32)
    fnn.export(model, trained_of(model, x), x, TASK, path=tmp_path / "m")
    program = fnn.load_exported(tmp_path / "m")
    with pytest.raises(ValueError, match="x contains nan at row 1, column 2"):
        program(np.where(np.arange(8).reshape(2, 4) == 6, np.nan, x))
    with pytest.raises(ValueError, match=r"expected at least one row, got float32\[0,4\]"):
        program(x[:0])


def test_what_cannot_be_exported_says_why(tmp_path):
    with pytest.raises(ValueError, match="a task with classes"):
        fnn.export(MODEL, TRAINED, X, fnn.tasks.regression(), path=tmp_path / "m", probabilities=True)
    with pytest.raises(ValueError, match=r"export: layer 5, dense\(3\): kernel"):
        fnn.export(
            MODEL, TRAINED._replace(params=(*TRAINED.params[:5], {"kernel": jnp.ones((2, 2))})), X, path=tmp_path / "m"
        )
    with pytest.raises(TypeError, match="export: expected scaler="):
        fnn.export(MODEL, TRAINED, X, path=tmp_path / "m", scaler=SCALER)
    with pytest.raises(TypeError, match=r"export: .*StandardStatistics of a standard scaler, got tuple"):
        fnn.export(MODEL, TRAINED, X, path=tmp_path / "m", scaler=(SCALER, tuple(SCALER.fit(np.eye(2)))))
    with pytest.raises(ValueError, match=r"export: expected params.a that fit int32, got 1099511627776"):
        fnn.export(MODEL, fnn.Trained({"a": np.array([2**40])}, ()), X, path=tmp_path / "m")
    seconds = np.array([[1.0, 1.7e9], [2.0, 1.7e9 + 60]])
    dense = fnn.dense(1)
    with pytest.raises(ValueError, match=r"column 1 lies around 1.7e\+09 .*float32 does not resolve"):
        fnn.export(
            dense, trained_of(dense, X[:, 0, 0]), X[:, 0, 0], path=tmp_path / "m", scaler=(SCALER, SCALER.fit(seconds))
        )
    assert not list(tmp_path.iterdir())


def test_a_damaged_program_is_never_run(tmp_path):
    dense = fnn.dense(1)
    fnn.export(dense, trained_of(dense, X[:, 0, 0]), X[:, 0, 0], path=tmp_path / "m")
    whole = (tmp_path / "m").read_bytes()
    for number in range(100):
        damaged, place = bytearray(whole), int(RNG.integers(len(whole)))
        if number % 2:
            damaged[place] ^= 1 << int(RNG.integers(8))
        else:
            del damaged[place:]
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"is damaged|is cut off or was not written"):
            fnn.load_exported(tmp_path / "damaged")


def test_every_bit_at_the_end_of_a_program_counts(tmp_path):
    """There stand the length of what is said of it, which the digest does not hold, and the digest."""
    dense = fnn.dense(1)
    fnn.export(dense, trained_of(dense, X[:, 0, 0]), X[:, 0, 0], path=tmp_path / "m")
    whole = (tmp_path / "m").read_bytes()
    for bit in range(8 * 64):
        damaged = bytearray(whole)
        damaged[-1 - bit // 8] ^= 1 << bit % 8
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"is damaged|is cut off or was not written"):
            fnn.load_exported(tmp_path / "damaged")


def test_a_table_with_its_columns_in_another_order_is_refused(tmp_path):
    frame = pytest.importorskip("pandas").DataFrame({"a": [1.0, 2.0], "b": [10.0, 30.0]}, dtype=np.float32)
    scaler, model = fnn.data.standard_scaler(), fnn.dense(1)
    fitted = scaler.fit(frame)
    trained = fnn.Trained(*model.init(KEY, np.ones((1, 2), np.float32)))
    fnn.export(model, trained, np.ones((1, 2), np.float32), path=tmp_path / "m", scaler=(scaler, fitted))
    program = fnn.load_exported(tmp_path / "m")
    with pytest.raises(ValueError, match=r"expected column 'a' at place 0, as in fit, got 'b'; write x\[\["):
        program(frame[["b", "a"]])
    np.testing.assert_array_equal(program(frame), program(frame.to_numpy()))
