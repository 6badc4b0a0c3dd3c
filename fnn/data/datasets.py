"""Data sets as their publishers ship them: idx files, MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = ["MnistData", "load_mnist", "read_idx"]

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""Type code of an idx file -> its numbers, most significant byte first."""

GZIP = b"\x1f\x8b"

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class MnistData(NamedTuple):
    """Images (count, height, width, 1) and class numbers (count,), all uint8, to train on and to test on.

    Example:
        >>> import numpy as np, fnn
        >>> images, labels = np.zeros((2, 28, 28, 1), np.uint8), np.zeros(2, np.uint8)
        >>> fnn.data.MnistData(images, labels, images, labels).x_test.shape
        (2, 28, 28, 1)
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.startswith(GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"read_idx: {path} is a damaged gzip file ({error}); fetch it again") from error


def read_idx(path: Any) -> np.ndarray:
    """The array of an idx file, plain or gzipped (told by its content, not by its name).

    The format: two zero bytes, a type code, the number of axes; each axis as a big-endian uint32; then the numbers,
    the last axis fastest, most significant byte first.

    Returns:
        A NumPy array of the file's shape and type (uint8, int8, int16, int32, float32 or float64) in native byte order.

    Raises:
        ValueError: if the file is no idx file, has an unknown type code, or is shorter or longer than its header says.

    Example:
        >>> import pathlib, tempfile, fnn
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        >>> fnn.data.read_idx(path).tolist()
        [7, 2, 1]

    References:
        LeCun, Cortes and Burges, The MNIST database of handwritten digits: the IDX file format.
    """
    path = Path(path)
    content = _content(path)
    if len(content) < 4 or content[:2] != b"\0\0":
        raise ValueError(
            f"read_idx: {path} is no idx file: expected it to begin with 00 00, got {content[:4].hex(' ')}"
        )
    code, rank = content[2], content[3]
    if code not in TYPES:
        known = ", ".join(f"{known:#04x}" for known in TYPES)
        raise ValueError(f"read_idx: {path} has the unknown type code {code:#04x}; expected one of {known}")
    header = 4 + 4 * rank
    if len(content) < header:
        raise ValueError(f"read_idx: {path} is truncated: expected a header of {header} bytes, got {len(content)}")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", rank, 4))
    dtype: np.dtype[Any] = np.dtype(TYPES[code])
    expected = header + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        state = "truncated" if len(content) < expected else "too long"
        raise ValueError(f"read_idx: {path} is {state}: expected {expected} bytes for {shape}, got {len(content)}")
    return np.frombuffer(content, dtype, offset=header).reshape(shape).astype(dtype.newbyteorder("="))


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    raise FileNotFoundError(
        f"load_mnist: {folder} has neither {name} nor {name}.gz. The four files of Fashion-MNIST are in the folder "
        "data/fashion of the repository fashion-mnist of zalandoresearch on GitHub, those of MNIST on the page of the "
        "MNIST database by Yann LeCun; put them into one directory, as they are"
    )


def load_mnist(directory: Any) -> MnistData:
    """MNIST, Fashion-MNIST, or any data set published as the same four idx files, from a directory.

    Args:
        directory: with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
            `t10k-labels-idx1-ubyte`, each plain or as `.gz`.

    Raises:
        FileNotFoundError: if a file is missing: which one, and where such files come from.
        ValueError: if a file is malformed, or images and labels do not belong together.

    Example:
        >>> import fnn
        >>> fnn.data.load_mnist("no such folder")
        Traceback (most recent call last):
            ...
        FileNotFoundError: load_mnist: no such folder has neither train-images-idx3-ubyte nor ...
    """
    folder = Path(directory)
    paths = [_find(folder, name) for name in FILES]
    arrays = [read_idx(path) for path in paths]
    for place in (0, 2):
        images, labels = arrays[place : place + 2]
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"load_mnist: expected {paths[place].name} to hold images (count, height, width) and "
                f"{paths[place + 1].name} one label each, got shapes {images.shape} and {labels.shape}"
            )
        arrays[place] = images[..., None]
    return MnistData(*arrays)
