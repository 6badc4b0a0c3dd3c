"""Pictures in files: decoded, turned upright, brought to one size and one number of channels.

Many are decoded at once by threads: Pillow lets go of Python's lock while it decodes.
"""

from __future__ import annotations

import collections
import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fnn import checks
from fnn.kernels import placement

__all__ = ["read_image"]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Names by which a file is taken for an image."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What a file may be, whatever its name: pixels alone, nothing that a program has to be run for (EPS, WMF)."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Channels -> Pillow's name for them."""

TRANSPOSED = (5, 6, 7, 8)
"""EXIF orientations of which height and width are exchanged."""

ORIENTATION = 0x0112

PIECE = 16
"""Files that a thread decodes in one go."""

AHEAD = 2
"""Batches that are being decoded while another is used."""


def read_image(path: str | Path, size: int | tuple[int, int] | None = None, *, channels: int = 3) -> np.ndarray:
    """The pixels of an image file as float32 numbers from 0 to 1, (height, width, channels).

    It is turned as its EXIF entry says, converted to `channels`, and, if a size is asked for, scaled until it covers
    that size, its aspect kept, and cut to its middle. Scaling down averages (a triangle as wide as two new pixels).
    Transparent pixels lie on white unless a channel for them is asked for. Of several frames the first is read.

    Args:
        path: of a BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file, told by its content.
        size: height and width, or one number for both; None leaves the image as large as it is.
        channels: 3 for red, green, blue; 1 for gray, the luminance of a colour; 4 with opacity.

    Raises:
        ImportError: if Pillow is not installed (extra `images`).
        ValueError: naming the file, if it is damaged, cut off or no image, holds more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS`, or numbers of more than 8 bits.

    Example:
        >>> import pathlib, tempfile, fnn
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "gray.pgm"
        >>> _ = path.write_bytes(b"P5 2 1 255 " + bytes([0, 255]))
        >>> fnn.data.read_image(path, channels=1).ravel().tolist()
        [0.0, 1.0]
    """
    shape = check_shape("read_image", size, channels)
    return pixels("read_image", Path(path), *shape).astype(np.float32) / np.float32(255)


def check_shape(where: str, size: Any, channels: int) -> tuple[tuple[int, int] | None, int]:
    """Height and width, if they are asked for, and the channels."""
    checks.one_of(where, "channels", checks.integer(where, "channels", channels), tuple(MODES))
    if size is None:
        return None, channels
    pair = (size, size) if np.ndim(size) == 0 else tuple(size)
    if len(pair) != 2:
        raise ValueError(f"{where}: expected size to be (height, width) or one number for both, got {size!r}")
    return (checks.integer(where, "the height", pair[0]), checks.integer(where, "the width", pair[1])), channels


def size_of(path: Path) -> tuple[int, int]:
    """Height and width of an image that stands upright, from the head of its file."""
    with _open("images", path) as image:
        width, height = image.size
        # Of a TIFF Pillow gives the size that it has upright.
        lies = image.format != "TIFF" and _exif(image).get(ORIENTATION) in TRANSPOSED
        return (width, height) if lies else (height, width)


def _exif(image: Any) -> Any:
    """What stands in the file beside its pixels. For a PNG's, which may stand behind them, Pillow decodes the
    image, which is not needed where nothing does."""
    head_alone = image.format == "PNG" and _ends_with_its_pixels(image.fp)
    return _pillow("Image").Image.getexif(image) if head_alone else image.getexif()


def _ends_with_its_pixels(file: BinaryIO) -> bool:
    """Whether a PNG is whole by the lengths of its chunks, and none but the last follows the pixels."""
    place, begun = file.tell(), False
    file.seek(8)
    while len(head := file.read(8)) == 8:
        kind = head[4:]
        if begun and kind != b"IDAT":
            break
        begun = begun or kind == b"IDAT"
        file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    file.seek(place)
    return head[4:] == b"IEND"


