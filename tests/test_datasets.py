"""idx files: everything written comes back, everything malformed is named."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fnn

CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(array):
    """The bytes of an idx file, number by number as the format's page says."""
    kind = {"uint8": "B", "int8": "b", "int16": "h", "int32": "i", "float32": "f", "float64": "d"}[array.dtype.name]
    head = bytes([0, 0, CODES[array.dtype.name], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + b"".join(struct.pack(f">{kind}", number) for number in array.ravel().tolist())


ARRAYS = st.sampled_from(sorted(CODES)).flatmap(
    lambda name: hnp.arrays(name, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)


@given(array=ARRAYS, zipped=st.booleans())
def test_round_trip(tmp_path, array, zipped):
    path = tmp_path / "numbers"
    path.write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
    read = fnn.data.read_idx(path)
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array)


GOOD = idx(np.arange(6, dtype=np.int16).reshape(2, 3))
MALFORMED = {
    "no idx file.*got 01 00 0b 02": b"\1" + GOOD[1:],
    "no idx file": b"",
    "unknown type code 0x0a.*0x08": GOOD[:2] + b"\x0a" + GOOD[3:],
    "truncated: expected a header of 12 bytes, got 7": GOOD[:7],
    r"truncated: expected 24 bytes for \(2, 3\), got 23": GOOD[:-1],
    r"too long: expected 24 bytes for \(2, 3\), got 25": GOOD + b"\0",
    "damaged gzip": gzip.compress(GOOD)[:-9],
    "damaged gzip file": gzip.compress(GOOD)[:10] + b"\xff" * 20,
}


@pytest.mark.parametrize("message", MALFORMED)
def test_malformed(tmp_path, message):
    path = tmp_path / "numbers.idx"
    path.write_bytes(MALFORMED[message])
    with pytest.raises(ValueError, match=message):
        fnn.data.read_idx(path)


def write(folder, images, labels):
    for name in NAMES:
        array = images if "images" in name else labels
        zipped = name.startswith("train")
        (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(idx(array)) if zipped else idx(array))


def test_load_mnist(tmp_path):
    images = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    labels = np.array([2, 0, 1], np.uint8)
    write(tmp_path, images, labels)
    data = fnn.data.load_mnist(str(tmp_path))
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        np.testing.assert_array_equal(x[..., 0], images)
        np.testing.assert_array_equal(y, labels)


@pytest.mark.parametrize("name", NAMES)
def test_missing_file_is_named_with_its_source(tmp_path, name):
    write(tmp_path, np.zeros((1, 2, 2), np.uint8), np.zeros(1, np.uint8))
    (tmp_path / (name + ".gz" * name.startswith("train"))).unlink()
    with pytest.raises(FileNotFoundError, match=f"neither {name} nor {name}.gz.*fashion-mnist of zalandoresearch"):
        fnn.data.load_mnist(tmp_path)


@pytest.mark.parametrize(("images", "labels"), [((2, 4, 4), (3,)), ((2, 16), (2,)), ((2, 4, 4), (2, 1))])
def test_images_and_labels_that_do_not_belong_together(tmp_path, images, labels):
    write(tmp_path, np.zeros(images, np.uint8), np.zeros(labels, np.uint8))
    with pytest.raises(ValueError, match=r"images \(count, height, width\).*one label each, got shapes"):
        fnn.data.load_mnist(tmp_path)
