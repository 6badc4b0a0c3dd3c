"""An iterator that a thread runs ahead of its use."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

POLL_SECONDS = 0.05
"""Seconds after which a thread that waits looks whether it is to end."""

_END = object()

Make: TypeAlias = Callable[[Callable[[], bool], Callable[[], bool]], Generator[Any, None, None]]


class Ahead:
    """What `make(wanted, ended)` generates, made by a thread; `wanted()` says that the user waits and nothing is there,
    `ended()` that nobody will take what comes.

    The thread begins at once and keeps one item ready. Errors come in their place, where the item would have come.
    """

    def __init__(self, make: Make) -> None:
        self._items: queue.Queue[Any] = queue.Queue(maxsize=1)
        self._waits, self._ended = threading.Event(), threading.Event()
        # Float64 and the device that `with` has set for the thread that asks are set for this one too.
        here = jnp.result_type(float) == jnp.float64, jax.config.jax_default_device  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._work, args=(make, *here), daemon=True, name="fnn-stream")
        self._thread.start()

    def _work(self, make: Make, wide: bool, device: Any) -> None:
        try:
            wanted = lambda: self._waits.is_set() and self._items.empty()  # noqa: E731
            chunks = contextlib.closing(make(wanted, self._ended.is_set))
            with jax.enable_x64(wide), jax.default_device(device), chunks as items:
                for item in items:
                    if not self._put(item):
                        return
            self._put(_END)
        except BaseException as error:
            self._put(error)

    def _put(self, item: Any) -> bool:
        while not self._ended.is_set():
            with contextlib.suppress(queue.Full):
                self._items.put(item, timeout=POLL_SECONDS)
                return True
        return False

    def next(self, interrupted: Callable[[], bool]) -> Any:
        """The next item; None at the end and after it, and where the user does not want to wait any longer."""
        self._waits.set()
        try:
            while not (interrupted() or self._ended.is_set()):
                with contextlib.suppress(queue.Empty):
                    item = self._items.get(timeout=POLL_SECONDS)
                    break
            else:
                return None
        finally:
            self._waits.clear()
        if isinstance(item, BaseException):
            self.close()
            raise item
        if item is _END:
            self.close()
            return None
        return item

    def close(self, wait: bool = False) -> None:
        """End the thread, after the batch it reads; who reads on himself has to `wait` for that."""
        self._ended.set()
        self._thread.join(timeout=None if wait else 20 * POLL_SECONDS)
