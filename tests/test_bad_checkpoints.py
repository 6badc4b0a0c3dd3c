"""Checkpoints that are damaged, foreign or made to harm: nothing but the run that was saved is ever read."""

import io
import json
import os
import pickle
import zipfile

import jax
import numpy as np
import pytest

import fnn

MODEL, X = fnn.dense(2), np.eye(3, dtype=np.float32)
Y = np.array([0, 1, 0], np.int32)


def fit(directory, epochs=2):
    return fnn.fit(
        MODEL, fnn.optim.sgd(0.1), fnn.tasks.multiclass(2), (X, Y), key=jax.random.key(0), epochs=epochs, batch_size=3,
        progress=False, checkpoint=fnn.checkpoints(directory, keep=1),
    )[0]  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    directory = tmp_path_factory.mktemp("kept")
    return fit(directory), next(directory.glob("*.npz"))


def same(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(jax.tree.map(np.array_equal, a, b))


def damaged(whole, number, rng):
    """One fault: a flipped bit, an end cut off, bytes put in, or bytes overwritten."""
    data, place = bytearray(whole), int(rng.integers(len(whole)))
    if number % 4 == 0:
        data[place] ^= 1 << int(rng.integers(8))
    elif number % 4 == 1:
        del data[place:]
    elif number % 4 == 2:
        data[place:place] = rng.bytes(int(rng.integers(1, 9)))
    else:
        data[place : place + 16] = rng.bytes(16)
    return bytes(data)


@pytest.mark.filterwarnings("ignore:load. the checkpoint .* is damaged:RuntimeWarning")
def test_of_100_random_corruptions_none_is_read_as_something_else(kept, tmp_path):
    trained, path = kept
    whole, rng, refused, read = path.read_bytes(), np.random.default_rng(0), 0, 0
    for number in range(100):
        (tmp_path / path.name).write_bytes(damaged(whole, number, rng))
        try:
            read += same(fnn.load(tmp_path, like=(MODEL, X), which="last"), trained)
        except ValueError as error:
            refused += "1 checkpoints, all damaged" in str(error)
    assert (refused + read, refused > 80) == (100, True)
    assert path.read_bytes() == whole


class Executed:
    def __reduce__(self):
        return os.abort, ()


def bomb(path, whole):
    """Zeros a thousand times as large as their file, in the place of the arrays."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("arrays.npy", "w") as part:
        np.lib.format.write_array_header_1_0(part, {"descr": "|u1", "fortran_order": False, "shape": (2**26,)})
        part.write(bytes(2**26))
    with zipfile.ZipFile(path, "a") as archive, np.load(whole) as parts, archive.open("run.npy", "w") as part:
        np.lib.format.write_array(part, parts["run"])


def announced(path, whole):
    """Arrays of a terabyte, none of which is there."""
    with zipfile.ZipFile(path, "w") as archive, archive.open("run.npy", "w") as part:
        np.lib.format.write_array_header_1_0(part, {"descr": "|u1", "fortran_order": False, "shape": (2**40,)})


def objects(path, whole):
    np.savez(path, run=np.array([Executed()], object), arrays=np.zeros(1, np.uint8))


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


FOREIGN = {
    "bomb": bomb,
    "announced": announced,
    "objects": objects,
    "pickle": lambda path, whole: path.write_bytes(pickle.dumps(Executed())),
    "other archive": lambda path, whole: np.savez(path, weights=np.ones(3)),
    "one array": lambda path, whole: path.write_bytes(npy(np.ones(3))),
    "other json": lambda path, whole: np.savez(
        path, run=np.frombuffer(json.dumps({"identity": 3}).encode(), np.uint8), arrays=np.ones(3)
    ),
    "many names": lambda path, whole: np.savez(path, **{f"n{n:0100}": np.zeros(0) for n in range(1000)}),
    "empty": lambda path, whole: path.write_bytes(b""),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_neither_unpacked_nor_executed(name, kept, tmp_path):
    _, path = kept
    FOREIGN[name](tmp_path / path.name, path)
    content = (tmp_path / path.name).read_bytes()
    with (
        pytest.warns(RuntimeWarning, match=rf"load: the checkpoint .*{path.name} is damaged"),
        pytest.raises(ValueError, match="holds 1 checkpoints, all damaged"),
    ):
        fnn.load(tmp_path, like=(MODEL, X))
    with pytest.raises(ValueError, match=rf"fit: no checkpoint in .* can be read, {path.name} is damaged"):
        fit(tmp_path)
    assert (tmp_path / path.name).read_bytes() == content
