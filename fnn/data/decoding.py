"""Many image files decoded at once, by threads: Pillow lets go of Python's lock while it decodes."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fnn.data.image_files import pixels
from fnn.kernels import placement

PIECE = 16
"""Files that a thread decodes in one go."""

AHEAD = 2
"""Batches that are being decoded while another is used."""


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