def pixels(where: str, path: Path, size: tuple[int, int] | None, channels: int) -> np.ndarray:
    """uint8 (height, width, channels)."""
    pillow = _pillow("Image")
    operations = _pillow("ImageOps")
    with _open(where, path) as image:
        if size is not None:
            # A JPEG is decoded at the smallest fraction of its size that still leaves two pixels for each that is kept.
            image.draft(None, (2 * max(size), 2 * max(size)))
        _require_bytes(where, path, image)
        operations.exif_transpose(image, in_place=True)
        image.load()
        found = _convert(image, channels)
        if size is not None:
            found = operations.fit(found, (size[1], size[0]), pillow.Resampling.BILINEAR)
        return np.asarray(found, np.uint8).reshape(found.height, found.width, channels)


def _require_bytes(where: str, path: Path, image: Any) -> None:
    """Numbers of 8 bits in the file: Pillow cuts colours of 16 bits without a word."""
    raw = [tile[3] for tile in image.tile]
    largest = max((one[1] for one in raw if image.format == "PPM" and isinstance(one, tuple)), default=255)
    if image.mode.startswith(("I", "F")) or any(";16" in str(one) for one in raw) or largest > 255:
        raise ValueError(
            f"{where}: {path} holds numbers of more than 8 bits (mode {image.mode}), which have no common range; read "
            "it by another library, scale it, and give arrays"
        )


def _convert(image: Any, channels: int) -> Any:
    if channels < 4 and image.has_transparency_data:
        image = image.convert("RGBA")
        white = _pillow("Image").new("RGBA", image.size, (255, 255, 255, 255))
        image = _pillow("Image").alpha_composite(white, image)
    return image.convert(MODES[channels])


@contextlib.contextmanager
def _open(where: str, path: Path) -> Iterator[Any]:
    """The file as Pillow's image; whatever goes wrong with its content is an error that names it."""
    pillow = _pillow("Image")
    try:
        # A file and not its name: Pillow maps a TIFF of a name into memory, and then turns it wrongly (13.0).
        with path.open("rb") as file, pillow.open(file, formats=FORMATS) as image:
            if (limit := pillow.MAX_IMAGE_PIXELS) is not None and image.width * image.height > limit:
                raise pillow.DecompressionBombError(f"{image.width}×{image.height} pixels, more than {limit:,}")
            yield image
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        raise ValueError(
            f"{where}: {path} is too large to be trusted ({error}); raise PIL.Image.MAX_IMAGE_PIXELS if it is yours"
        ) from error
    except Exception as error:  # whatever a damaged file makes of its reader
        ours = isinstance(error, ValueError) and str(error).startswith(f"{where}: ")
        if ours or isinstance(error, MemoryError) or getattr(error, "errno", None) is not None:
            raise
        raise ValueError(
            f"{where}: {path} is damaged, cut off or no image: {str(error)[:200]}; fetch it again, or remove it"
        ) from error


def batches_of(batches: Iterable[Sequence[Path]], shape: tuple[int, int, int], resized: bool) -> Iterator[np.ndarray]:
    """One array after another, float32 (count, height, width, channels) from 0 to 1.

    Where files are damaged, the error names the first of them in this order.
    """
    waiting: collections.deque[tuple[np.ndarray, list[Future[None]]]] = collections.deque()
    with ThreadPoolExecutor(placement.cores(), "fnn-images") as pool:
        try:
            for paths in batches:
                x = np.empty((len(paths), *shape), np.float32)
                places = range(0, len(paths), PIECE)
                pieces = [(x[place : place + PIECE], paths[place : place + PIECE]) for place in places]
                waiting.append((x, [pool.submit(_fill, *piece, shape, resized) for piece in pieces]))
                if len(waiting) > AHEAD:
                    yield _whole(*waiting.popleft())
            while waiting:
                yield _whole(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _fill(out: np.ndarray, paths: Sequence[Path], shape: tuple[int, int, int], resized: bool) -> None:
    for place, path in enumerate(paths):
        found = pixels("images", path, shape[:2] if resized else None, shape[2])
        if found.shape != shape:
            raise ValueError(
                f"images: {path} is {_size_text(found.shape)}, and was {_size_text(shape)} when it was listed"
            )
        np.divide(found, np.float32(255), out=out[place])


def _whole(x: np.ndarray, pieces: list[Future[None]]) -> np.ndarray:
    for piece in pieces:
        piece.result()
    return x


def _size_text(shape: Sequence[int]) -> str:
    return f"{shape[0]}×{shape[1]} (height × width)"


def _pillow(module: str) -> Any:
    return checks.package(f"PIL.{module}", "fnn.data.images", "Pillow", "images")
