"""Checkpoints of a run, kept by Orbax: written after every epoch, read back to go on exactly where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn.typing import PyTree


class Checkpoints(NamedTuple):
    """`save(epoch, arrays, table)` and `restore(like) -> (epoch, arrays, table)`, None if there is nothing yet."""

    save: Callable[[int, PyTree, list[dict[str, float]]], None]
    restore: Callable[[PyTree], tuple[int, PyTree, list[dict[str, float]]] | None]


def _orbax() -> Any:
    try:
        import orbax.checkpoint as orbax
    except ImportError as error:
        raise ImportError('checkpoint= needs Orbax; run pip install "fnn[train]"') from error
    return orbax


def _plain(tree: PyTree) -> PyTree:
    """Random keys as the numbers they are made of, and everything as NumPy arrays: the host owns what is saved."""

    def leaf(x: Any) -> Any:
        return np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x)

    return jax.tree.map(leaf, tree)


def _like(saved: Any, like: Any) -> Any:
    if jax.dtypes.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(saved, impl=jax.random.key_impl(like))
    return jax.numpy.asarray(saved)


@contextmanager
def checkpoints(directory: str | Path | None) -> Iterator[Checkpoints]:
    """The newest checkpoint of a run in a directory; None keeps nothing."""
    if directory is None:
        yield Checkpoints(lambda epoch, arrays, table: None, lambda like: None)
        return
    orbax = _orbax()
    options = orbax.CheckpointManagerOptions(max_to_keep=1)
    with orbax.CheckpointManager(Path(directory).absolute(), options=options) as manager:

        def save(epoch: int, arrays: PyTree, table: list[dict[str, float]]) -> None:
            parts = {"arrays": orbax.args.StandardSave(_plain(arrays)), "table": orbax.args.JsonSave(table)}
            manager.save(epoch, args=orbax.args.Composite(**parts))

        def restore(like: PyTree) -> tuple[int, PyTree, list[dict[str, float]]] | None:
            epoch = manager.latest_step()
            if epoch is None:
                return None
            parts = {"arrays": orbax.args.StandardRestore(_plain(like)), "table": orbax.args.JsonRestore()}
            found = manager.restore(epoch, args=orbax.args.Composite(**parts))
            return epoch, jax.tree.map(_like, found["arrays"], like), found["table"]

        yield Checkpoints(save, restore)
        manager.wait_until_finished()
