"""What a person at the terminal sees and does while a compiled program runs: a bar, Ctrl-C."""

from __future__ import annotations

import functools
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax

from fnn import checks
from fnn.kernels import placement
from fnn.layer import Layer
from fnn.layer.parts import any_layer

RESPONSE_SECONDS = 0.2
"""How long the compiled program runs before the host looks up: the bar moves, Ctrl-C is heard."""


@contextmanager
def progress_bar(
    progress: bool | None, total: int | None, unit: str = "step"
) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """A bar over the parts of a run, `show(parts done, numbers)`; nothing without tqdm unless it was asked for."""
    if progress is None and jax.process_index() > 0:
        progress = False  # one bar for all processes
    try:
        tqdm = checks.package("tqdm.auto", "progress=True", "tqdm", "train").tqdm
    except ImportError:
        if progress:
            raise
        progress = False
    if progress is False:
        yield lambda steps, row: None
        return
    with tqdm(total=total, unit=unit, dynamic_ncols=True) as bar:

        def show(steps: int, row: dict[str, float]) -> None:
            # As much as a terminal line holds: the losses and the first metric.
            shown = {name.replace("validation_", "val_"): f"{row[name]:.4f}" for name in list(row)[:3]}
            bar.set_postfix(shown, refresh=False)
            bar.update(steps)

        yield show


@contextmanager
def interruption(ends: bool = False) -> Iterator[Callable[[], bool]]:
    """Ctrl-C is asked for, `asked()`, between two steps, where nothing is half done; a second one ends all at once.

    One inside another asks for the same: what stops the part stops the whole. A process that was told to ignore
    Ctrl-C goes on ignoring it, a handler that is not Python's (None) is left alone, and a thread other than the main
    one is never interrupted. Where it `ends` the call nobody asks: see `is_to_end`.
    """
    before = signal.getsignal(signal.SIGINT)
    foreign = before is None or before is signal.SIG_IGN
    if foreign or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    outer = getattr(before, "asked", None)
    if outer is not None:
        yield outer.is_set
        return
    asked = threading.Event()

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    ask.asked, ask.ends = asked, ends  # type: ignore[attr-defined]
    signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def is_to_end() -> bool:
    """Whether Ctrl-C was pressed in a call that it ends; never inside of one that keeps what it has then."""
    handler: Any = signal.getsignal(signal.SIGINT)
    return getattr(handler, "ends", False) and handler.asked.is_set()


@functools.cache
def _say_once(message: str) -> None:
    print(message, file=sys.stderr)


def suggest_cores(model: Layer, progress: bool | None) -> None:
    """Say once per process how convolutions get the other cores of a CPU, where one alone does not take them.

    A line beside the bar and not a warning: nothing is wrong, and whoever turns the bar off wants to read nothing.
    """
    cores = placement.cores()
    idle = cores > 1 and placement.platform() == "cpu" and placement.devices() == 1
    idle = idle and not placement.threads_convolutions()
    if progress is not False and idle and any_layer(model, lambda facts: facts.convolves):
        _say_once(
            f"fnn: on a CPU a convolution runs on one core, and there are {cores}. To use them, write "
            "fnn.devices.use_cpu_cores() first in the program and fit(..., mesh=fnn.devices.data_mesh())"
        )
