"""Streams as the libraries that make them give them, and files: the numbers of arrays in their order."""

import io

import jax
import numpy as np
import pytest

import fnn

KEY = jax.random.key(0)
TASK = fnn.tasks.multiclass(2)
MODEL = fnn.dense(2)
ROWS, SIZE = 22, 8
X = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)
Y = (X.sum(1) > 0).astype(np.int32)
WEIGHTS = np.linspace(0.5, 2, ROWS, dtype=np.float32)


class Rows:
    """Rows one by one, as grain and torch read them."""

    def __len__(self):
        return ROWS

    def __getitem__(self, row):
        return X[row], Y[row]

    def __repr__(self):
        return "Rows()"  # by which grain knows a source again


def grain_map():
    return pytest.importorskip("grain").MapDataset.source(Rows()).batch(SIZE)


def grain_shuffled():
    return pytest.importorskip("grain").MapDataset.source(Rows()).seed(1).shuffle().batch(SIZE)


def grain_loader():
    grain = pytest.importorskip("grain")
    sampler = grain.samplers.IndexSampler(ROWS, shuffle=False, num_epochs=1, seed=0)
    return grain.DataLoader(data_source=Rows(), sampler=sampler, operations=[grain.transforms.Batch(SIZE)])


def torchdata_loader():
    return pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader(Rows(), batch_size=SIZE)


def tf_data():
    return pytest.importorskip("tensorflow").data.Dataset.from_tensor_slices((X, Y)).batch(SIZE).prefetch(1)


IN_ORDER = {
    "grain.MapDataset": grain_map,
    "grain.IterDataset": lambda: grain_map().to_iter_dataset(),
    "grain.DataLoader": grain_loader,
    "torchdata": torchdata_loader,
    "tf.data": tf_data,
}
RESUMED = IN_ORDER | {
    "grain, shuffled": grain_shuffled,
    "grain, shuffled and iterated": lambda: grain_shuffled().to_iter_dataset(),
}
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated", "ignore::DeprecationWarning")


def fit(data, **options):
    return fnn.fit(MODEL, fnn.optim.adam(0.01), TASK, data, **dict(key=KEY, epochs=3, progress=False) | options)


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("name", IN_ORDER)
def test_a_library_s_batches_give_the_bits_of_arrays(name):
    trained, history = fit(IN_ORDER[name](), validation=IN_ORDER[name]())
    expected, of_arrays = fit((X, Y), batch_size=SIZE, shuffle=False, validation=(X, Y))
    same(trained, expected)
    same(history["loss"], of_arrays["loss"])
    scores = fnn.evaluate(MODEL, trained, IN_ORDER[name](), TASK)
    np.testing.assert_allclose(scores["loss"], history["validation_loss"][-1], rtol=1e-6)
    same(fnn.predict(MODEL, trained, IN_ORDER[name]()), fnn.predict(MODEL, trained, X))


@pytest.mark.parametrize("name", RESUMED)
@pytest.mark.filterwarnings("ignore:fit. the stream has no state of its own")
def test_a_run_of_a_library_s_batches_goes_on_where_it_stopped(name, tmp_path):
    whole = fit(RESUMED[name](), epochs=4)
    fit(RESUMED[name](), epochs=2, checkpoint=tmp_path)
    same(fit(RESUMED[name](), epochs=4, checkpoint=tmp_path), whole)


def files(folder, **arrays):
    paths = []
    for first in range(0, ROWS, SIZE):
        paths.append(folder / f"{first}.npz")
        np.savez(paths[-1], **{name: array[first : first + SIZE] for name, array in arrays.items()})
    return paths


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("arrays", [dict(x=X, y=Y), dict(x=X, y=Y, weights=WEIGHTS)], ids=["x, y", "weights"])
def test_a_list_of_files_is_a_stream_of_batches(arrays, text, tmp_path):
    paths = files(tmp_path, **arrays)
    given = list(map(str, paths)) if text else paths
    trained, history = fit(given, validation=given)
    same((trained, history), fit(tuple(arrays.values()), batch_size=SIZE, shuffle=False, validation=given))
    assert fnn.evaluate(MODEL, trained, given, TASK)["loss"] == pytest.approx(history["validation_loss"][-1])
    same(fnn.predict(MODEL, trained, given), fnn.predict(MODEL, trained, X))
    fit(given, epochs=1, checkpoint=tmp_path / "run")
    same(fit(given, checkpoint=tmp_path / "run")[0], trained)


def test_a_run_of_other_files_is_not_gone_on_with(tmp_path):
    (tmp_path / "here").mkdir()
    paths = files(tmp_path / "here", x=X, y=Y)
    trained, _ = fit(paths, epochs=1, checkpoint=tmp_path / "run")
    for others in (paths[:1], paths[::-1]):
        with pytest.raises(ValueError, match="is of another run: other x, targets and weights"):
            fit(others, epochs=1, checkpoint=tmp_path / "run")
    moved = [path.rename(tmp_path / path.name) for path in paths]
    same(fit(moved, epochs=1, checkpoint=tmp_path / "run")[0], trained)


def test_files_of_inputs_alone_are_predicted(tmp_path):
    trained = fnn.Trained(*MODEL.init(KEY, X))
    same(fnn.predict(MODEL, trained, files(tmp_path, x=X)), fnn.predict(MODEL, trained, X))


def as_npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: np.savez(path, x=X), r"2\.npz: expected the arrays x and y, and weights .* got x; write numpy"),
        (lambda path: np.savez(path, x=X, y=Y, weight=Y), r"2\.npz: expected the arrays x and y.*got x, y, weight;"),
        (lambda path: np.savez(path, x=X, y=Y.astype(object)), r"2\.npz is damaged or no archive"),
        (lambda path: path.write_bytes(b"PK and then nothing"), r"2\.npz is damaged or no archive of numpy\.savez"),
        (lambda path: path.write_text("x,y"), r"2\.npz is damaged or no archive"),
        (lambda path: path.open("wb").close(), r"2\.npz is damaged or no archive"),
        (lambda path: path.write_bytes(as_npy(X)), r"2\.npz: expected .*got one array without a name"),
        (lambda path: None, r"No such file.*2\.npz"),
    ],
)
def test_a_file_that_is_no_batch_is_named(write, words, tmp_path):
    np.savez(tmp_path / "1.npz", x=X, y=Y)
    write(tmp_path / "2.npz")
    with pytest.raises(fnn.StreamError, match=rf"batch 2 of epoch 1.*{words}") as caught:
        fit([tmp_path / "1.npz", tmp_path / "2.npz"])
    assert caught.value.trained is not None
