"""A directory of labelled images, one folder for each class: as arrays in memory, or as a stream of batches."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, random_bits
from fnn.data.image_files import SUFFIXES, batches_of, check_shape, size_of
from fnn.kernels import placement
from fnn.typing import Key

__all__ = ["ImageBatches", "ImageFolder", "images"]

LISTED = 1024
"""Files whose sizes are read at once."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ImageFolder:
    """Labelled images in files, none of which is decoded before it is asked for; see `images`.

    - `paths`: of the files; `labels`: their class numbers, int32 (count,); `classes`: what these are called.
    - `shape`: (height, width, channels) of every image.
    - `len(folder)`: how many they are; `folder[rows]`: some of them, by a slice, row numbers or a mask.
    """

    paths: tuple[Path, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    resized: bool

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        return f"ImageFolder({len(self):,} images of shape {self.shape}, {len(self.classes)} classes)"

    def __getitem__(self, rows: Any) -> ImageFolder:
        chosen = np.atleast_1d(np.arange(len(self))[rows])
        if chosen.ndim != 1:
            raise ValueError(f"ImageFolder: expected a slice, row numbers or a mask, got {checks.describe(rows)}")
        if not chosen.size:
            raise ValueError(f"ImageFolder: expected at least one of {len(self)} images, got rows {rows!r}")
        return dataclasses.replace(
            self, paths=tuple(self.paths[row] for row in chosen), labels=read_only(self.labels[chosen])
        )

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All of them in memory: float32 images from 0 to 1, (count, height, width, channels), and their labels.

        Raises:
            ValueError: naming the first file that cannot be read, or has another size.
        """
        return next(batches_of([self.paths], self.shape, self.resized)), self.labels.copy()

    def batches(self, batch_size: int = 32, *, key: Key | None = None) -> ImageBatches:
        """A stream for `fit`, `evaluate` and `predict`: decoded by all cores on the way, some batches ahead.

        Args:
            batch_size: images of a batch; the last one of an epoch is shorter where they do not go up.
            key: shuffles, anew in every epoch: its order is a function of the key and the epoch's number alone. Without
                a key they come in the order of the files.
        """
        checks.integer("batches", "batch_size", batch_size)
        return ImageBatches(self, batch_size, None if key is None else checks.random_key("batches", key))

    def split(self, fraction: float = 0.2, *, key: Key) -> tuple[ImageFolder, ImageFolder]:
        """Images to train on and images to validate on: of every class its share, rounded, never all of it.

        Args:
            fraction: of the images that validate, between 0 and 1.
            key: draws which; the same key and files give the same two parts, which have no image in common.

        Raises:
            ValueError: where none would validate.
        """
        checks.in_range("split", "fraction", fraction, 0, 1, open="both")
        order = random_order(checks.random_key("split", key), len(self))
        sizes = np.bincount(self.labels, minlength=len(self.classes))
        by_class = np.split(order[np.argsort(self.labels[order], kind="stable")], np.cumsum(sizes)[:-1])
        held = np.zeros(len(self), bool)
        for rows in by_class:
            held[rows[: max(0, min(round(fraction * len(rows)), len(rows) - 1))]] = True
        if not held.any():
            raise ValueError(
                f"split: {fraction} of {sizes.max()} images of a class is less than one; give a larger fraction"
            )
        return self[~held], self[held]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ImageBatches:
    """Batches `(x, labels)` of an `ImageFolder`: call it with the number of an epoch, from 0; `len` counts the batches.

    Nothing in it changes while it is read, so a run that goes on reads what the unbroken run would have read.
    """

    images: ImageFolder
    batch_size: int
    key: Key | None

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __repr__(self) -> str:
        return f"ImageBatches({len(self):,} batches of {self.batch_size} from {self.images!r})"

    def __call__(self, epoch: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches of an epoch, float32 images from 0 to 1 and int32 labels."""
        images = self.images
        rows = np.arange(len(images))
        if self.key is not None:
            rows = random_order(random_bits.fold_in(self.key, epoch), len(images))
        parts = np.split(rows, range(self.batch_size, len(rows), self.batch_size))
        paths = ([images.paths[row] for row in part] for part in parts)
        for part, x in zip(parts, batches_of(paths, images.shape, images.resized), strict=True):
            yield x, images.labels[part]


def read_only(labels: np.ndarray) -> np.ndarray:
    """Nothing in a folder of images changes."""
    labels.flags.writeable = False
    return labels


def random_order(key: Key, count: int) -> np.ndarray:
    """The numbers below `count` in random order, sorted on the host: a device takes longer, and has to compile it."""
    return np.argsort(np.asarray(jax.random.bits(key, (count,), jnp.uint32)), kind="stable")


def images(
    directory: str | Path,
    size: int | tuple[int, int] | None = None,
    *,
    channels: int = 3,
    classes: Sequence[str] | None = None,
) -> ImageFolder:
    """The images of a directory that has one folder for each class, as torchvision and Keras read it.

    Classes are the names of the folders, sorted as texts ("10" before "2"), files are sorted by their path; folders in
    a class's folder are searched too, links are followed, names that begin with a dot are passed over. What becomes of
    a file is told at `read_image`.

    Args:
        directory: with `cat/1.jpg`, `cat/2.png`, `dog/1.jpg`, …
        size: height and width, or one number for both, that every image is scaled to cover and cut to. None: they have
            one size already, for which the head of every file is read; a PNG with something behind its pixels is
            decoded.
        channels: 3 for colour, 1 for gray, 4 for colour and opacity.
        classes: the names, in the order of their numbers, where a directory (of test images) may lack some: those that
            a network was trained with.

    Returns:
        An `ImageFolder`: `arrays()` for few images, `batches(…)` to stream many from disk, `split(…)`, `classes`.

    Raises:
        ImportError: if Pillow is not installed (extra `images`).
        FileNotFoundError: if there is no such directory.
        ValueError: if it holds no class, a class no image, or another class than those given; without a size, for the
            first file of another size than the one before it, or that is no image.

    Example:
        >>> import pathlib, tempfile, fnn
        >>> place = pathlib.Path(tempfile.mkdtemp())
        >>> for name, gray in (("day/1.pgm", 255), ("night/1.pgm", 0), ("night/2.pgm", 0)):
        ...     (place / name).parent.mkdir(exist_ok=True)
        ...     _ = (place / name).write_bytes(b"P5 1 1 255 " + bytes([gray]))
        >>> found = fnn.data.images(place, channels=1)
        >>> found, found.classes
        (ImageFolder(3 images of shape (1, 1, 1), 2 classes), ('day', 'night'))
        >>> x, y = found.arrays()
        >>> x.ravel().tolist(), y.tolist()
        ([1.0, 0.0, 0.0], [0, 1, 1])
        >>> [len(y) for x, y in found.batches(2)()]
        [2, 1]
    """
    place = Path(directory)
    asked, channels = check_shape("images", size, channels)
    names = _classes(place, classes)
    found = [_files(place / name) for name in names]
    _require_images(place, names, [files for files, _ in found], classes is not None)
    beside = [path for path in place.iterdir() if path.suffix.lower() in SUFFIXES and not _is_hidden(path.name)]
    if others := [path for _, rest in found for path in rest] + sorted(beside):
        checks.warn(
            f"images: {len(others)} files are left out, {others[0]} first: no images by name, or in no class's folder",
            UserWarning,
        )
    paths = tuple(path for files, _ in found for path in files)
    labels = read_only(np.repeat(np.arange(len(names), dtype=np.int32), [len(files) for files, _ in found]))
    return ImageFolder(paths, labels, names, (*(asked or _common_size(paths)), channels), asked is not None)


def _classes(place: Path, given: Sequence[str] | None) -> tuple[str, ...]:
    """The names of its folders, or those given, which all of them are among."""
    if isinstance(given, str):
        raise checks.not_one("images", "classes", "a list of names", given, f"write [{given!r}]")
    folders = sorted(entry.name for entry in place.iterdir() if entry.is_dir() and not _is_hidden(entry.name))
    if not folders:
        raise ValueError(f"images: {place} has no folders; put the images of each class into a folder of its name")
    if given is None:
        return tuple(folders)
    for name in given:
        if not isinstance(name, str) or not name or Path(name).name != name:
            raise ValueError(f"images: expected classes to be names of folders in {place}, got {name!r}")
    if unknown := [name for name in folders if name not in given]:
        raise ValueError(f"images: expected the classes {', '.join(given)}, got the folder {place / unknown[0]}")
    if len({*given}) < len(given):
        raise ValueError(f"images: expected every class once, got {', '.join(given)}")
    return tuple(given)


def _files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images below a folder, and the files that are none by their names; each sorted."""
    found: tuple[list[Path], list[Path]] = [], []
    seen = set()

    def stop(error: OSError) -> None:
        raise error

    for here, folders, names in os.walk(folder, followlinks=True, onerror=stop if folder.is_dir() else None):
        seen.add(os.path.realpath(here))
        folders[:] = [
            name for name in folders if not _is_hidden(name) and os.path.realpath(Path(here, name)) not in seen
        ]
        for name in names:
            if not _is_hidden(name):
                path = Path(here, name)
                odd = path.exists() and not path.is_file()  # a pipe or a device, which may never end
                found[odd or path.suffix.lower() not in SUFFIXES].append(path)
    return sorted(found[0]), sorted(found[1])


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _require_images(place: Path, names: Sequence[str], files: Sequence[list[Path]], may_lack: bool) -> None:
    """Images of every class, or at least some where the classes are known."""
    empty = [name for name, own in zip(names, files, strict=True) if not own]
    if empty and (len(empty) == len(names) or not may_lack):
        raise ValueError(
            f"images: {place / empty[0]} holds no image ({', '.join(sorted(SUFFIXES))}); remove the folder, or "
            "name all the classes that there are: classes=[…]"
        )


def _common_size(paths: Sequence[Path]) -> tuple[int, int]:
    first = size_of(paths[0])
    with ThreadPoolExecutor(placement.cores(), "fnn-images") as pool:
        for begin in range(1, len(paths), LISTED):
            some = paths[begin : begin + LISTED]
            for path, size in zip(some, pool.map(size_of, some), strict=True):
                if size != first:
                    raise ValueError(
                        f"images: {path} is {size[0]}×{size[1]} (height × width), {paths[0]} is {first[0]}×{first[1]}; "
                        f"write size={first} to scale and cut all of them"
                    )
    return first
